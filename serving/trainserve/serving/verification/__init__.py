"""Verification of a served model: its answers against samples, and the cause where they differ."""
