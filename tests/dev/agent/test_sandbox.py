from pathlib import Path

from trainserve.dev.agent.processes import boot_id, start_ticks, using
from trainserve.dev.agent.sandbox import MountPoint, parse_mountinfo, visible_mounts

MOUNTINFO = r"""
22 28 0:20 / /proc rw,relatime shared:5 - proc proc rw
28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 28 0:25 / /sys/fs/cgroup ro - tmpfs tmpfs rw
31 30 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
32 28 0:30 / /mnt/with\040space rw - tmpfs tmpfs rw
33 28 254:0 /srv/data /data rw master:3 propagate_from:2 - ext4 /dev/vda rw
34 28 0:40 / /state/pods/u/volumes/m rw - tmpfs tmpfs rw
35 28 0:41 / /dev/pts rw - devpts devpts rw
36 28 0:42 / /dev/pts rw - devpts devpts rw
""".strip()


def test_mount_points_are_read_with_their_escapes_and_optional_fields() -> None:
    points = parse_mountinfo(MOUNTINFO)
    assert points[4] == MountPoint("0:30", "/", "/mnt/with space", "tmpfs")
    assert points[5] == MountPoint("254:0", "/srv/data", "/data", "ext4")


def test_a_container_gets_every_mount_once_but_not_the_agents_own() -> None:
    points = visible_mounts(parse_mountinfo(MOUNTINFO), hide="/state")
    assert [point.path for point in points] == [
        "/data",
        "/dev/pts",
        "/mnt/with space",
        "/proc",
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/cpu",
    ]
    assert next(point for point in points if point.path == "/dev/pts").device == "0:42"


def test_a_process_is_named_by_its_start_and_the_boot() -> None:
    assert start_ticks(1) is not None
    assert start_ticks(2**22 + 1) is None
    assert len(boot_id()) == 36


def test_a_folder_that_no_container_mounts_has_no_processes(tmp_path: Path) -> None:
    assert using(tmp_path) == []
