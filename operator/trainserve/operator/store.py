"""The model store from the operator's side: an address that pods access. The operator itself never reads it."""

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
    """Return the volumes and read-only mounts for an address outside the store: those of the claim, at `path`, for a
    pvc:// address, and none for any other."""
    if not uri.startswith(CLAIM):
        return [], []
    name, _, _ = uri.removeprefix(CLAIM).partition("/")
    volume = {"name": volume_name, "persistentVolumeClaim": {"claimName": name, "readOnly": True}}
    return [volume], [{"name": volume_name, "mountPath": path, "readOnly": True}]


@dataclass(frozen=True)
class StoreRoot:
    """The store's public root address, and the way in which pods access it."""

    public: str

    @classmethod
    def parse(cls, text: str) -> StoreRoot:
        """Parse `pvc://<claim>`, `file:///abs/folder` or `s3://bucket[/prefix]`. Raises ValueError for any other."""
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
        """Root of the store as a pod sees it: a folder, or the s3:// address."""
        return self.public if self.public.startswith("s3://") else PodPath.STORE

    @property
    def is_mounted(self) -> bool:
        """Whether pods see the store as a folder."""
        return self.mounted == PodPath.STORE

    def checkpoints(self, namespace: str, uid: str) -> str:
        """Return the folder of one TrainJob's checkpoints, as its pods see it. The store must be mounted.

        Readers of the store never see this folder, since no namespace begins with a dot.
        """
        assert self.is_mounted
        return f"{PodPath.STORE}/{CHECKPOINTS}/{namespace}/{uid}"

    def volumes(self) -> list[dict[str, Any]]:
        """Return the pod's volume of the store; empty if the store is not mounted."""
        scheme, _, rest = self.public.partition("://")
        if scheme == "pvc":
            return [{"name": VOLUME, "persistentVolumeClaim": {"claimName": rest}}]
        if scheme == "file":
            return [{"name": VOLUME, "hostPath": {"path": rest, "type": "DirectoryOrCreate"}}]
        return []

    def mounts(self, namespace: str, *, read_only: bool) -> list[dict[str, Any]]:
        """Return the container's mounts of that volume: only the folder of its namespace, and for a writer also the
        folder of the namespace's checkpoints."""
        folders = [namespace] if read_only else [namespace, f"{CHECKPOINTS}/{namespace}"]
        return [
            {"name": VOLUME, "mountPath": f"{PodPath.STORE}/{folder}", "subPath": folder, "readOnly": read_only}
            for folder in (folders if self.volumes() else [])
        ]

    def path_of(self, uri: str) -> str | None:
        """Return `<namespace>/<model>/<version>` of a public address, or None if it is not a version in this store."""
        prefix = f"{self.public}/"
        path = uri.rstrip("/").removeprefix(prefix)
        inside = uri.startswith(prefix) and len(path.split("/")) == 3 and ".." not in path.split("/")
        return path if inside else None

    def address(self, namespace: str, model: str, version: int) -> str:
        """Return the only public address of a version."""
        return f"{self.public}/{namespace}/{model}/{version}"

    def is_at(self, uri: str, namespace: str, model: str, version: int) -> bool:
        """Return whether `uri` is the address of that version, the only one that is accepted for it."""
        return version <= LAST_VERSION and uri == self.address(namespace, model, version)

    def foreign(self, uri: str, namespace: str) -> bool:
        """Return whether `uri` lies in this store, but outside the folder of `namespace`."""
        return uri.startswith(f"{self.public}/") and not uri.startswith(f"{self.public}/{namespace}/")
