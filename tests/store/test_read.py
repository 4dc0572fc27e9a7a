"""Resolving and reading: the requested version, with every byte checked."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainserve import store

Publish = Callable[..., store.Published]


def test_newest_and_pinned_versions_resolve_to_their_public_address(publish: Publish, root: Path) -> None:
    first, second = publish(), publish()
    newest = store.resolve(root, "default", "digits", public_root="pvc://trainserve-models")
    assert newest == store.Resolved("pvc://trainserve-models/default/digits/2", 2, second.digest)
    assert store.resolve(root, "default", "digits", 1) == store.Resolved(f"{root}/default/digits/1", 1, first.digest)


def test_a_version_that_does_not_exist_names_those_that_do(publish: Publish, root: Path) -> None:
    publish()
    publish()
    with pytest.raises(store.VersionNotFound) as error:
        store.resolve(root, "default", "digits", 7)
    assert str(error.value) == "model digits: version 7 does not exist; published: 1, 2"
    with pytest.raises(store.VersionNotFound):
        store.content(root, "default", "digits", 7, "model.onnx")


def test_a_model_that_does_not_exist_names_those_that_do(publish: Publish, root: Path) -> None:
    publish(model="mnist")
    with pytest.raises(store.ModelNotFound) as error:
        store.resolve(root, "default", "digits")
    assert str(error.value) == "model digits: nothing is published in namespace default; models there: mnist"
    with pytest.raises(store.ModelNotFound, match="models there: none"):
        store.resolve(root, "other", "digits")


def test_models_lists_those_with_a_whole_version(publish: Publish, root: Path) -> None:
    publish(model="digits")
    (root / "default/empty/1").mkdir(parents=True)
    assert store.models(root, "default") == ["digits"]
    assert store.models(root, "nobody") == []


def test_checkpoints_that_lie_beside_the_models_are_neither_models_nor_a_namespace(
    publish: Publish, root: Path
) -> None:
    publish()
    for folder in (".checkpoints/default/uid", "default/.checkpoints/1"):
        (root / folder).mkdir(parents=True)
        (root / folder / "manifest.json").write_text("{}")
    assert store.models(root, "default") == ["digits"]
    with pytest.raises(store.StoreError, match="namespace"):
        store.models(root, ".checkpoints")


def test_a_file_is_read_as_it_was_published(publish: Publish, root: Path, files: dict[str, Path]) -> None:
    publish()
    for name, path in files.items():
        assert store.content(root, "default", "digits", 1, name) == path.read_bytes()
    assert store.content(root, "default", "digits", 1, "report.html") is None


@pytest.mark.parametrize("name", ["model.onnx", "samples.npz"])
def test_changed_bytes_are_refused_with_both_digests(publish: Publish, root: Path, name: str) -> None:
    published = publish()
    path = root / "default/digits/1" / name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(store.DigestMismatch) as error:
        store.content(root, "default", "digits", 1, name)
    expected = published.manifest.files[name].sha256
    assert (error.value.expected, error.value.found) == (expected, found)
    assert str(error.value) == f"default/digits/1/{name}: expected sha256:{expected}, found sha256:{found}"


def test_a_file_that_is_gone_is_named(publish: Publish, root: Path) -> None:
    publish()
    (root / "default/digits/1/model.onnx").unlink()
    with pytest.raises(store.StoreError, match=r"cannot read default/digits/1/model.onnx: No such file"):
        store.content(root, "default", "digits", 1, "model.onnx")


def test_a_manifest_that_is_none_is_named(publish: Publish, root: Path) -> None:
    publish()
    (root / "default/digits/1/manifest.json").write_text("{}")
    with pytest.raises(store.StoreError, match=r"default/digits/1/manifest.json: not a manifest: opset: required"):
        store.manifest(root, "default", "digits", 1)


def test_a_manifest_cannot_name_a_file_outside_its_folder(publish: Publish, root: Path) -> None:
    publish()
    path = root / "default/digits/1/manifest.json"
    content = json.loads(path.read_text())
    content["files"]["../escaped"] = content["files"]["model.onnx"]
    path.write_text(json.dumps(content))
    with pytest.raises(store.StoreError, match=r"file name: '\.\./escaped' is not allowed"):
        store.content(root, "default", "digits", 1, "../escaped")


@given(name=st.one_of(st.text(max_size=70), st.sampled_from(["..", ".", "a/../b", "/etc", "A", "a" * 64, "-a", "a\n"])))
def test_no_name_leads_out_of_the_store(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.getbasetemp()
    allowed = 1 <= len(name) <= 63 and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    allowed = allowed and not name.startswith("-") and not name.endswith("-")
    attempts: list[Callable[[], list[int]]] = [
        lambda: store.versions(root, name, "digits"),
        lambda: store.versions(root, "default", name),
    ]
    for attempt in attempts:
        if allowed:
            assert attempt() == []
        else:
            with pytest.raises(store.StoreError, match="is not allowed"):
                attempt()


def test_a_pvc_root_says_to_give_the_mounted_folder() -> None:
    with pytest.raises(store.StoreError, match="give the mounted folder"):
        store.versions("pvc://trainserve-models", "default", "digits")


def test_a_file_url_is_the_same_store(publish: Publish, root: Path) -> None:
    publish()
    assert store.versions(f"file://{root}", "default", "digits") == [1]


def test_importing_the_store_imports_no_heavy_library() -> None:
    heavy = "{'torch', 'onnx', 'onnxruntime', 'numpy', 'fsspec'}"
    code = f"import sys, trainserve.store; print({heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
