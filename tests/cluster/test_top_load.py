"""`trainserve top` beside a run that trains and a service under load."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import urllib.request
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests.cluster.support import HANG, Kube, digits, is_true, wait_for
from tests.cluster.top import rows, top

SLOW = {"epochs": 20_000, "batchSize": 16, "learningRate": 1e-4}


TINY = {"name": "synthetic", "options": {"shape": [8, 8, 1], "classes": 3, "samples": 300}}


@pytest.fixture
def load() -> Iterator[Callable[[str], None]]:
    """A function that starts to query the model at an address until the test ends."""
    over, threads = threading.Event(), []

    def start(address: str) -> None:
        tensor = {"name": "images", "shape": [1, 8, 8, 1], "datatype": "UINT8", "data": np.zeros(64, int).tolist()}
        body = json.dumps({"inputs": [tensor]}).encode()

        def ask() -> None:
            while not over.wait(0.02):
                request = urllib.request.Request(f"http://{address}:8000/v2/models/tiny/infer", body)
                with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=30) as answer:
                    answer.read()

        threads.append(threading.Thread(target=ask, daemon=True))
        threads[-1].start()

    yield start
    over.set()
    for thread in threads:
        thread.join(HANG)


def test_a_run_and_a_service_under_load_are_shown_with_their_figures(kube: Kube, load: Callable[[str], None]) -> None:
    tiny = {"dataset": TINY, "output": {"model": "tiny"}}
    kube.create("TrainJob", "first", digits(**tiny))
    kube.create("ModelServe", "tiny", {"model": {"name": "tiny"}})
    kube.finished("first")
    kube.wait("ModelServe", "tiny", lambda serve: is_true(serve, "Ready"))
    kube.create("TrainJob", "long", digits(**tiny, trainer=SLOW))
    load(kube.kubectl("get", "service", "tiny", "-o", "jsonpath={.spec.clusterIP}").stdout)
    printed = ""

    def shown() -> bool:
        nonlocal printed
        finished = top(kube.kubeconfig, "--once", "--namespace", kube.namespace)
        assert finished.returncode == 0, finished.stderr
        printed = finished.stdout
        run, serve = rows(printed, "TRAINJOB").get("long", {}), rows(printed, "MODELSERVE").get("tiny", {})
        return "-" not in (run["LOSS"], run["ACC"], run["IMG/S"], run["ETA"], serve["REQ/S"], serve["P99"])

    wait_for(shown, HANG, lambda: printed)
    run, first = (rows(printed, "TRAINJOB")[name] for name in ("long", "first"))
    assert run["PHASE"] == "Running"
    assert re.fullmatch(r"[0-9]+/20000", run["EPOCH"])
    assert float(run["IMG/S"].replace(",", "")) > 0
    assert (first["PHASE"], first["EPOCH"], first["TRY"]) == ("Complete", "1/1", "1")
    assert list(rows(printed, "TRAINJOB")) == ["long", "first"], "what runs comes first"
    serve = rows(printed, "MODELSERVE")["tiny"]
    assert (serve["PHASE"], serve["READY"], serve["VERSION"]) == ("Ready", "1/1", "1")
    assert float(serve["REQ/S"].replace(",", "")) > 2, "more than the probe's own"
    assert re.fullmatch(r">?~?[0-9.]+m?s", serve["P99"])
    assert "no figures" not in printed
    kube.delete("TrainJob", "long")
