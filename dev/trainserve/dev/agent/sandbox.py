"""A container's private view of the machine: its own mount and UTS namespace over a throw-away overlay of the host.

Every file system of the host is the read-only lower layer of an overlay whose upper layer is a tmpfs in the namespace:
files that a container writes outside its volumes vanish with its last process and never touch the host. Kernel file
systems (/proc, /sys, /dev/pts) are the host's own; /dev/shm is the container's own and vanishes with it.

This module runs in a child forked by the launcher. It uses the standard library only and no threads; it uses os.path
because pathlib would double the start time of every container.
"""

import ctypes
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypedDict

from trainserve.api.pod import PodPath

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
MS_RDONLY = 1
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}[os.uname().machine]
PR_SET_CHILD_SUBREAPER = 36

KERNEL_FILE_SYSTEMS = frozenset(
    ("proc", "sysfs", "devpts", "mqueue", "hugetlbfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "bpf")
)
OLD_ROOT = "/.host"

_libc = ctypes.CDLL(None, use_errno=True)


class Mount(TypedDict):
    """A bind mount: the host's `source` (file or folder) appears at `target` inside the container."""

    source: str
    target: str
    readOnly: bool


class MountPoint(NamedTuple):
    """A line of /proc/self/mountinfo: device as `major:minor`, root of the mount within its file system."""

    device: str
    root: str
    path: str
    kind: str


def parse_mountinfo(text: str) -> list[MountPoint]:
    """Return mount points in the order in which they were mounted (proc(5), /proc/pid/mountinfo)."""
    points = []
    for line in text.splitlines():
        fields = line.split()
        kind = fields[fields.index("-", 6) + 1]
        points.append(MountPoint(fields[2], _unescape(fields[3]), _unescape(fields[4]), kind))
    return points


def visible_mounts(points: Iterable[MountPoint], *, hide: str) -> list[MountPoint]:
    """Return a container's mounts besides its root: parents first, the last one per path, none at or below `hide`."""
    latest = {point.path: point for point in points}
    kept = [point for path, point in latest.items() if path != "/" and not f"{path}/".startswith(f"{hide}/")]
    recursive = [point.path for point in kept if _is_kernels(point)]
    return sorted(
        (point for point in kept if not any(point.path.startswith(f"{path}/") for path in recursive)),
        key=lambda point: point.path,
    )


def mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    """Call mount(2). Raises OSError naming the target."""
    arguments = [None if value is None else os.fsencode(value) for value in (source, target, kind)]
    result = _libc.mount(*arguments, ctypes.c_ulong(flags), None if data is None else os.fsencode(data))
    _check(result, f"mount {kind or source or ''} on {target}")


def unmount(target: str) -> None:
    """Call umount2(2) with MNT_DETACH. Raises OSError naming the target."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), f"unmount {target}")


def become_subreaper() -> None:
    """Make this process the parent of its orphaned descendants (prctl(2))."""
    _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")


def enter(stage: str, hide: str, hostname: str, mounts: Sequence[Mount]) -> list[str]:
    """Move this process into a new sandbox with `mounts`. Returns the mount points of its overlays. Raises OSError.

    `stage` is an empty folder under `hide`, the agent's own folder, which is hidden from the container.
    """
    _check(_libc.unshare(CLONE_NEWNS | CLONE_NEWUTS), "unshare")
    _check(_libc.sethostname(os.fsencode(hostname), len(os.fsencode(hostname))), "sethostname")
    mount(None, "/", flags=MS_REC | MS_PRIVATE)
    with open("/proc/self/mountinfo") as mountinfo:
        points = visible_mounts(parse_mountinfo(mountinfo.read()), hide=hide)
    # Opened before pivot_root: afterwards a path such as /var/run would be resolved inside the container.
    sources = [os.open(each["source"], os.O_PATH) for each in mounts]
    mount("tmpfs", stage, "tmpfs", data="mode=755")
    root = f"{stage}/root"
    os.mkdir(root)
    _overlay("/", root, f"{stage}/0")
    overlays = ["/"]
    for index, point in enumerate(points, start=1):
        if point.path == PodPath.SHARED_MEMORY:
            mount("tmpfs", root + point.path, "tmpfs", data="mode=1777")
            continue
        if _is_kernels(point) or not os.path.isdir(point.path):
            _bind(point.path, root + point.path)
            continue
        try:
            _overlay(point.path, root + point.path, f"{stage}/{index}")
            overlays.append(point.path)
        except OSError:
            # Some file systems cannot be a lower layer (nested overlays two deep, FAT): share their content instead.
            _bind(point.path, root + point.path)
    os.mkdir(root + OLD_ROOT)
    _check(_libc.syscall(SYS_PIVOT_ROOT, os.fsencode(root), os.fsencode(root + OLD_ROOT)), "pivot_root")
    os.chdir("/")
    for descriptor, each in zip(sources, mounts, strict=True):
        _bind_volume(f"/proc/self/fd/{descriptor}", each)
        os.close(descriptor)
    unmount(OLD_ROOT)
    os.rmdir(OLD_ROOT)
    return overlays


def make_read_only(overlays: Iterable[str], mounts: Iterable[Mount]) -> None:
    """Make the root read-only, for `readOnlyRootFilesystem`; `mounts` are not changed."""
    volumes = {each["target"] for each in mounts}
    for path in overlays:
        if path not in volumes and os.path.ismount(path):  # a volume may lie above it and hide it
            mount(None, path, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def join(namespace: int, root: int) -> None:
    """Move this process into the sandbox of another. Raises OSError.

    `namespace` and `root` are descriptors of that process's /proc/pid/ns/mnt and /proc/pid/root.
    """
    _check(_libc.setns(namespace, CLONE_NEWNS), "setns")
    os.fchdir(root)
    os.chroot(".")
    os.chdir("/")


def _overlay(lower: str, target: str, scratch: str) -> None:
    os.makedirs(f"{scratch}/upper")
    os.mkdir(f"{scratch}/work")
    status = os.stat(lower)
    os.chmod(f"{scratch}/upper", status.st_mode & 0o7777)
    layers = {"lowerdir": lower, "upperdir": f"{scratch}/upper", "workdir": f"{scratch}/work"}
    data = ",".join(f"{option}={_escape(path)}" for option, path in layers.items())
    mount("overlay", target, "overlay", data=data)


def _bind(source: str, target: str) -> None:
    mount(source, target, flags=MS_BIND | MS_REC)


def _bind_volume(source: str, volume: Mount) -> None:
    target = volume["target"]
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    _bind(source, target)
    if volume["readOnly"]:
        mount(None, target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def _is_kernels(point: MountPoint) -> bool:
    return point.kind in KERNEL_FILE_SYSTEMS


def _escape(path: str) -> str:
    """Escape a path for an overlay's options, where colons separate layers and commas separate options."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _unescape(field: str) -> str:
    return field.encode().decode("unicode_escape") if "\\" in field else field


def _check(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
