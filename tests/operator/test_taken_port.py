"""A gang's rendezvous port is in use: counted as a fault of the cluster, and the next port is tried."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from tests.operator.support import RUNNING, Run, condition, ended, failed, trainjob
from trainserve.operator.objects import Object
from trainserve.operator.trainjob.retry import PORTS_TRIED

WORKERS = {"nodes": 1, "processesPerNode": 2}


def variables(run: Run, pod: str) -> dict[str, str]:
    """Return torchrun's own variables of a pod."""
    (container,) = run.children[pod]["spec"]["containers"]
    return {each["name"]: each["value"] for each in container["env"] if each["name"].startswith("PET_")}


def last_words(given: dict[str, str]) -> str:
    """Return the last 2 KiB that torchrun prints when it cannot listen, as the kubelet keeps them; it exits with 1."""
    command = [sys.executable, "-m", "torch.distributed.run", "--no-python", "true"]
    environment = os.environ | given | {"PET_MASTER_ADDR": "127.0.0.1"}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert finished.returncode == 1, finished.stderr
    return finished.stderr[-2048:]


def taken(port: str) -> Object:
    """Return the status of a pod whose run found its port in use."""
    return ended(15, failed("PortTaken", f"MASTER_PORT: port {port} of 10.0.0.9 is taken by another process"))


def test_torchrun_that_finds_its_port_taken_costs_no_retry_and_the_next_attempt_meets_elsewhere() -> None:
    run = Run(trainjob(workers=WORKERS, policy={"retries": 0}))
    run.step()
    given = variables(run, "digits-1-0")
    # As torchrun of another gang on the same network would.
    with socket.create_server(("", int(given["PET_MASTER_PORT"])), family=socket.AF_INET6, dualstack_ipv6=True):
        words = last_words(given)
    run.set("digits-1-0", RUNNING)
    run.set("digits-1-0", ended(1, words))
    run.step(10)
    (first,) = run.status["attempts"]
    assert first["reason"] == "PortTaken"
    assert f"port {given['PET_MASTER_PORT']}, the gang's rendezvous, is already in use" in first["message"]
    run.step(13)
    assert variables(run, "digits-2-0")["PET_MASTER_PORT"] != given["PET_MASTER_PORT"]


def test_a_run_that_says_so_without_end_uses_up_its_retries() -> None:
    run = Run(trainjob(workers=WORKERS, policy={"retries": 0}))
    seconds = 0
    for number in range(1, PORTS_TRIED + 2):
        run.step(seconds)
        pod = f"digits-{number}-0"
        run.set(pod, taken(variables(run, pod)["PET_MASTER_PORT"]))
        seconds += 1000
        run.step(seconds)
        over = condition(run.status, "Failed").get("status") == "True"
        assert over == (number > PORTS_TRIED)
    assert run.reasons() == ["PortTaken"] * (PORTS_TRIED + 1)


def test_another_port_than_the_gangs_is_the_runs_own_fault() -> None:
    log = "The server socket has failed to listen. port: 80, useIpv6: false, code: -98, name: EADDRINUSE"
    for status in (ended(1, log), taken("80")):
        for workers in (WORKERS, None):
            run = Run(trainjob(workers=workers))
            run.step()
            run.set("digits-1-0", status)
            run.step(11)
            assert run.reasons() == ["UserError"]
