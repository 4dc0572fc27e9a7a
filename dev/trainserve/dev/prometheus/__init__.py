"""Prometheus for the development cluster and the tests: its programs, and a configuration made from the chart.

`prometheus()` and `promtool()` are the installed ones or those of Debian's package; `prometheus3()` and `promtool3()`
are those of Debian's unstable release, whose major version is the next one. Each raises PrometheusUnavailable with the
reason where it is not to be had; a test that needs one skips with that reason.
"""

from trainserve.dev.prometheus.programs import (
    PrometheusUnavailable,
    prepare,
    prometheus,
    prometheus3,
    promtool,
    promtool3,
)

__all__ = ["PrometheusUnavailable", "prepare", "prometheus", "prometheus3", "promtool", "promtool3"]
