import os

import pytest
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node as NodeObject

from .conftest import Node, until

pytestmark = pytest.mark.cluster


def test_the_node_offers_what_the_machine_has_and_says_that_its_gpus_are_simulated(node: Node) -> None:
    found = node.client.get(NodeObject, "trainserve-dev")
    assert found.metadata and found.metadata.labels and found.status and found.status.capacity
    assert found.status.capacity["cpu"] == str(len(os.sched_getaffinity(0)))
    assert found.status.capacity["memory"] == f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') // 1024}Ki"
    assert (found.status.capacity["pods"], found.status.capacity["nvidia.com/gpu"]) == ("1100", "3")
    assert found.metadata.labels["trainserve.io/gpu-simulated"] == "true"
    assert found.metadata.labels["nvidia.com/gpu.product"] == "NVIDIA-H200"
    assert {each.type: each.status for each in found.status.conditions or []} == {
        "Ready": "True",
        "MemoryPressure": "False",
        "DiskPressure": "False",
        "PIDPressure": "False",
    }


def test_the_node_renews_its_lease(node: Node) -> None:
    def renewed() -> object:
        lease = node.client.get(Lease, "trainserve-dev", namespace="kube-node-lease")
        return lease.spec and lease.spec.renewTime

    first = until(renewed, "there is no lease")
    until(lambda: renewed() != first, "the lease is not renewed")
