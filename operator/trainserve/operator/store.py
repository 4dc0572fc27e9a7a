"""The model store as the operator knows it: an address that pods mount. The operator itself never reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainserve.api.pod import PodPath
from trainserve.api.scalars.names import LAST_VERSION

VOLUME = "store"
CLAIM = "pvc://"
CHECKPOINTS = ".checkpoints"


def claimed(
    uri: str, volume_name: str = VOLUME, path: str = PodPath.STORE
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and read-only mounts of an address outside the store: the claim of a pvc:// one, where pods look for
    it."""
    if not uri.startswith(CLAIM):
        return [], []
    name, _, _ = uri.removeprefix(CLAIM).partition("/")
    volume = {"name": volume_name, "persistentVolumeClaim": {"claimName": name, "readOnly": True}}
    return [volume], [{"name": volume_name, "mountPath": path, "readOnly": True}]


@dataclass(frozen=True)
class StoreRoot:
    """The public root, and how a pod reaches it."""

    public: str

    @classmethod
    def parse(cls, text: str) -> StoreRoot:
        """Accept `pvc://<claim>`, `file:///abs/folder` and `s3://bucket[/prefix]`; raise ValueError for the rest."""
        public = text.rstrip("/")
        scheme, separator, rest = public.partition("://")
        if not separator or not rest:
            raise ValueError("expected pvc://<claim>, file:///abs/folder or s3://bucket/prefix")
        if scheme == "pvc" and "/" in rest:
            raise ValueError("a claim's name holds no slash: the store is the whole claim")
        if scheme == "file" and not rest.startswith("/"):
            raise ValueError("file:// needs an absolute folder, as in file:///srv/models")
        if scheme not in ("pvc", "file", "s3"):
            raise ValueError("expected pvc://<claim>, file:///abs/folder or s3://bucket/prefix")
        return cls(public)

    @property
    def mounted(self) -> str:
        """The root as a pod sees it."""
        return self.public if self.public.startswith("s3://") else PodPath.STORE

    @property
    def is_mounted(self) -> bool:
        """Whether pods see it as a folder."""
        return self.mounted == PodPath.STORE

    def checkpoints(self, namespace: str, uid: str) -> str:
        """The folder of one TrainJob's checkpoints, as its pods see it; a store that is not mounted has none.

        Readers of the store never see it: no namespace begins with a dot.
        """
        assert self.is_mounted
        return f"{PodPath.STORE}/{CHECKPOINTS}/{namespace}/{uid}"

    def volumes(self) -> list[dict[str, Any]]:
        """The pod's volume, if the store is one."""
        scheme, _, rest = self.public.partition("://")
        if scheme == "pvc":
            return [{"name": VOLUME, "persistentVolumeClaim": {"claimName": rest}}]
        if scheme == "file":
            return [{"name": VOLUME, "hostPath": {"path": rest, "type": "DirectoryOrCreate"}}]
        return []

    def mounts(self, namespace: str, *, read_only: bool) -> list[dict[str, Any]]:
        """The container's mounts of that volume: its namespace's own folder and nothing beside it. Whoever writes has
        the namespace's checkpoints, too."""
        folders = [namespace] if read_only else [namespace, f"{CHECKPOINTS}/{namespace}"]
        return [
            {"name": VOLUME, "mountPath": f"{PodPath.STORE}/{folder}", "subPath": folder, "readOnly": read_only}
            for folder in (folders if self.volumes() else [])
        ]

    def path_of(self, uri: str) -> str | None:
        """Return `<namespace>/<model>/<version>` of a public address; None if it is not in this store."""
        prefix = f"{self.public}/"
        path = uri.rstrip("/").removeprefix(prefix)
        inside = uri.startswith(prefix) and len(path.split("/")) == 3 and ".." not in path.split("/")
        return path if inside else None

    def address(self, namespace: str, model: str, version: int) -> str:
        """Return the only public address of a version."""
        return f"{self.public}/{namespace}/{model}/{version}"

    def is_at(self, uri: str, namespace: str, model: str, version: int) -> bool:
        """Return whether `uri` is the address of that version, the only one that is believed."""
        return version <= LAST_VERSION and uri == self.address(namespace, model, version)

    def foreign(self, uri: str, namespace: str) -> bool:
        """Whether an address lies in this store, but not in the namespace's own folder."""
        return uri.startswith(f"{self.public}/") and not uri.startswith(f"{self.public}/{namespace}/")
