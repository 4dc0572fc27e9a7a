"""`make demo`: the main job end to end, every step verified before the next one starts."""
