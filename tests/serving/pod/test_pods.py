"""`python -m trainserve.serving fetch|resolve`, as the pods run them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.serving.pod.commands import run
from trainserve import store
from trainserve.api import messages
from trainserve.store import Published

SETTINGS = json.dumps({"instances": 2, "dynamicBatching": {"maxBatch": 16, "maxQueueDelay": "50us"}})


def fetching(root: Path, into: Path, digest: str, path: str = "default/digits/1") -> list[str | Path]:
    return [
        *("fetch", "--store", root, "--path", path, "--digest", digest, "--into", into),
        *("--model-name", "digits", "--settings", SETTINGS),
    ]


def test_fetch_leaves_a_verified_version_and_a_repository(root: Path, published: Published, tmp_path: Path) -> None:
    log = tmp_path / "termination"
    status, outcome, _ = run(
        *fetching(root, tmp_path / "run", published.digest), TRAINSERVE_TERMINATION_LOG=str(log), PATH=""
    )
    assert (status, outcome) == (0, messages.Fetched(version=1, digest=published.digest).wire())
    assert json.loads(log.read_text()) == outcome
    assert {path.name for path in (tmp_path / "run/version").iterdir()} == {
        "manifest.json",
        "model.onnx",
        "samples.npz",
    }
    text = (tmp_path / "run/repository/digits/config.pbtxt").read_text()
    assert "max_batch_size: 16" in text
    assert "count: 2" in text
    assert "max_queue_delay_microseconds: 50" in text
    model = tmp_path / "run/repository/digits/1/model.onnx"
    assert model.read_bytes() == (root / "default/digits/1/model.onnx").read_bytes()


@pytest.mark.parametrize(("environment", "kind"), [({}, "KIND_GPU"), ({"TRAINSERVE_SIMULATED_GPUS": "1"}, "KIND_CPU")])
def test_gpus_become_gpu_instances_unless_they_are_simulated(
    root: Path, published: Published, tmp_path: Path, environment: dict[str, str], kind: str
) -> None:
    run(*fetching(root, tmp_path / "run", published.digest), "--gpus", "1", PATH="", **environment)
    assert f"kind: {kind}" in (tmp_path / "run/repository/digits/config.pbtxt").read_text()


def test_fetch_twice_leaves_the_same(root: Path, published: Published, tmp_path: Path) -> None:
    for _ in range(2):
        assert run(*fetching(root, tmp_path / "run", published.digest))[0] == 0
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["batching.json", "repository", "version"]


def test_fetch_refuses_another_digest_naming_both(root: Path, published: Published, tmp_path: Path) -> None:
    wanted = "sha256:" + "0" * 64
    status, outcome, _ = run(*fetching(root, tmp_path / "run", wanted))
    assert (status, outcome["outcome"], outcome["reason"]) == (1, "Failed", "DigestMismatch")
    assert wanted in outcome["message"]
    assert published.digest in outcome["message"]
    assert not (tmp_path / "run/repository").exists()


def test_fetch_refuses_changed_bytes_naming_both_digests(root: Path, published: Published, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "store")
    model = tmp_path / "store/default/digits/1/model.onnx"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.chmod(0o644)
    model.write_bytes(content)
    status, outcome, _ = run(*fetching(tmp_path / "store", tmp_path / "run", published.digest))
    assert (status, outcome["reason"]) == (1, "DigestMismatch")
    assert published.manifest.files["model.onnx"].sha256 in outcome["message"]
    assert outcome["message"].count("sha256:") == 2
    assert not (tmp_path / "run/repository").exists()


@pytest.mark.parametrize(
    ("settings", "gpus", "words"),
    [
        ({"tensorRT": {}}, "0", "settings.tensorRT: needs a GPU"),
        ({"overrides": {"max_batch": 3}}, "1", 'has no field named "max_batch"'),
    ],
)
def test_fetch_fails_by_name_on_settings_that_this_model_or_pod_cannot_follow(
    root: Path, published: Published, tmp_path: Path, settings: dict[str, Any], gpus: str, words: str
) -> None:
    arguments = ["--settings", json.dumps(settings), "--gpus", gpus]  # the last occurrence of an option counts
    status, outcome, _ = run(*fetching(root, tmp_path / "run", published.digest), *arguments)
    assert (status, outcome["reason"]) == (1, "InvalidSettings")
    assert words in outcome["message"]
    assert not (tmp_path / "run/repository").exists()


def test_fetch_refuses_settings_that_nobody_knows(root: Path, published: Published, tmp_path: Path) -> None:
    status, _, errors = run(*fetching(root, tmp_path / "run", published.digest), "--settings", '{"instance": 2}')
    assert status == 2
    assert "settings.instance: unknown field; did you mean 'instances'?" in " ".join(errors.split())


def test_fetch_says_which_versions_there_are(root: Path, published: Published, tmp_path: Path) -> None:
    status, outcome, _ = run(*fetching(root, tmp_path / "run", published.digest, "default/digits/7"))
    assert (status, outcome["reason"]) == (1, "VersionNotFound")
    assert outcome["message"] == "model digits: version 7 does not exist; published: 1, 2"


@pytest.mark.parametrize("path", ["default/digits", "default/digits/latest", "a/b/c/1"])
def test_fetch_refuses_a_path_that_is_no_version(root: Path, published: Published, tmp_path: Path, path: str) -> None:
    status, _, errors = run(*fetching(root, tmp_path / "run", published.digest, path))
    assert status == 2
    assert "is not <namespace>/<model>/<version>" in errors


def resolving(root: Path, *more: str) -> tuple[int, dict[str, Any], str]:
    return run("resolve", "--store", root, "--public-root", "pvc://models", "--namespace", "default", *more)


def test_resolve_finds_the_newest_and_gives_its_public_address(root: Path) -> None:
    newest = store.resolve(root, "default", "digits")
    status, outcome, _ = resolving(root, "--model", "digits")
    assert (status, outcome) == (
        0,
        messages.Resolved(uri="pvc://models/default/digits/2", version=2, digest=newest.digest).wire(),
    )


def test_resolve_finds_the_version_named(root: Path, published: Published) -> None:
    _, outcome, _ = resolving(root, "--model", "digits", "--version", "1")
    assert (outcome["version"], outcome["digest"]) == (1, published.digest)


@pytest.mark.parametrize(
    ("arguments", "reason", "words"),
    [
        (["--model", "digits", "--version", "7"], "VersionNotFound", "published: 1, 2"),
        (["--model", "letters"], "ModelNotFound", "models there: digits"),
        (["--model", "../digits"], "StoreError", "not allowed"),
    ],
)
def test_resolve_says_what_there_is_instead(root: Path, arguments: list[str], reason: str, words: str) -> None:
    status, outcome, _ = resolving(root, *arguments)
    assert (status, outcome["outcome"], outcome["reason"]) == (1, "Failed", reason)
    assert words in outcome["message"]
