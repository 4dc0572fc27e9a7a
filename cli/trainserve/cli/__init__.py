"""The command `trainserve`."""
