"""The model store: publish, resolve and read versions. Imports neither torch nor onnx.

`<root>/<namespace>/<model>/<version>/{model.onnx, manifest.json, samples.npz, report.html}`; a root is a
folder, `file://` or any fsspec URL. A version exists only with its `manifest.json`, and then never changes.
docs/contracts.md describes the formats.
"""

from trainserve.store.errors import (
    DigestMismatch,
    InvalidAddress,
    ModelNotFound,
    StoreError,
    VersionMismatch,
    VersionNotFound,
)
from trainserve.store.manifest import (
    Batching,
    Curves,
    Energy,
    FileEntry,
    Manifest,
    ManifestDraft,
    Metrics,
    Parity,
    Preprocessing,
    Tensor,
    TrainJobRef,
)
from trainserve.store.names import MANIFEST, REPORT, is_file
from trainserve.store.publish import Published, expect_writable, publish, published_by
from trainserve.store.read import Resolved, address, content, manifest, models, resolve, versions

__all__ = [
    "MANIFEST",
    "REPORT",
    "Batching",
    "Curves",
    "DigestMismatch",
    "Energy",
    "FileEntry",
    "InvalidAddress",
    "Manifest",
    "ManifestDraft",
    "Metrics",
    "ModelNotFound",
    "Parity",
    "Preprocessing",
    "Published",
    "Resolved",
    "StoreError",
    "Tensor",
    "TrainJobRef",
    "VersionMismatch",
    "VersionNotFound",
    "address",
    "content",
    "expect_writable",
    "is_file",
    "manifest",
    "models",
    "publish",
    "published_by",
    "resolve",
    "versions",
]
