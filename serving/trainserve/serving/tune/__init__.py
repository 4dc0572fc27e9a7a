"""Tuning: finds settings that meet a latency objective, by measurements on the real server.

`candidates` generates the settings, `search` decides what to measure next, and `choice` evaluates the measurements; all
three are pure. `rig` measures, `result` is the outcome, `saved` stores it, and `tuner` connects them.
"""
