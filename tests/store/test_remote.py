"""An object store through fsspec. Its memory file system is one: no renames, conditional puts, and no server needed."""

import uuid
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from trainserve import store

Publish = Callable[..., store.Published]


@pytest.fixture
def url() -> str:
    return f"memory://bucket-{uuid.uuid4().hex}/models"


def test_versions_are_published_resolved_and_read(publish: Publish, url: str, files: dict[str, Path]) -> None:
    first, second = publish("uid-1", root=url), publish("uid-2", root=url)
    assert (first.uri, second.uri) == (f"{url}/default/digits/1", f"{url}/default/digits/2")
    assert store.resolve(url, "default", "digits").digest == second.digest
    assert store.content(url, "default", "digits", 2, "model.onnx") == files["model.onnx"].read_bytes()
    assert store.models(url, "default") == ["digits"]


def test_the_same_uid_publishes_once(publish: Publish, url: str) -> None:
    assert publish("uid-1", root=url).digest == publish("uid-1", root=url).digest
    assert store.versions(url, "default", "digits") == [1]


def test_a_number_claimed_by_another_publisher_is_left_to_it(publish: Publish, url: str) -> None:
    fs, path = fsspec.core.url_to_fs(f"{url}/default/digits/1/claim")
    fs.pipe_file(path, b"", mode="create")
    assert publish(root=url).version == 2
    assert store.versions(url, "default", "digits") == [2]


def test_changed_bytes_are_refused(publish: Publish, url: str) -> None:
    publish(root=url)
    fs, path = fsspec.core.url_to_fs(f"{url}/default/digits/1/model.onnx")
    fs.pipe_file(path, b"other bytes")
    with pytest.raises(store.DigestMismatch):
        store.content(url, "default", "digits", 1, "model.onnx")


def test_a_file_system_without_conditional_put_is_refused(publish: Publish) -> None:
    with pytest.raises(store.StoreError, match="it has no conditional put; use one of s3://"):
        publish(root="https://127.0.0.1/models")


def test_an_unknown_protocol_is_named(publish: Publish) -> None:
    with pytest.raises(store.StoreError, match="cannot open nowhere://x"):
        publish(root="nowhere://x")


def test_missing_credentials_are_an_error_not_an_empty_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(store.StoreError, match=r"cannot list default/digits: .*[Cc]redentials"):
        store.versions("s3://bucket/models", "default", "digits")
