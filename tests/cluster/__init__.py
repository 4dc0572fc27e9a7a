"""Tests on one cluster, which ends with the last of them."""
