"""One room for each board."""
