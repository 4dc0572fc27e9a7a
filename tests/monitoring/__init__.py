"""Tests of monitoring; the cluster that some of them share is shut down after the last one."""
