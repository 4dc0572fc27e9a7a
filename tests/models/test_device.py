"""The number of threads that a process computes with."""

from pathlib import Path

import pytest

from trainserve.models import device


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_the_cpu_limit_is_read_from_the_cgroup(tmp_path: Path, files: dict[str, str], cores: float | None) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    assert device.cpu_limit(tmp_path) == cores


def test_omp_num_threads_is_what_the_pod_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert device.threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert device.threads() >= 1


def test_processes_share_the_cores_of_their_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(device, "cpu_limit", lambda cgroup: 7.5)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(16)))
    assert [device.threads(processes) for processes in (1, 2, 3, 100)] == [8, 4, 2, 1]
