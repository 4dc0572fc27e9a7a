"""Pods of one run: rendezvous and anti-affinity of a gang, and the processes of each pod."""

from __future__ import annotations

import pytest

from tests.operator.builders_support import (
    env,
    objects,
    pod_spec,
)
from tests.operator.support import command_job, trainjob
from trainserve.operator.objects import Object
from trainserve.operator.trainjob.gang import port


def test_a_gang_meets_by_name_through_a_headless_service() -> None:
    _, service, first, second = objects(trainjob(workers={"nodes": 2}))
    assert (service["kind"], service["metadata"]["name"], service["spec"]["clusterIP"]) == (
        "Service",
        "digits-1",
        "None",
    )
    assert service["spec"]["selector"].items() <= second["metadata"]["labels"].items()
    assert (second["spec"]["hostname"], second["spec"]["subdomain"]) == ("digits-1-1", "digits-1")
    (container,) = second["spec"]["containers"]
    variables = env(container)
    assert container["command"][:3] == ["torchrun", "-m", "trainserve.models"]
    assert (variables["PET_NODE_RANK"], variables["PET_MASTER_ADDR"]) == ("1", "digits-1-0.digits-1")
    assert (variables["PET_NNODES"], variables["PET_NPROC_PER_NODE"], variables["PET_MAX_RESTARTS"]) == ("2", "1", "0")
    assert int(variables["PET_MASTER_PORT"]) == service["spec"]["ports"][0]["port"]
    assert first["metadata"]["labels"]["trainserve.io/rank"] == "0"


def test_pods_of_a_gang_keep_apart_where_there_are_nodes_enough() -> None:
    spec = pod_spec(trainjob(workers={"nodes": 2}, resources={"gpus": 1, "gpu": {"minMemory": "40Gi"}}))
    (apart,) = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert apart["podAffinityTerm"]["labelSelector"]["matchLabels"] == {
        "trainserve.io/trainjob": "digits",
        "trainserve.io/attempt": "1",
    }
    assert "nodeAffinity" in spec["affinity"]


def test_gangs_that_share_a_network_meet_at_ports_of_their_own() -> None:
    ports = {port(trainjob(uid=f"uid-{number}"), attempt) for number in range(20) for attempt in (1, 2)}
    assert len(ports) > 35
    assert all(29500 <= each < 32768 for each in ports), "no ephemeral port, which any program may hold"


@pytest.mark.parametrize(
    ("workers", "gpus", "processes"), [({}, 0, 1), ({}, 4, 4), ({"processesPerNode": 2}, 0, 2), ({"nodes": 2}, 1, 1)]
)
def test_a_pod_has_a_process_for_each_gpu_unless_told(workers: Object, gpus: int, processes: int) -> None:
    spec = pod_spec(trainjob(workers=workers, resources={"gpus": gpus}))
    variables = env(spec["containers"][0])
    assert variables.get("PET_NPROC_PER_NODE", "1") == str(processes)


@pytest.mark.parametrize(
    ("resources", "processes", "threads"),
    [({}, 1, "2"), ({}, 2, "1"), ({"cpu": "4"}, 1, "4"), ({"cpu": "4"}, 2, "2"), ({"cpu": "500m"}, 2, "1")],
)
def test_processes_of_one_pod_share_its_cores(resources: Object, processes: int, threads: str | None) -> None:
    spec = pod_spec(trainjob(workers={"processesPerNode": processes}, resources=resources))
    assert env(spec["containers"][0]).get("OMP_NUM_THREADS") == threads


def test_processes_of_one_pod_meet_at_its_own_address() -> None:
    spec = pod_spec(trainjob(workers={"processesPerNode": 2}))
    (container,) = spec["containers"]
    assert env(container)["PET_MASTER_ADDR"] == "$(POD_IP)"
    names = [variable["name"] for variable in container["env"]]
    assert names.index("POD_IP") < names.index("PET_MASTER_ADDR"), "references are to variables that come before"
    assert "subdomain" not in spec


def test_a_users_own_command_is_told_how_to_meet_and_run_as_it_is() -> None:
    (container,) = pod_spec(command_job(workers={"nodes": 2}))["containers"]
    assert container["command"] == ["true"]
    assert env(container)["PET_NNODES"] == "2"
