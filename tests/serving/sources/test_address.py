"""The meaning of an address, and which addresses are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainserve.serving.sources.address import parse
from trainserve.store import InvalidAddress


@pytest.mark.parametrize(
    ("text", "place", "kind", "location"),
    [
        ("/models/default/digits/3", "local", "folder", "/models/default/digits/3"),
        ("file:///models/a%20b/resnet.onnx", "local", "graph", "/models/a b/resnet.onnx"),
        ("pvc://claim/a/resnet.onnx", "local", "graph", "/var/lib/trainserve/store/a/resnet.onnx"),
        ("s3://bucket/store/default/digits/3", "object", "folder", "s3://bucket/store/default/digits/3"),
        ("s3://bucket/ready/", "object", "folder", "s3://bucket/ready"),
        ("https://host:8443/a/b.ONNX", "https", "graph", "https://host:8443/a/b.ONNX"),
        ("https://host/ready.tar.gz", "https", "archive", "https://host/ready.tar.gz"),
        ("gs://bucket/ready.zip", "object", "archive", "gs://bucket/ready.zip"),
    ],
)
def test_an_address_says_where_and_what(text: str, place: str, kind: str, location: str) -> None:
    address = parse(text)
    assert (address.place, address.kind, address.location) == (place, kind, location)


def test_a_relative_path_is_one_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("models/x.onnx").location == str(tmp_path / "models/x.onnx")


def test_a_version_is_told_apart_by_its_number() -> None:
    assert parse("s3://bucket/store/default/digits/3").version == ("s3://bucket/store", "default", "digits", 3)
    assert parse("s3://bucket/store/default/digits/latest").version is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is needed"),
        ("ftp://host/model.onnx", "must be a path or begin with pvc://, s3://, gs://, az://, https://"),
        ("http://host/model.onnx", "must be a path or begin with"),
        ("https://host", "it names no model in it"),
        ("https:///model.onnx", "must be https://<host>/<path>"),
        ("https://host/a/../../model.onnx", "'..'"),
        ("https://host/a/%2e%2e/model.onnx", "'..'"),
        ("s3://bucket/a//model.onnx", "empty names are not allowed"),
        ("s3:///model.onnx", "must be s3://<bucket>/<path>"),
        ("pvc://claim/../../etc", "'..'"),
        ("pvc://claim", "it names no model in it"),
        ("pvc://Not_a_claim/x", "must be pvc://<claim>/<path>"),
        ("file://host/model.onnx", "must be file:///<absolute path>"),
        ("/models/a\0b", "is needed"),
        ("https://host/model.onnx?X-Amz-Signature=abc", r"\? and # are not allowed"),
    ],
)
def test_what_is_no_address_is_refused_with_its_reason(text: str, why: str) -> None:
    with pytest.raises(InvalidAddress, match=why):
        parse(text)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidAddress, match="credentials come from the environment") as refused:
        parse("https://user:hunter2@host/model.onnx")
    assert "hunter2" not in str(refused.value)
