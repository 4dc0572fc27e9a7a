"""Prometheus for the development cluster and the tests: its programs, and a configuration made from the chart.

`prometheus()` and `promtool()` are the installed ones or those of Debian's package; `prepare_discovering()` is a folder
with both that know how to find pods, for the cluster; `prometheus3()` and `promtool3()` are version 3. Each raises
PrometheusUnavailable with the reason if it is not available; a test that needs one skips with that reason.
"""

from trainserve.dev.prometheus.programs import (
    PrometheusUnavailable,
    prepare,
    prepare3,
    prepare_discovering,
    prometheus,
    prometheus3,
    promtool,
    promtool3,
)
from trainserve.dev.prometheus.server import command

__all__ = [
    "PrometheusUnavailable",
    "command",
    "prepare",
    "prepare3",
    "prepare_discovering",
    "prometheus",
    "prometheus3",
    "promtool",
    "promtool3",
]
