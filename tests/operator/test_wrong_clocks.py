"""The operator on a node whose clock is wrong (libfaketime), with a real API server whose clock is right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.operator.live import Cluster, process
from tests.operator.support import RUNNING, command_job, ended
from trainserve.operator import times

pytestmark = pytest.mark.cluster

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
HOUR = timedelta(hours=1)


def failed_at(finished: datetime) -> dict[str, Any]:
    """Return the status of a pod whose container failed, as a node writes it."""
    status = ended(1, "why")
    status["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = times.to_text(finished)
    return status


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed (dev/setup.sh)")
@pytest.mark.parametrize("offset", ["+1h", "-1h", "+1d", "-1d"])
async def test_no_pod_is_killed_early_and_no_retry_is_late(
    cluster: Cluster,
    environment: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    offset: str,
) -> None:
    skewed = {"LD_PRELOAD": str(LIBRARY), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    nodes = {"right": timedelta(), "ahead": HOUR, "behind": -HOUR}
    with monkeypatch.context() as context:
        for name, value in skewed.items():
            context.setenv(name, value)
        running = process(tmp_path / "log")
        await running.__aenter__()
    try:
        for name in ("deleted", *nodes):
            await cluster.create("TrainJob", command_job() | {"metadata": {"name": name}})
            await cluster.wait("TrainJob", name, lambda job: job["status"]["phase"] == "Pending")
        bound = {"metadata": {"name": "deleted-1-0"}, "target": {"kind": "Node", "name": "away"}}
        await cluster.requests.send("POST", cluster.path("Pod", "deleted-1-0", "binding"), bound)
        await cluster.set_status("Pod", "deleted-1-0", RUNNING)
        await cluster.wait("TrainJob", "deleted", lambda job: job["status"]["phase"] == "Running")
        await cluster.delete("Pod", "deleted-1-0")
        failed = datetime.now(UTC)
        for name, ahead in nodes.items():
            await cluster.set_status("Pod", f"{name}-1-0", failed_at(failed + ahead))
        for name in nodes:
            again = await cluster.wait("Pod", f"{name}-2-0", lambda pod: pod["metadata"])
            pause = times.from_text(again["metadata"]["creationTimestamp"]) - failed
            assert pause > timedelta(), "two seconds, but that instants are written in whole ones"
            job = await cluster.wait("TrainJob", name, lambda job: len(job["status"]["attempts"]) == 2)
            end = times.from_text(job["status"]["attempts"][0]["completionTime"])
            assert abs(end - failed) < timedelta(minutes=1)
        pod = await cluster.get("Pod", "deleted-1-0")
        assert pod is not None, "its grace period and a minute are not over"
        assert pod["metadata"]["deletionGracePeriodSeconds"] > 0
    finally:
        await running.__aexit__(None, None, None)
