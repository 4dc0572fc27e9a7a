"""Tests of the node; the one that most of them share ends with the last."""
