"""Which other versions a server's answers are compared with, wherever the store is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from trainserve import store
from trainserve.serving.sources import address
from trainserve.serving.verification import other_versions


def names(where: str) -> list[str]:
    return [each.name for each in other_versions.others(address.parse(where), 8)]


def test_the_other_versions_of_a_store_are_known_by_digest_and_samples(root: Path) -> None:
    (other,) = other_versions.others(address.parse(str(root / "default/digits/1")), 8)
    assert (other.name, other.digest) == ("version 2", store.resolve(root, "default", "digits", 2).digest)
    assert len(other.recorded) == 8


def test_versions_of_a_bucket_are_found_too(s3: Any, root: Path) -> None:
    for file in (root / "default/digits/2").iterdir():
        s3.upload_file(str(file), "models", f"known/default/digits/2/{file.name}")
    assert names("s3://models/known/default/digits/1") == ["version 2"]


def test_a_version_whose_samples_are_damaged_is_passed_over(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "store")
    samples = tmp_path / "store/default/digits/2/samples.npz"
    samples.chmod(0o644)
    samples.write_bytes(samples.read_bytes()[:-1])
    assert names(str(tmp_path / "store/default/digits/1")) == []


def test_what_is_no_version_of_a_store_has_no_others(graph: Path, tmp_path: Path) -> None:
    assert names(str(graph)) == []
    assert names(str(tmp_path / "nothing/here/1")) == []
    assert names("https://models.example/default/digits/1") == []
