"""`make demo`: training and serving end to end, with every step verified before the next one starts."""
