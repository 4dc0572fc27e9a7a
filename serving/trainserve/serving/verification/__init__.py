"""Verification of a served model: comparison of its answers with samples, and the cause if they differ."""
