"""`dataset`: a field that is out of range, of the wrong type or unknown is refused in one line."""

from typing import Any

import pytest

from trainserve.models.config import parse
from trainserve.models.errors import UserError

DIGITS: dict[str, Any] = {"name": "digits"}
FILE: dict[str, Any] = {"path": "/x.npz"}
BAD = [
    ({"name": "digit"}, "dataset.name: 'digit' is unknown; did you mean 'digits'? known: digits, fashion-mnist, synth"),
    ({"name": "imagenet"}, "dataset.name: 'imagenet' is unknown; "),
    ({"name": "fashion_mnist"}, "dataset.name: 'fashion_mnist' is unknown; did you mean 'fashion-mnist'? known: "),
    ({"name": 3}, "dataset.name: 3 is not allowed; must be a valid string"),
    ({}, "dataset: exactly one of name, path and uri is required"),
    (DIGITS | FILE, "dataset: exactly one of name, path and uri is required"),
    ({"uri": ""}, "dataset.uri: '' is not allowed; must begin with s3://, https:// or file://"),
    (DIGITS | {"uri": "s3://b/x.npz"}, "dataset: exactly one of name, path and uri is required"),
    (FILE | {"digest": "sha256:12"}, 'dataset.digest: "sha256:12" is not allowed; '),
    (FILE | {"digest": "md5:" + "0" * 32}, 'dataset.digest: "md5:000'),
    (DIGITS | {"digest": "sha256:" + "0" * 64}, "dataset.digest: 'sha256:000"),
    ({"uri": "ftp://host/x.npz"}, "dataset.uri: 'ftp://host/x.npz' is not allowed; must begin with s3://, https:// or"),
    ({"uri": "http://host/x.npz"}, "dataset.uri: 'http://host/x.npz' is not allowed; must begin with s3://, https:// "),
    ({"uri": "/data/x.npz"}, "dataset.uri: '/data/x.npz' is not allowed; must begin with s3://, https:// or file://"),
    ({"uri": "https://host/pets/"}, "dataset.uri: 'https://host/pets/' is not allowed; https:// has no folders"),
    ({"uri": "pvc://claim/x.npz"}, "dataset.uri: 'pvc://claim/x.npz' is read where it is mounted; path must say where"),
    ({"path": ""}, 'dataset.path: "" is not allowed; '),
    (DIGITS | {"split": {"test": 0}}, "dataset.split.test: 0 is not allowed; must be > 0"),
    (DIGITS | {"split": {"test": 1}}, "dataset.split.test: 1 is not allowed; must be < 1"),
    (DIGITS | {"split": {"valid": 0.1}}, "dataset.split.valid: unknown field; allowed: test"),
    (DIGITS | {"format": "npz"}, "dataset.format: 'npz' is not allowed; digits is built in and has none"),
    (DIGITS | {"options": {"classes": 3}}, "dataset.options: classes is not allowed; digits takes none"),
    (DIGITS | {"task": "regression"}, "dataset.task: 'regression' is not allowed; digits has classes: classification"),
    (
        DIGITS | {"task": "ranking"},
        "dataset.task: \"ranking\" is not allowed; must be 'classification' or 'regression'",
    ),
    (FILE | {"format": "csv"}, "dataset.format: \"csv\" is not allowed; must be 'npz', 'images' or 'parquet'"),
    (DIGITS | {"size": 32}, "dataset.size: 32 is not allowed; must be [height, width] in pixels"),
    (DIGITS | {"size": [32]}, "dataset.size: [32] is not allowed; must be [height, width] in pixels"),
    (DIGITS | {"size": [32, 0]}, "dataset.size[1]: 0 is not allowed; must be >= 1"),
    (DIGITS | {"size": [9000, 1]}, "dataset.size[0]: 9000 is not allowed; must be <= 4096"),
    (DIGITS | {"size": [32.5, 1]}, "dataset.size[0]: 32.5 is not allowed; must be a valid integer"),
    (FILE | {"mode": "gray"}, "dataset.mode: \"gray\" is not allowed; must be 'rgb', 'grey' or 'auto'"),
    (FILE | {"options": []}, "dataset.options: [] is not allowed; must be a valid dictionary"),
    (FILE | {"labels": 3}, "dataset.labels: unknown field; allowed: digest, format, mode, "),
]


@pytest.mark.parametrize(("dataset", "text"), BAD, ids=[str(dataset)[:50] for dataset, _ in BAD])
def test_a_bad_field_is_refused_by_name_with_value_and_what_is_allowed(dataset: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as error:
        parse({"model": {"name": "convnet"}, "dataset": dataset})
    assert str(error.value).startswith(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "uri",
    [
        "https://user:hunter2@host/x.npz",
        "https://hunter2@host/x.npz",
        "s3://key:hunter2@bucket/x.npz",
        "https://host/x.npz?X-Amz-Signature=hunter2",
        "https://host/x.npz?sv=1&sig=hunter2",
        "https://host/x.npz?access_token=hunter2",
    ],
)
@pytest.mark.parametrize("path", [None, "/data/x.npz"])
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri: str, path: str | None) -> None:
    with pytest.raises(UserError, match=r"^dataset\.uri: .* is not allowed in it; credentials come from the") as error:
        parse({"model": {"name": "convnet"}, "dataset": {"uri": uri, "path": path}})
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "dataset",
    [
        {"uri": "s3://bucket/folder/"},
        {"uri": "https://host/x.npz?download=true", "digest": "sha256:" + "0" * 64},
        {"uri": "file:///data/x.parquet"},
        {"path": "/data/x.npz", "uri": "pvc://claim/x.npz"},
    ],
)
def test_what_a_data_set_may_be(dataset: dict[str, Any]) -> None:
    assert parse({"model": {"name": "convnet"}, "dataset": dataset}).dataset.uri == dataset["uri"]
