"""Triton's model repository: folders, config.pbtxt, flags, and the settings that determine them."""
