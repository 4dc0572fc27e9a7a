"""ModelServe: the requests, latency, servers and version of one service."""

from __future__ import annotations

from trainserve.dev.dashboards import links, marks, palette
from trainserve.dev.dashboards.boards.modelserve.labels import NAMESPACE, SERVE
from trainserve.dev.dashboards.boards.modelserve.latency import batching, histograms, latency
from trainserve.dev.dashboards.boards.modelserve.overview import now, traffic
from trainserve.dev.dashboards.boards.modelserve.servers import gpu, servers
from trainserve.dev.dashboards.layout import Board
from trainserve.dev.dashboards.variables import chosen


def board() -> Board:
    """Build the board of one ModelServe."""
    return Board(
        links.MODELSERVE,
        "One ModelServe: what it answers, how fast, from how many servers, and of which version.",
        [now(), traffic(), latency(), histograms(), batching(), servers(), gpu()],
        [
            chosen(
                "namespace",
                "Namespace",
                "Namespaces with a ModelServe.",
                "label_values(trainserve_modelserve_info, namespace)",
            ),
            chosen(
                "modelserve",
                "ModelServe",
                "ModelServes of the namespace.",
                f"label_values(trainserve_modelserve_info{{{NAMESPACE}}}, modelserve)",
            ),
            chosen(
                "model",
                "Model",
                "The name under which the servers serve it, as their probes know it.",
                f"label_values(trainserve_probe_up{{{SERVE}}}, model)",
                hidden=True,
            ),
        ],
        [
            marks.mark(
                "Rollout",
                f"trainserve_modelserve_traffic_since_timestamp_seconds{{{SERVE}}}",
                "version {{version}} takes traffic ({{digest}})",
                colour=palette.ACCENT,
                tags="version",
            ),
            marks.mark(
                "Verified",
                f"min by (version) (trainserve_probe_verification_timestamp_seconds{{{SERVE}}} > 0)",
                "version {{version}}: the recorded samples were compared",
                colour=palette.SUCCESS,
                tags="version",
            ),
        ],
    )
