"""Samples of a model: recorded, generated or given ones, and how answers are compared with them."""
