"""Fetching from S3, HTTPS and files into the cache, completely or not at all."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainserve.models.data import digests
from trainserve.models.errors import DataError, UserError

from .data_files import encoded, folder, kept, load, npz, parquet, picture, sha256
from .data_servers import HttpsServer

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of a real S3-compatible server, with a bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hunter2", "AWS_DEFAULT_REGION": "us-east-1"}
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    patch = pytest.MonkeyPatch()
    for name, value in {**keys, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
        patch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="data")
    yield client
    patch.undo()
    server.stop()


# Sources.


def test_https_is_fetched_once_and_read_from_the_cache_after_that(server: HttpsServer, cache: Path) -> None:
    content = server.files["pets.npz"] = npz()
    dataset = load(uri=server.uri("pets.npz"))
    assert (dataset.name, len(dataset.train_images)) == ("pets", 48)
    again = load(uri=server.uri("pets.npz"))
    assert np.array_equal(again.train_images, dataset.train_images)
    assert server.gets == ["/pets.npz"]
    assert kept(cache) == [f"files-{sha256(content)[7:]}"]


def test_what_changes_at_its_place_is_fetched_again(server: HttpsServer) -> None:
    server.files["pets.npz"] = npz()
    first = load(uri=server.uri("pets.npz"))
    server.files["pets.npz"] = npz(seed=1)
    assert not np.array_equal(load(uri=server.uri("pets.npz")).train_images, first.train_images)
    assert len(server.gets) == 2


def test_a_server_that_does_not_say_whether_files_change_is_asked_each_time(server: HttpsServer) -> None:
    server.states = False
    server.files["pets.npz"] = npz()
    for _ in range(2):
        load(uri=server.uri("pets.npz"))
    assert len(server.gets) == 2


def test_with_a_digest_nothing_is_asked_once_it_is_there(server: HttpsServer) -> None:
    content = server.files["pets.npz"] = npz()
    load(uri=server.uri("pets.npz?download=true"), digest=sha256(content))
    server.files.clear()
    assert load(uri=server.uri("pets.npz?download=true"), digest=sha256(content)).name == "pets"


def test_the_netrc_of_the_environment_opens_what_is_guarded(
    server: HttpsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["pets.npz"], server.password = npz(), "hunter2"
    with pytest.raises(DataError, match=rf"^{server.uri('pets.npz')}: cannot be read: .*401"):
        load(uri=server.uri("pets.npz"))
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert load(uri=server.uri("pets.npz")).name == "pets"


def test_a_server_that_nobody_vouches_for_is_refused(server: HttpsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["pets.npz"] = npz()
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(DataError, match=r"cannot be read: .*certificate verify failed"):
        load(uri=server.uri("pets.npz"))


def test_a_server_that_is_not_there_is_named_with_the_cause_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        uri = f"https://127.0.0.1:{taken.getsockname()[1]}/pets.npz"
    with pytest.raises(DataError) as failed:
        load(uri=uri)
    assert str(failed.value).startswith(f"{uri}: cannot be read: [Errno 111] Connect call failed")
    assert "object at" not in str(failed.value)


def test_https_that_leads_to_http_is_refused(server: HttpsServer, s3: Any) -> None:
    s3.put_object(Bucket="data", Key="open.npz", Body=npz(), ACL="public-read")
    server.leads_to = f"{s3.meta.endpoint_url}/data/open.npz"
    with pytest.raises(
        DataError, match=rf"^{server.uri('x.npz')}: cannot be read: it redirects to {server.leads_to}; must stay"
    ):
        load(uri=server.uri("x.npz"))


def test_what_is_not_there_is_named(server: HttpsServer, s3: Any, tmp_path: Path) -> None:
    for uri in (server.uri("no.npz"), "s3://data/no.npz", "s3://nobucket/no.npz", f"file://{tmp_path}/no.npz"):
        with pytest.raises(DataError, match=rf"^{uri}: cannot be read: "):
            load(uri=uri)


def test_a_file_is_fetched_from_s3(s3: Any) -> None:
    content = parquet_bytes()
    s3.put_object(Bucket="data", Key="sets/pets.parquet", Body=content)
    dataset = load(uri="s3://data/sets/pets.parquet", digest=sha256(content))
    assert (dataset.shape, len(dataset.train_images)) == ((8, 8, 1), 32)


def test_a_file_of_many_parts_is_fetched_from_s3(s3: Any) -> None:
    content = npz(150_000)
    s3.put_object(Bucket="data", Key="sets/many.npz", Body=content)
    assert len(load(uri="s3://data/sets/many.npz", digest=sha256(content)).train_images) == 120_000


def parquet_bytes() -> bytes:
    images = [encoded(picture(number, number % 2)) for number in range(40)]
    path = Path(os.environ["TRAINSERVE_CACHE"]).parent / "pets.parquet"
    return parquet(path, images, [number % 2 for number in range(40)]).read_bytes()


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_folder_is_fetched_from_s3_file_by_file(s3: Any, tmp_path: Path, cache: Path, slash: str) -> None:
    root = folder(tmp_path / "pets", ("train", "val"), count=3)
    for file in digests.files(root):
        s3.upload_file(str(file), "data", f"pets/{file.relative_to(root)}")
    s3.put_object(Bucket="data", Key="pets/", Body=b"")  # the placeholder object that S3 consoles create for a folder
    dataset = load(uri=f"s3://data/pets{slash}", digest=digests.of(root))
    assert (dataset.labels, len(dataset.train_images), len(dataset.test_images)) == (["cat", "dog"], 6, 6)
    assert np.array_equal(dataset.train_images, load(path=str(root)).train_images)


def test_a_folders_digest_is_what_a_shell_computes(tmp_path: Path) -> None:
    root = folder(tmp_path / "pets", count=2)
    command = r"find * -type f | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum"
    done = subprocess.run(["sh", "-c", command], cwd=root, capture_output=True, text=True, check=True)
    assert digests.of(root) == f"sha256:{done.stdout.split()[0]}"


def test_without_credentials_s3_is_refused_by_name(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(DataError, match=r"^s3://data/pets\.npz: cannot be read: .*credentials"):
        load(uri="s3://data/pets.npz")


def test_a_file_uri_is_copied_and_outlives_its_place(tmp_path: Path) -> None:
    (tmp_path / "pets.npz").write_bytes(npz())
    uri, digest = f"file://{tmp_path}/pets.npz", sha256(npz())
    load(uri=uri, digest=digest)
    (tmp_path / "pets.npz").unlink()
    assert load(uri=uri, digest=digest).name == "pets"


# Failed fetches leave nothing in the cache.


def test_a_wrong_digest_names_both_and_nothing_is_kept(server: HttpsServer, cache: Path) -> None:
    content = server.files["pets.npz"] = npz()
    wrong = "sha256:" + "0" * 64
    with pytest.raises(DataError) as error:
        load(uri=server.uri("pets.npz"), digest=wrong)
    assert str(error.value) == f"{server.uri('pets.npz')}: expected {wrong}, found {sha256(content)}"
    assert kept(cache) == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_path_with_a_wrong_digest_is_refused(tmp_path: Path, kind: str) -> None:
    path = folder(tmp_path / "pets")
    if kind == "file":
        path = tmp_path / "pets.npz"
        path.write_bytes(npz())
    assert load(path=str(path), digest=digests.of(path)).name == "pets"
    wrong = "sha256:" + "0" * 64
    with pytest.raises(DataError, match=f"^{path}: expected {wrong}, found {digests.of(path)}$"):
        load(path=str(path), digest=wrong)


def test_a_body_that_ends_early_is_refused_and_nothing_is_kept(server: HttpsServer, cache: Path) -> None:
    server.files["pets.npz"], server.cut = npz(), True
    with pytest.raises(DataError, match=rf"^{server.uri('pets.npz')}: (cannot be read: .*|truncated: )"):
        load(uri=server.uri("pets.npz"))
    assert kept(cache) == []


def test_a_bad_file_is_named_as_the_user_knows_it(server: HttpsServer) -> None:
    server.files["pets.npz"] = npz()[:-50]
    with pytest.raises(DataError, match=rf"^{server.uri('pets.npz')}: truncated, or not an .npz file"):
        load(uri=server.uri("pets.npz"))


def test_what_cannot_be_read_anyway_is_not_fetched(server: HttpsServer) -> None:
    server.files["pets.csv"] = server.files["pets.zip"] = b"1,2,3"
    with pytest.raises(DataError, match=r"pets\.csv: unknown format; must be a folder or end in \.npz"):
        load(uri=server.uri("pets.csv"))
    with pytest.raises(UserError, match=r"^dataset\.task: 'regression' is not allowed"):
        load(uri=server.uri("pets.zip"), task="regression")
    assert server.gets == []


def test_a_key_of_s3_cannot_leave_its_folder(s3: Any, cache: Path) -> None:
    s3.put_object(Bucket="data", Key="evil/train/../../../escaped", Body=b"x")
    with pytest.raises(DataError, match=r"^s3://data/evil/: 'train/\.\./\.\./\.\./escaped' is not allowed"):
        load(uri="s3://data/evil/")
    assert kept(cache) == []
