"""Tests that share one cluster, which is shut down after the last of them."""
