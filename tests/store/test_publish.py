"""Publishing: version numbers, idempotence, the layout of a version, and two publishers at once."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.store.children import begin
from trainserve import store

Publish = Callable[..., store.Published]


def test_each_success_publishes_the_next_version(publish: Publish, root: Path) -> None:
    assert [publish().version for _ in range(3)] == [1, 2, 3]
    assert store.versions(root, "default", "digits") == [1, 2, 3]


def test_a_version_holds_its_files_and_a_manifest_with_their_digests(
    publish: Publish, root: Path, files: dict[str, Path]
) -> None:
    published = publish("uid-1")
    folder = root / "default/digits/1"
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "model.onnx", "samples.npz"]
    content = (folder / "manifest.json").read_bytes()
    assert published.digest == "sha256:" + hashlib.sha256(content).hexdigest()
    manifest = json.loads(content)
    assert list(manifest) == sorted(manifest), "keys are sorted"
    assert manifest["formatVersion"] == 1
    assert (manifest["namespace"], manifest["model"], manifest["version"]) == ("default", "digits", 1)
    assert manifest["trainJob"] == {"name": "digits", "uid": "uid-1", "attempt": 1}
    assert (manifest["energy"]["joules"], manifest["energy"]["source"]) == (None, "none")
    for name, path in files.items():
        entry = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
        assert manifest["files"][name] == entry
    assert published.bytes == sum(path.stat().st_size for path in files.values())


def test_the_same_trainjob_uid_publishes_once(publish: Publish, root: Path) -> None:
    first, other = publish("uid-1"), publish("uid-2")
    again = publish("uid-1")
    assert (again.version, again.digest, again.existed) == (first.version, first.digest, True)
    assert other.version == 2
    assert store.versions(root, "default", "digits") == [1, 2]


def test_runs_by_hand_have_no_uid_and_publish_every_time(publish: Publish) -> None:
    assert [publish(None).version, publish(None).version] == [1, 2]


def test_a_number_once_in_use_is_not_given_again_after_a_version_was_removed(publish: Publish, root: Path) -> None:
    publish()
    (root / "default/digits/7").mkdir()
    (root / "default/digits/7/model.onnx").write_bytes(b"half a version from elsewhere")
    assert publish().version == 8
    assert store.versions(root, "default", "digits") == [1, 8]


def test_publishers_at_once_get_different_versions(publish: Publish, root: Path) -> None:
    children = [begin(publish, f"uid-{number}") for number in range(8)]
    for child in children:
        child.join()
    assert store.versions(root, "default", "digits") == list(range(1, 9))
    uids = {store.manifest(root, "default", "digits", number).train_job.uid for number in range(1, 9)}
    assert uids == {f"uid-{number}" for number in range(8)}


def test_two_attempts_of_one_trainjob_at_once_publish_one_version(publish: Publish, root: Path) -> None:
    children = [begin(publish, "same") for _ in range(4)]
    for child in children:
        child.join()
    assert store.versions(root, "default", "digits") == [1]


def test_a_missing_source_file_is_named(
    root: Path, files: dict[str, Path], tmp_path: Path, draft: store.ManifestDraft
) -> None:
    with pytest.raises(store.StoreError, match=r"cannot read .*absent\.onnx: No such file or directory"):
        store.publish(root, "default", "digits", files | {"model.onnx": tmp_path / "absent.onnx"}, draft)


@pytest.mark.parametrize("name", ["../model.onnx", "a/b", "", ".hidden", "manifest.json"])
def test_a_file_name_that_leads_elsewhere_is_refused(
    root: Path, files: dict[str, Path], name: str, draft: store.ManifestDraft
) -> None:
    with pytest.raises(store.StoreError, match="file name"):
        store.publish(root, "default", "digits", {name: files["model.onnx"]}, draft)
    assert not root.exists()


def test_a_root_that_can_be_written_is_as_expected_and_nothing_is_made(tmp_path: Path) -> None:
    store.expect_writable(tmp_path / "later", "default", "digits")
    assert not (tmp_path / "later").exists()


def test_a_root_below_a_file_is_told_before_anything_is_published(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(store.StoreError, match=rf"^cannot publish to {tmp_path}/file/default/digits: Not a directory$"):
        store.expect_writable(tmp_path / "file", "default", "digits")


def test_a_root_that_is_mounted_read_only_is_told_before_anything_is_published(tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(tmp_path)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.decode()}")
    try:
        with pytest.raises(store.StoreError, match=rf"^cannot publish to {tmp_path}: Read-only file system$"):
            store.expect_writable(tmp_path, "default", "digits")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
