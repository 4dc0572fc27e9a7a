"""Error messages for an invalid ModelServe: the path as written, the value, what is allowed."""

from typing import Any

import pytest

from tests.operator.manifests import modelserve
from trainserve.operator.specs import InvalidSpec, parse_modelserve

LONE = {"uri": "pvc://models/net.onnx", "digest": f"sha256:{64 * '0'}"}
DIGESTED = {"digest": "sha256:" + 64 * "a"}


def test_a_lone_graph_takes_samples_from_where_graphs_come_from() -> None:
    for uri in ("pvc://models/a/net.npz", "s3://bucket/net.npz", "https://host.example.org/net.npz"):
        model = parse_modelserve(modelserve(model=LONE | {"samples": {"uri": uri}})).model
        assert model.samples is not None
        assert (model.samples.uri, model.samples.digest) == (uri, None)


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (LONE | {"samples": {"uri": "file:///etc/net.npz"}}, r"spec\.model\.samples\.uri"),
        (LONE | {"samples": {"uri": "pvc://models/net.onnx"}}, r"spec\.model\.samples\.uri"),
        (LONE | {"samples": {"uri": "pvc://models/../net.npz"}}, "uri must not contain '..' as a path segment"),
        (LONE | {"samples": {"uri": "pvc://models/net.npz", "digest": "1"}}, r"spec\.model\.samples\.digest"),
        (
            {"name": "digits", "samples": {"uri": "pvc://models/net.npz"}},
            "samples can only be set where uri is a lone .onnx file",
        ),
    ],
)
def test_samples_that_are_none_are_refused(model: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidSpec, match=problem):
        parse_modelserve(modelserve(model=model))


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ({}, "spec.model: exactly one of name, trainJob, uri must be set, but it is {}"),
        (
            {"trainJob": "digits", "version": 2},
            'spec.model: version can only be set together with name, but it is {"trainJob": "digits", "version": 2}',
        ),
        ({"name": "digits", "version": 0}, "spec.model.version: 0 is not allowed; must be >= 1"),
        (
            {"uri": "pvc://models/default/digits/1"},
            'spec.model: uri can only be set together with digest, but it is {"uri": "pvc://models/default/digits/1"}',
        ),
    ],
)
def test_a_bad_model_reference_is_told_what_goes_together(model: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        parse_modelserve(modelserve(model=model))
    assert refused.value.problems == (problem,)


@pytest.mark.parametrize("delay", ["0s", "500us", "1000000us", "999.5ms", "1000ms", "1s", "0.25s", "001.0s"])
def test_a_request_may_wait_for_company_for_up_to_a_second(delay: str) -> None:
    parse_modelserve(modelserve(triton={"dynamicBatching": {"maxQueueDelay": delay}}))


@pytest.mark.parametrize("delay", ["1000001us", "1000.5ms", "1.000000001s", "2s", "1m", "0.1h"])
def test_a_longer_wait_is_refused_with_what_is_allowed(delay: str) -> None:
    with pytest.raises(InvalidSpec, match="maxQueueDelay must be at most 1s"):
        parse_modelserve(modelserve(triton={"dynamicBatching": {"maxQueueDelay": delay}}))


@pytest.mark.parametrize("digest", ["sha256:abc", "md5:" + 64 * "0", 64 * "0"])
def test_a_digest_is_a_whole_sha256(digest: str) -> None:
    with pytest.raises(InvalidSpec, match=r"^spec\.model\.digest: .* must match pattern"):
        parse_modelserve(modelserve(model={"uri": "pvc://models/default/digits/1", "digest": digest}))


@pytest.mark.parametrize(
    "uri",
    [
        "file:///srv/models/default/digits/1",
        "pvc://models/default/digits/12",
        "s3://bucket/some/prefix/default/digits/1",
        "https://models.example.org:8443/store/default/digits/1",
        "https://models.example.org/vision/ResNet_50.v2.onnx",
        "pvc://nets/model.onnx",
    ],
)
def test_a_version_or_a_lone_graph_is_served_from_here(uri: str) -> None:
    assert parse_modelserve(modelserve(model={"uri": uri, **DIGESTED})).model.uri == uri


@pytest.mark.parametrize(
    "uri",
    [
        "http://models.example.org/vision/resnet.onnx",
        "https://user:word@models.example.org/resnet.onnx",
        "https://models.example.org/resnet.onnx?token=word",
        "https://models.example.org/../etc/default/digits/1",
        "file:///srv/resnet.onnx",
        "s3://bucket/default/My Digits/1",
        "s3://bucket/default/-digits/1",
        "s3://bucket/default/digits/0",
        "s3://bucket/resnet.pt",
    ],
)
def test_an_address_that_no_model_is_served_from_is_refused(uri: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        parse_modelserve(modelserve(model={"uri": uri, **DIGESTED}))
    assert "spec.model" in str(refused.value)


def test_a_key_that_is_no_ed25519_key_is_refused() -> None:
    key = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA" + 43 * "A" + "=\n-----END PUBLIC KEY-----\n"
    assert parse_modelserve(modelserve(model={"name": "digits", "publicKey": key})).model.public_key == key
    for wrong in (key.replace("MCowBQYDK2Vw", "MIIBIjANBgkq"), "ssh-ed25519 AAAA", key.replace("PUBLIC", "PRIVATE")):
        with pytest.raises(InvalidSpec, match=r"spec\.model\.publicKey"):
            parse_modelserve(modelserve(model={"name": "digits", "publicKey": wrong}))
