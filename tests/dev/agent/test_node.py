import os

import pytest

from .conftest import Node, until

pytestmark = pytest.mark.cluster


def test_the_node_offers_what_the_machine_has_and_says_that_its_gpus_are_simulated(node: Node) -> None:
    found = node.client.get("Node", "trainserve-dev")
    labels, capacity = found["metadata"]["labels"], found["status"]["capacity"]
    assert capacity["cpu"] == str(len(os.sched_getaffinity(0)))
    assert capacity["memory"] == f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') // 1024}Ki"
    assert (capacity["pods"], capacity["nvidia.com/gpu"]) == ("1100", "3")
    assert labels["trainserve.io/gpu-simulated"] == "true"
    assert labels["nvidia.com/gpu.product"] == "NVIDIA-H200"
    assert {each["type"]: each["status"] for each in found["status"]["conditions"]} == {
        "Ready": "True",
        "MemoryPressure": "False",
        "DiskPressure": "False",
        "PIDPressure": "False",
    }


def test_the_node_renews_its_lease(node: Node) -> None:
    def renewed() -> object:
        return node.client.get("Lease", "trainserve-dev", "kube-node-lease").get("spec", {}).get("renewTime")

    first = until(renewed, "there is no lease")
    until(lambda: renewed() != first, "the lease is not renewed")
