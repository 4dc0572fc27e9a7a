"""The release in a Triton image's tag, and its features, for both the operator and the pods."""

from __future__ import annotations

import re

HISTOGRAM_SINCE = "26.01"
"""The first release (server 2.65.0) whose latency histogram is of ordinary models too: before, of decoupled ones alone,
and before 24.11 its config.pbtxt is not even read where it speaks of one (triton-inference-server/core#396, #405, #464;
seen in the release branches of core and common, and tried with 24.10)."""
HISTOGRAM_FLAG = "--metrics-config=histogram_latencies=true"
"""What tells such a server to have it."""
CLIENT_FLAGS_SINCE = "24.01"
"""The first release (server 2.42.0) with --grpc-max-connection-age and --http-restricted-api: earlier ones end where
they are given a flag that they do not know."""
POD_HEADER = "trainserve-pod"
"""Header of a request that is let through to endpoints that are closed to clients; its value is the pod's uid."""
_TAG = re.compile(r"(2\d\.(?:0[1-9]|1[0-2]))(?:[._-].*)?")


def release_of(image: str) -> str | None:
    """Return the release, such as `25.11` for `nvcr.io/nvidia/tritonserver:25.11-py3` or for `25.11` itself; None if
    the tag names none."""
    tag = image.partition("@")[0].rpartition(":")[2]
    # Behind the last colon may be a registry's port and a path; without one, a path or a release itself.
    found = None if "/" in tag else _TAG.fullmatch(tag)
    return found[1] if found else None


def has_histogram(image: str | None) -> bool:
    """Return whether that server has a latency histogram and reads bounds for it; False if the release is unknown."""
    found = release_of(image) if image else None
    return found is not None and found >= HISTOGRAM_SINCE


def takes_client_flags(image: str) -> bool:
    """Return whether that server supports the client flags; True if the release is unknown."""
    found = release_of(image)
    return found is None or found >= CLIENT_FLAGS_SINCE
