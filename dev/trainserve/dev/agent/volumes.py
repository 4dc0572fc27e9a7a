"""A pod's volumes as folders on the node, and where each container mounts them.

The files of configMap, secret, projected and downwardAPI volumes are written once, when the pod starts; service account
tokens are renewed. Unsupported kinds of volumes are refused by name.
"""

import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainserve.api.scalars import quantity
from trainserve.dev.agent import sandbox
from trainserve.dev.agent.environment import (
    ConfigError,
    Fetch,
    Object,
    PodFacts,
    decoded,
    expand,
    field_value,
    resource_value,
)
from trainserve.dev.agent.sandbox import Mount

DEFAULT_MODE = 0o644
TOKEN_SECONDS = 3600
# A kubelet renews a token after four fifths of its lifetime (pkg/kubelet/token/token_manager.go).
RENEW_AT = 0.8

RequestToken = Callable[[Object, Object], Awaitable[str]]
"""Returns a token for a pod, given the pod and a `serviceAccountToken` projection."""


class VolumeError(Exception):
    """A volume cannot be mounted yet; the pod waits and retries."""


@dataclass(frozen=True)
class File:
    """A file of a volume: path relative to the volume, content, permission bits."""

    path: str
    content: bytes
    mode: int


@dataclass(frozen=True)
class Volumes:
    """A pod's volumes: paths by name, names of read-only ones, and the Unix time at which tokens must be renewed."""

    paths: Mapping[str, Path]
    read_only: frozenset[str]
    renew_at: float | None


class VolumeMaker:
    """Prepares volumes from objects of the API server."""

    def __init__(
        self, fetch: Fetch, fetch_volume: Callable[[str], Awaitable[Object]], request_token: RequestToken
    ) -> None:
        self._fetch = fetch
        self._fetch_volume = fetch_volume
        self._request_token = request_token

    async def prepare(self, facts: PodFacts, folder: Callable[[str], Path]) -> Volumes:
        """Create every volume of the pod. Idempotent. Raises VolumeError."""
        paths: dict[str, Path] = {}
        read_only: set[str] = set()
        renewals: list[float] = []
        for volume in facts.pod["spec"].get("volumes", ()):
            name = volume["name"]
            try:
                if "emptyDir" in volume:
                    paths[name] = _empty_dir(folder(name), volume["emptyDir"])
                elif "hostPath" in volume:
                    paths[name] = _host_path(volume["hostPath"])
                elif claim := volume.get("persistentVolumeClaim"):
                    paths[name] = await self._claimed(claim["claimName"])
                    if claim.get("readOnly"):
                        read_only.add(name)
                else:
                    files, renew_at = await self._files(volume, facts)
                    write_files(folder(name), files)
                    paths[name] = folder(name)
                    read_only.add(name)
                    renewals += [renew_at] if renew_at else []
            except (ConfigError, OSError) as error:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{name}": {error}') from error
        return Volumes(paths, frozenset(read_only), min(renewals, default=None))

    async def renew(self, facts: PodFacts, folder: Callable[[str], Path]) -> float | None:
        """Renew the pod's tokens. Returns the Unix time of the next renewal. Raises VolumeError."""
        return (await self.prepare(facts, folder)).renew_at

    async def _claimed(self, name: str) -> Path:
        claim = await self._fetch("persistentvolumeclaims", name)
        if claim is None:
            raise ConfigError(f'persistentvolumeclaim "{name}" not found')
        if claim.get("status", {}).get("phase") != "Bound":
            raise ConfigError(f'persistentvolumeclaim "{name}" is not bound to a volume')
        source = (await self._fetch_volume(claim["spec"]["volumeName"]))["spec"]
        if "local" not in source and "hostPath" not in source:
            raise ConfigError(f'persistentvolume of claim "{name}": this node mounts hostPath and local volumes only')
        return _folder((source.get("hostPath") or source["local"])["path"])

    async def _files(self, volume: Object, facts: PodFacts) -> tuple[list[File], float | None]:
        """Return the files of a volume made of API objects, and the Unix time at which to renew them (None: never)."""
        if source := volume.get("projected"):
            files: list[File] = []
            renewals: list[float] = []
            for each in source.get("sources") or ():
                if token := each.get("serviceAccountToken"):
                    content = (await self._request_token(facts.pod, token)).encode()
                    files.append(File(token["path"], content, source.get("defaultMode", DEFAULT_MODE)))
                    renewals.append(time.time() + RENEW_AT * token.get("expirationSeconds", TOKEN_SECONDS))
                else:
                    files += await self._object_files(each, facts, source.get("defaultMode", DEFAULT_MODE))
            return files, min(renewals, default=None)
        return await self._object_files(volume, facts, None), None

    async def _object_files(self, source: Object, facts: PodFacts, mode: int | None) -> list[File]:
        if (found := source.get("downwardAPI")) is not None:
            return downward_files(found, facts, mode)
        for kind, plural in (("configMap", "configmaps"), ("secret", "secrets")):
            if (found := source.get(kind)) is not None:
                name = found.get("name") or found.get("secretName")
                data = await self._fetch(plural, name)
                if data is None and not found.get("optional"):
                    raise ConfigError(f'{kind.lower()} "{name}" not found')
                return object_files(found, decoded(plural, data) if data else {}, mode)
        raise ConfigError(f"volumes of kind {', '.join(set(source) - {'name'})} are not mounted by this node")


def object_files(source: Object, data: Mapping[str, bytes], mode: int | None = None) -> list[File]:
    """Return the files of a ConfigMap or Secret volume source: all keys, or those in `items`. Raises ConfigError."""
    default = source.get("defaultMode", DEFAULT_MODE) if mode is None else mode
    if not source.get("items"):
        return [File(key, value, default) for key, value in data.items()]
    files = []
    for item in source["items"]:
        if item["key"] in data:
            files.append(File(item["path"], data[item["key"]], item.get("mode", default)))
        elif not source.get("optional"):
            raise ConfigError(f"references non-existent key: {item['key']}")
    return files


def downward_files(source: Object, facts: PodFacts, mode: int | None = None) -> list[File]:
    """Return the files of a downwardAPI volume source. Raises ConfigError."""
    default = source.get("defaultMode", DEFAULT_MODE) if mode is None else mode
    spec = facts.pod["spec"]
    containers = {each["name"]: each for each in [*spec["containers"], *spec.get("initContainers", ())]}
    files = []
    for item in source.get("items", ()):
        if reference := item.get("fieldRef"):
            value = field_value(reference["fieldPath"], facts)
        else:
            reference = item["resourceFieldRef"]
            value = resource_value(reference, containers[reference["containerName"]], facts)
        files.append(File(item["path"], value.encode(), item.get("mode", default)))
    return files


def write_files(folder: Path, files: list[File]) -> None:
    """Write a volume's files, each replaced atomically. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        target = folder / file.path
        if "/" in file.path:
            target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"..{target.name}")
        temporary.write_bytes(file.content)
        temporary.chmod(file.mode)
        temporary.replace(target)


def container_mounts(container: Object, volumes: Volumes, env: Mapping[str, str]) -> list[Mount]:
    """Return the bind mounts of a container's volumeMounts, outer paths first.

    Raises ConfigError if a subPath leads out of its volume.
    """
    mounts = []
    for each in container.get("volumeMounts", ()):
        source = volumes.paths[each["name"]]
        if sub_path := each.get("subPath") or expand(each.get("subPathExpr", ""), env):
            source = _sub_path(source, sub_path)
        read_only = bool(each.get("readOnly")) or each["name"] in volumes.read_only
        mounts.append(
            Mount(source=str(source), target=os.path.normpath("/" + each["mountPath"].lstrip("/")), readOnly=read_only)
        )
    return sorted(mounts, key=lambda mount: mount["target"])


def _folder(path: str) -> Path:
    Path(path).mkdir(parents=True, exist_ok=True)
    return Path(path)


def uncovered(mounts: Iterable[Mount], folders: Iterable[Path]) -> list[Mount]:
    """Return read-only mounts of those `folders` that a volume mounted on a parent folder would hide.

    An image would have contained them: a checkout below /tmp must remain visible in a pod that mounts /tmp.
    """
    targets = [Path(each["target"]) for each in mounts]
    hidden = {folder for folder in folders for target in targets if target in folder.parents}
    return [Mount(source=str(folder), target=str(folder), readOnly=True) for folder in sorted(hidden)]


def _sub_path(volume: Path, sub_path: str) -> Path:
    inside = (volume / sub_path).resolve()
    if Path(sub_path).is_absolute() or not inside.is_relative_to(volume.resolve()):
        raise ConfigError(f"volumeMounts.subPath: {sub_path!r} leads out of its volume")
    if not inside.exists():
        inside.mkdir(parents=True)
    return inside


def _empty_dir(path: Path, source: Object) -> Path:
    if not path.exists():
        path.mkdir(parents=True)
        if source.get("medium") == "Memory":
            size = quantity.value(source["sizeLimit"]) if source.get("sizeLimit") else None
            sandbox.mount("tmpfs", str(path), "tmpfs", data=f"size={int(size)}" if size else None)
        path.chmod(0o777)
    return path


def _host_path(source: Object) -> Path:
    path, kind = Path(source["path"]), source.get("type", "")
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        path.touch()
    checks: dict[str, Callable[[Path], Any]] = {
        "Directory": Path.is_dir,
        "DirectoryOrCreate": Path.is_dir,
        "File": Path.is_file,
        "FileOrCreate": Path.is_file,
        "Socket": Path.is_socket,
        "CharDevice": Path.is_char_device,
        "BlockDevice": Path.is_block_device,
    }
    with contextlib.suppress(KeyError):
        if not checks[kind](path):
            raise ConfigError(f"hostPath type check failed: {path} is not a {kind}")
    if not path.exists():
        path.mkdir(parents=True)
    return path
