"""manifest.json across releases: optional fields, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainserve import store
from trainserve.store.manifest import Manifest

from .conftest import make_draft

CURVES: dict[str, Any] = {"epoch": [1, 2], "step": [4, 8], "seconds": [0.5, 1.0], "loss": [0.5, None]}


def written(curves: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a manifest's JSON."""
    made = Manifest(**dict(make_draft()), namespace="default", model="digits", version=1, created="now", files={})
    content: dict[str, Any] = json.loads(made.to_bytes())
    return content if curves is None else content | {"curves": curves}


def read(content: dict[str, Any]) -> Manifest:
    return Manifest.from_bytes(json.dumps(content).encode(), "manifest.json")


def test_curves_are_read_as_they_were_written() -> None:
    curves = read(written(CURVES)).curves
    assert curves is not None
    assert (curves.epoch, curves.loss, curves.accuracy) == ([1, 2], [0.5, None], None)
    whole = read(written(CURVES)).to_bytes()
    assert Manifest.from_bytes(whole, "again").curves == curves


def test_a_manifest_without_curves_is_one_as_earlier_releases_wrote_it() -> None:
    content = written()
    assert "curves" not in content
    assert read(content).curves is None


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"loss": [0.5]}, "curves.loss: 1 values; must be 2, as epoch has"),
        ({"epoch": []}, "curves.epoch: .* is not allowed; must have at least 1 item"),
        ({"epoch": [1] * 501}, "curves.epoch: .* is not allowed; must have at most 500 items"),
        ({"gradient": [1, 2]}, "curves.gradient: unknown field; allowed: "),
    ],
)
def test_curves_that_are_none_are_named(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(store.StoreError, match=f"manifest.json: not a manifest: {complaint}"):
        read(written(CURVES | changes))


def test_one_file_of_a_version_is_read_and_checked(publish: Callable[..., store.Published], root: Path) -> None:
    publish()
    assert store.content(root, "default", "digits", 1, "samples.npz") == b"samples" * 1000
    assert store.content(root, "default", "digits", 1, store.REPORT) is None
    (root / "default/digits/1/samples.npz").write_bytes(b"other")
    with pytest.raises(store.DigestMismatch, match=r"default/digits/1/samples\.npz: expected"):
        store.content(root, "default", "digits", 1, "samples.npz")
    with pytest.raises(store.VersionNotFound):
        store.content(root, "default", "digits", 2, "samples.npz")
