"""Tests of what is monitored; the cluster that some of them share ends with the last."""
