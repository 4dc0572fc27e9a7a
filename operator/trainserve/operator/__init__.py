"""The Kopf operator: thin handlers around pure planning functions."""
