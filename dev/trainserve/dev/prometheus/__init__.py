"""Prometheus for the development cluster and the tests: its programs, and a configuration derived from the chart.

`prometheus()` and `promtool()` return the installed programs or those of Debian's package; `prepare_discovering()`
returns, for the cluster, a folder with programs that support Kubernetes' service discovery; `prometheus3()` and
`promtool3()` return version 3. Each raises PrometheusUnavailable with a reason, with which a test that needs it skips.
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
