import pytest

from trainserve.dev.agent.gpus import Allocator, Gpus, OutOfGpus, needed, shares


def container(name: str, gpus: int) -> dict[str, object]:
    return {"name": name, "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}


def test_pods_get_distinct_devices_and_give_them_back() -> None:
    allocator = Allocator(["0", "1", "2"])
    assert (allocator.allocate("a", 2), allocator.allocate("b", 1)) == (["0", "1"], ["2"])
    assert allocator.allocate("a", 2) == ["0", "1"]
    with pytest.raises(OutOfGpus, match=r"nvidia\.com/gpu, requested: 1, available: 0"):
        allocator.allocate("c", 1)
    allocator.release("a")
    assert allocator.allocate("c", 1) == ["0"]


def test_a_pod_of_a_former_agent_keeps_its_devices() -> None:
    allocator = Allocator(["0", "1"])
    allocator.restore("old", ["1"])
    assert allocator.allocate("new", 1) == ["0"]
    assert allocator.allocate("old", 1) == ["1"]


def test_containers_that_run_together_share_no_device_and_init_containers_reuse_them() -> None:
    spec = {"initContainers": [container("prepare", 1)], "containers": [container("a", 1), container("b", 1)]}
    assert needed({"spec": spec}) == 2
    assert shares({"spec": spec}, ["0", "1"]) == {"prepare": ["0"], "a": ["0"], "b": ["1"]}


def test_simulated_gpus_are_labelled_as_such_and_real_ones_are_not() -> None:
    simulated = Gpus(["0", "1"], "NVIDIA-H200", 143771, (9, 0), simulated=True).labels()
    real = Gpus(["GPU-1"], "NVIDIA-H200", 143771, (9, 0), simulated=False).labels()
    assert (simulated["nvidia.com/gpu.count"], simulated["trainserve.io/gpu-simulated"]) == ("2", "true")
    assert (real["nvidia.com/gpu.product"], real["nvidia.com/gpu.memory"]) == ("NVIDIA-H200", "143771")
    assert "trainserve.io/gpu-simulated" not in real
    assert Gpus([], "", 0, (0, 0), simulated=True).labels() == {}
