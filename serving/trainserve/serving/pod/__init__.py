"""What runs in the pods of a ModelServe (docs/contracts.md)."""
