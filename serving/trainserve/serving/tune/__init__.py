"""Which settings hold a latency objective, measured on the real server.

`candidates` are the settings that are tried, `search` says what to measure next, `choice` what the measurements mean;
all three are pure. `rig` measures, `result` is what comes of it, `saved` keeps it, `tuner` puts them together.
"""
