"""Tests of the node agent; the node that most of them share is shut down after the last one."""
