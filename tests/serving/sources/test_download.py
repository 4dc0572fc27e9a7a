"""Downloads that resume where they stopped, and trust only the sha256."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.serving.sources.places import RangeServer
from trainserve.serving.sources import download
from trainserve.serving.sources.https_origin import HttpsOrigin
from trainserve.serving.sources.origins import ObjectOrigin
from trainserve.store import DigestMismatch, StoreError

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def origin(server: RangeServer) -> HttpsOrigin:
    server.files["big"] = CONTENT
    return HttpsOrigin(server.uri("").rstrip("/"))


def copy(origin: Any, target: Path, pauses: list[float], **options: Any) -> str:
    return download.copy(origin, "big", target, pause=pauses.append, **options)


def test_a_cut_connection_is_gone_on_with(
    server: RangeServer, origin: HttpsOrigin, tmp_path: Path, pauses: list[float]
) -> None:
    server.cuts = [400_000, 300_000]
    assert copy(origin, tmp_path / "big", pauses) == SHA256
    assert (tmp_path / "big").read_bytes() == CONTENT
    assert server.ranges == ["", "bytes=400000-", "bytes=700000-"]
    assert [path.name for path in tmp_path.glob("*big*")] == ["big"]


def test_a_file_that_changed_meanwhile_is_begun_anew(
    server: RangeServer, origin: HttpsOrigin, tmp_path: Path, pauses: list[float]
) -> None:
    server.cuts, server.statuses = [400_000], [0, 404]
    with pytest.raises(FileNotFoundError):
        copy(origin, tmp_path / "big", pauses)
    assert (tmp_path / "big").stat().st_size == 400_000
    server.files["big"] = CONTENT[::-1]
    copy(origin, tmp_path / "big", pauses)
    assert (tmp_path / "big").read_bytes() == CONTENT[::-1]


def test_without_an_etag_a_part_is_kept_only_where_the_sha256_will_tell(
    server: RangeServer, origin: HttpsOrigin, tmp_path: Path, pauses: list[float]
) -> None:
    server.states = False
    server.cuts = [400_000]
    assert copy(origin, tmp_path / "big", pauses, sha256=SHA256) == SHA256
    assert server.ranges == ["", "bytes=400000-"]
    server.cuts = [400_000]
    assert copy(origin, tmp_path / "other", pauses) == SHA256
    assert server.ranges[2:] == ["", ""]


def test_a_part_of_something_else_is_thrown_away(
    server: RangeServer, origin: HttpsOrigin, tmp_path: Path, pauses: list[float]
) -> None:
    (tmp_path / "big").write_bytes(b"x" * 1000)
    assert copy(origin, tmp_path / "big", pauses, sha256=SHA256) == SHA256


def test_what_is_already_whole_is_not_asked_for(
    server: RangeServer, origin: HttpsOrigin, tmp_path: Path, pauses: list[float]
) -> None:
    (tmp_path / "big").write_bytes(CONTENT)
    copy(origin, tmp_path / "big", pauses, sha256=SHA256)
    assert server.gets == []


def test_a_busy_server_is_asked_again_after_longer_and_longer_pauses(
    server: RangeServer, origin: HttpsOrigin, tmp_path: Path, pauses: list[float]
) -> None:
    server.statuses = [503, 429, 502]
    assert copy(origin, tmp_path / "big", pauses) == SHA256
    assert [0.1 * 2**turn <= pause <= 0.2 * 2**turn for turn, pause in enumerate(pauses)] == [True] * 3


def test_a_server_that_stays_away_is_given_up_and_named(tmp_path: Path, pauses: list[float]) -> None:
    with pytest.raises(StoreError, match=r"cannot read https://127\.0\.0\.1:9/big: .*refused; tried 6 times"):
        copy(HttpsOrigin("https://127.0.0.1:9"), tmp_path / "big", pauses)
    assert len(pauses) == 5


@pytest.mark.parametrize("status", [401, 403, 501])
def test_a_refusal_is_told_at_once(
    server: RangeServer, origin: HttpsOrigin, tmp_path: Path, pauses: list[float], status: int
) -> None:
    server.statuses = [status]
    with pytest.raises(StoreError, match=f"cannot read .*/big: HTTP {status}"):
        copy(origin, tmp_path / "big", pauses)
    assert pauses == []


def test_other_bytes_are_refused_and_nothing_of_them_is_left(
    origin: HttpsOrigin, tmp_path: Path, pauses: list[float]
) -> None:
    with pytest.raises(DigestMismatch, match=f"expected sha256:{'0' * 64}, found sha256:{SHA256}"):
        copy(origin, tmp_path / "big", pauses, sha256="0" * 64)
    assert not (tmp_path / "big").exists()


def test_more_than_was_announced_is_not_written_to_the_disk(
    origin: HttpsOrigin, tmp_path: Path, pauses: list[float]
) -> None:
    with pytest.raises(StoreError, match="more than the 1000 bytes"):
        copy(origin, tmp_path / "big", pauses, sha256="0" * 64, size=1000)


def test_a_server_of_an_unknown_authority_is_refused(
    origin: HttpsOrigin, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(StoreError, match="unable to get local issuer certificate"):
        copy(origin, tmp_path / "big", pauses)


def test_a_login_comes_from_the_netrc_and_goes_to_its_host_alone(
    server: RangeServer, origin: HttpsOrigin, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.password = "hunter2"
    with pytest.raises(StoreError, match="HTTP 401"):
        copy(origin, tmp_path / "big", pauses)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password hunter2")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert copy(origin, tmp_path / "big", pauses) == SHA256
    (tmp_path / "netrc").write_text("machine elsewhere login user password hunter2")
    with pytest.raises(StoreError, match="HTTP 401"):
        copy(origin, tmp_path / "other", pauses)


def test_a_redirect_to_plain_http_is_refused(
    server: RangeServer, origin: HttpsOrigin, tmp_path: Path, pauses: list[float]
) -> None:
    server.leads_to = "http://127.0.0.1:9/big"
    with pytest.raises(StoreError, match=r"leads to http://127\.0\.0\.1:9/big, which anybody could change"):
        copy(origin, tmp_path / "big", pauses)


def test_a_part_from_an_object_store_is_gone_on_with(s3: Any, tmp_path: Path, pauses: list[float]) -> None:
    s3.put_object(Bucket="models", Key="files/big", Body=CONTENT)
    origin = ObjectOrigin("s3://models/files")
    (tmp_path / "big").write_bytes(CONTENT[:300_000])
    (tmp_path / ".big.state").write_text(origin.stat("big").state or "")
    asked: list[int] = []
    assert copy(origin, tmp_path / "big", pauses, moved=lambda done, total: asked.append(done)) == SHA256
    assert asked == [len(CONTENT)], "only the rest was copied, in one range"
    s3.put_object(Bucket="models", Key="files/big", Body=CONTENT[::-1])
    (tmp_path / "big").write_bytes(CONTENT[:300_000])
    (tmp_path / ".big.state").write_text("another")
    copy(origin, tmp_path / "big", pauses)
    assert (tmp_path / "big").read_bytes() == CONTENT[::-1]


def test_a_large_object_is_read_in_several_ranges(
    s3: Any, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainserve.serving.sources.origins._RANGE", 100_000)
    s3.put_object(Bucket="models", Key="large/big", Body=CONTENT)
    asked: list[int] = []
    copied = copy(
        ObjectOrigin("s3://models/large"), tmp_path / "big", pauses, moved=lambda done, total: asked.append(done)
    )
    assert (copied, len(asked)) == (SHA256, 11)


def test_an_object_that_is_replaced_while_it_is_read_is_begun_anew(
    s3: Any, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainserve.serving.sources.origins._RANGE", 100_000)
    s3.put_object(Bucket="models", Key="changing/big", Body=CONTENT)

    def replace(done: int, total: int | None) -> None:
        if done == 100_000 and not pauses:
            s3.put_object(Bucket="models", Key="changing/big", Body=CONTENT[::-1])

    copy(ObjectOrigin("s3://models/changing"), tmp_path / "big", pauses, moved=replace)
    assert (tmp_path / "big").read_bytes() == CONTENT[::-1]
    assert len(pauses) == 1


def test_an_object_store_without_credentials_is_told_at_once(
    s3: Any, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreError, match=r"cannot read s3://models/graphs/big: .*[Cc]redentials"):
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        copy(ObjectOrigin("s3://models/graphs"), tmp_path / "big", pauses)
    s3fs.S3FileSystem.clear_instance_cache()
    assert pauses == []
