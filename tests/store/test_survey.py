"""Entries of a model's folder that are not versions: they are skipped by name, and neither hide nor block a version."""

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from trainserve import store

Publish = Callable[..., store.Published]


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, root: Path) -> str:
    """The root of a store, as a folder and as an object store."""
    return str(root) if request.param == "folder" else f"memory://bucket-{uuid.uuid4().hex}/models"


def put(place: str, path: str, content: bytes) -> None:
    """Write a file into the store, as any other writer could."""
    fs, at = fsspec.core.url_to_fs(f"{place}/default/digits/{path}")
    fs.makedirs(at.rpartition("/")[0], exist_ok=True)
    fs.pipe_file(at, content)


def copied(manifest: store.Manifest, **changes: Any) -> bytes:
    return json.dumps(json.loads(manifest.to_bytes()) | changes).encode()


@pytest.mark.parametrize("number", [999_999_999, 999_999_998, 20_261_130, 5_000])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff\x00", b"[" * 100_000, b'{"version": 1}', "copy"])
def test_a_stray_folder_hides_no_later_version_and_is_named(
    publish: Publish, place: str, number: int, content: bytes | str | None
) -> None:
    first = publish("one", root=place)
    if content is None:
        put(place, f"{number}/notes.txt", b"")
    else:
        put(place, f"{number}/manifest.json", copied(first.manifest) if isinstance(content, str) else content)
    second, third = publish("two", root=place), publish("three", root=place)
    assert (second.version, third.version) == (2, 3)
    assert publish("two", root=place).version == 2, "it is found again by its TrainJob"
    assert store.versions(place, "default", "digits") == [1, 2, 3]
    found = store.resolve(place, "default", "digits")
    assert (found.version, found.digest) == (3, third.digest)
    for told in (third.passed_over, found.passed_over):
        assert len(told) == 1
        assert f"default/digits/{number}" in told[0]


def test_a_version_that_says_it_is_the_last_one_leaves_the_next_a_number(publish: Publish, place: str) -> None:
    first = publish("one", root=place)
    put(place, "999999999/manifest.json", copied(first.manifest, version=999_999_999))
    assert publish("two", root=place).version == 2


def test_where_every_last_number_is_taken_that_is_an_error(publish: Publish, place: str) -> None:
    first = publish("one", root=place)
    for number in (999_999_998, 999_999_999):
        put(place, f"{number}/manifest.json", copied(first.manifest, version=number))
        put(place, f"{number}/claim", b"")
    with pytest.raises(store.StoreError, match="no number up to 999999999 is free"):
        publish("two", root=place)


def test_a_manifest_that_cannot_be_read_keeps_its_number_and_stops_no_publish(publish: Publish, place: str) -> None:
    publish("one", root=place)
    put(place, "2/manifest.json", b"{")
    put(place, "2/claim", b"")
    made = publish("two", root=place)
    assert (made.version, made.passed_over) == (3, ())
    assert store.models(place, "default") == ["digits"]


def test_many_strays_are_told_as_a_few(publish: Publish, place: str) -> None:
    for number in range(3000, 3006):
        put(place, f"{number}/notes.txt", b"")
    told = publish(root=place).passed_over
    assert len(told) == 4
    assert told[0].startswith("default/digits/3005: ")
    assert told[-1] == "and 3 more"


@pytest.mark.parametrize("at", ["default/digits/2", "default/letters/1", "other/digits/1"])
def test_a_version_in_the_place_of_another_is_refused(publish: Publish, root: Path, at: str) -> None:
    publish()
    publish()
    shutil.rmtree(root / at, ignore_errors=True)
    shutil.copytree(root / "default/digits/1", root / at)
    namespace, model, number = at.split("/")
    for attempt in (
        lambda: store.content(root, namespace, model, int(number), "model.onnx"),
        lambda: store.resolve(root, namespace, model, int(number)),
        lambda: store.manifest(root, namespace, model, int(number)),
    ):
        with pytest.raises(store.VersionMismatch, match=rf"the manifest of default/digits/1, not of {at}"):
            attempt()


def test_a_version_that_was_asked_for_and_cannot_be_read_is_told(publish: Publish, root: Path) -> None:
    publish()
    (root / "default/digits/1/manifest.json").write_text("{}")
    with pytest.raises(store.StoreError, match=r"default/digits/1/manifest\.json: not a manifest"):
        store.resolve(root, "default", "digits", 1)
