"""Samples of a model, recorded, synthetic or given by the user, and comparison of answers with them."""
