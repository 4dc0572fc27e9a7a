import logging
from pathlib import Path

import pytest

from trainserve.dev.agent.cgroups import Cgroups, Limits, group_name, remove_all


def test_with_one_hierarchy_both_limits_are_in_one_group(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").touch()
    (group,) = Cgroups(Path("/state"), tmp_path).create("c", Limits(memory=1 << 20, cpu=0.5))
    assert group == tmp_path / group_name(Path("/state")) / "c"
    assert (group / "memory.max").read_text() == "1048576"
    assert (group / "cpu.max").read_text() == "50000 100000"


def test_with_split_hierarchies_each_limit_has_a_group_of_its_own(tmp_path: Path) -> None:
    memory, cpu = Cgroups(Path("/state"), tmp_path).create("c", Limits(memory=1 << 20, cpu=2.0))
    assert (memory / "memory.limit_in_bytes").read_text() == "1048576"
    assert (cpu / "cpu.cfs_quota_us").read_text() == "200000"


@pytest.mark.parametrize(("cores", "shares"), [(1, "1024"), (2, "2048"), (8, "3072")])
def test_each_container_weighs_as_much_as_a_process_outside_and_all_no_more_than_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, shares: str
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    groups = Cgroups(Path("/state"), tmp_path)
    for name in ("a", "b", "c"):
        groups.create(name, Limits(cpu=1.0))
    assert (tmp_path / "cpu" / group_name(Path("/state")) / "cpu.shares").read_text() == shares


def test_a_container_without_limits_has_no_group(tmp_path: Path) -> None:
    assert Cgroups(Path("/state"), tmp_path).create("c", Limits()) == []


def test_out_of_memory_is_read_from_the_kernels_count(tmp_path: Path) -> None:
    groups = Cgroups(Path("/state"), tmp_path)
    (group,) = groups.create("c", Limits(memory=1))
    (group / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
    assert not groups.out_of_memory("c")
    (group / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert groups.out_of_memory("c")


def test_where_cgroups_cannot_be_written_it_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "memory").write_text("not a folder")
    groups = Cgroups(Path("/state"), tmp_path)
    with caplog.at_level(logging.WARNING):
        assert groups.create("a", Limits(memory=1)) == groups.create("b", Limits(memory=1)) == []
    assert len([each for each in caplog.records if "not enforced" in each.message]) == 1


def test_all_groups_of_an_agent_can_be_removed_by_its_folder_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "memory" / group_name(Path("/state")) / name).mkdir(parents=True)
    remove_all(Path("/state"), tmp_path)
    assert list((tmp_path / "memory").iterdir()) == []
