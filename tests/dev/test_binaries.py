"""Installation of the control plane's programs: real files, real folders, a real HTTP server."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from trainserve.dev import binaries, fetch
from trainserve.dev.locks import held
from trainserve.dev.progress import SILENT, Progress, Task


def program(path: Path, prints: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{prints}'\n")
    path.chmod(0o755)
    return path


def kubernetes(folder: Path, version: str = "v1.20.2") -> Path:
    for name in binaries.PROGRAMS:
        program(folder / name, f"Kubernetes {version}")
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    kubernetes(tmp_path / "cache" / "kubernetes" / binaries.CACHED)
    program(tmp_path / "cache" / "etcd" / "etcd")
    return tmp_path / "cache"


def test_kubebuilder_assets_come_before_path_and_the_cache(tmp_path: Path, cache: Path) -> None:
    assets, installed = kubernetes(tmp_path / "assets", "v1.33.1"), kubernetes(tmp_path / "bin")
    found = binaries.prepare(cache=cache, environment={"KUBEBUILDER_ASSETS": str(assets), "PATH": str(installed)})
    assert (found.kubernetes, found.version) == (assets, (1, 33))


def test_path_comes_before_the_cache(tmp_path: Path, cache: Path) -> None:
    installed = kubernetes(tmp_path / "bin", "v1.29.0")
    found = binaries.prepare(cache=cache, environment={"PATH": f"/nonexistent:{installed}"})
    assert (found.kubernetes, found.version) == (installed, (1, 29))


def test_assets_with_the_api_server_alone_do_not_mix_versions_with_the_cache(tmp_path: Path, cache: Path) -> None:
    program(tmp_path / "assets" / "kube-apiserver", "Kubernetes v1.33.1")
    etcd = program(tmp_path / "assets" / "etcd")
    found = binaries.prepare(cache=cache, environment={"KUBEBUILDER_ASSETS": str(tmp_path / "assets"), "PATH": ""})
    assert (found.kubernetes, found.version) == (cache / "kubernetes" / binaries.CACHED, (1, 20))
    assert found.etcd == etcd


def test_an_etcd_that_refuses_the_flag_is_started_with_fsync(tmp_path: Path, cache: Path) -> None:
    old = program(tmp_path / "bin" / "etcd")
    old.write_text("#!/bin/sh\nexit 2\n")
    assert not binaries.prepare(cache=cache, environment={"PATH": str(old.parent)}).etcd_skips_fsync
    assert binaries.prepare(cache=cache, environment={"PATH": ""}).etcd_skips_fsync


def test_a_file_that_cannot_be_executed_is_no_program(tmp_path: Path) -> None:
    folder = kubernetes(tmp_path / "bin")
    (folder / "kube-scheduler").chmod(0o644)
    assert binaries.installed_kubernetes([folder]) is None


def test_when_no_source_serves_the_error_says_what_each_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "etcd")
    monkeypatch.setattr(fetch, "RELEASES", "http://127.0.0.1:9/release")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(binaries.BinariesUnavailable, match=r"127\.0\.0\.1:9.*refused.*apt-get.*KUBEBUILDER_ASSETS"):
        binaries.prepare(cache=tmp_path / "cache", environment={"PATH": str(tmp_path / "bin")})


def test_kubectl_of_the_wheel_serves_where_path_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path = program(tmp_path / "kubectl")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert binaries.kubectl() == on_path
    monkeypatch.setenv("PATH", "")
    assert binaries.kubectl().parent.joinpath("python").exists()


class Releases:
    """A release server on loopback, laid out like dl.k8s.io."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def publish(self, name: str, content: bytes, sha256: str = "") -> None:
        path = self.folder / "v1.20.2/bin/linux/amd64" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.with_name(f"{name}.sha256").write_text(sha256 or hashlib.sha256(content).hexdigest())


@pytest.fixture
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Releases]:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    served = Releases(tmp_path / "releases")
    thread = threading.Thread(target=served.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        monkeypatch.setattr(fetch, "RELEASES", served.url)
        yield served
    finally:
        served.server.shutdown()
        served.server.server_close()
        thread.join()


def test_a_download_with_the_published_checksum_is_kept_and_can_be_executed(tmp_path: Path, releases: Releases) -> None:
    for name in binaries.PROGRAMS:
        releases.publish(name, b"#!/bin/sh\necho 'Kubernetes v1.20.2'\n")
    program(tmp_path / "bin" / "etcd")
    found = binaries.prepare(cache=tmp_path / "cache", environment={"PATH": str(tmp_path / "bin")})
    assert found.kubernetes == tmp_path / "cache" / "kubernetes" / binaries.CACHED
    assert found.version == (1, 20)


def test_a_download_with_another_checksum_is_refused_and_leaves_nothing(tmp_path: Path, releases: Releases) -> None:
    releases.publish("kube-apiserver", b"not what was published", sha256="0" * 64)
    with pytest.raises(fetch.FetchError, match=f"{hashlib.sha256(b'not what was published').hexdigest()}.*{'0' * 64}"):
        fetch.download_kubernetes(tmp_path / "target", "v1.20.2", ["kube-apiserver"], task(), 0)
    assert list((tmp_path / "target").iterdir()) == []


def test_a_download_that_is_missing_is_refused_by_its_address(tmp_path: Path, releases: Releases) -> None:
    with pytest.raises(fetch.FetchError, match=r"v1\.20\.2/bin/linux/amd64/kube-apiserver: .*404"):
        fetch.download_kubernetes(tmp_path / "target", "v1.20.2", ["kube-apiserver"], task(), 0)


def test_a_second_prepare_waits_for_the_first_and_uses_what_it_brought(tmp_path: Path, cache: Path) -> None:
    waiting, done = threading.Event(), threading.Event()
    found: list[binaries.Binaries] = []

    class Watched:
        def update(self, detail: str, completed: float | None = None, total: float | None = None) -> None:
            if detail.startswith("waiting for another"):
                waiting.set()

    def second() -> None:
        found.append(binaries.prepare(watched(Watched()), cache=cache, environment={"PATH": ""}))
        done.set()

    etcd = (cache / "etcd" / "etcd").rename(cache / "etcd.aside")
    thread = threading.Thread(target=second)
    with held(cache / "prepare.lock"):
        thread.start()
        assert waiting.wait(30)
        assert not done.is_set()
        etcd.rename(cache / "etcd" / "etcd")
    thread.join(30)
    assert found[0].etcd == cache / "etcd" / "etcd"


def test_a_build_shows_its_newest_step_and_how_much_is_compiled(tmp_path: Path) -> None:
    shown: list[tuple[str, float | None]] = []

    class Shown:
        def update(self, detail: str, completed: float | None = None, total: float | None = None) -> None:
            shown.append((detail, completed))

    log = tmp_path / "build.log"
    log.write_text("step 4/6: laying the tree out\nstep 5/6: compiling\n+++ building go targets\n")
    compiled = tmp_path / "gocache"
    for name in ("0a/0a11-a", "0a/0a22-a", "0a/0a22-d", "ff/ff33-a"):
        (compiled / name).parent.mkdir(parents=True, exist_ok=True)
        (compiled / name).touch()
    fetch.show_build(log, compiled, Shown())
    assert shown == [("building Kubernetes, step 5/6: compiling", 3)]


def test_a_command_that_fails_is_reported_with_its_last_line_and_its_log(tmp_path: Path) -> None:
    failing = tmp_path / "build"
    failing.write_text("#!/bin/sh\necho step\necho 'E: no space left on device' >&2\nexit 7\n")
    failing.chmod(0o755)
    with pytest.raises(fetch.FetchError, match=r"build ended with status 7: E: no space left on device \(see .*log\)"):
        fetch.run_logged([str(failing)], tmp_path / "log")


def task() -> Task:
    with SILENT.task("test") as silent:
        return silent


def watched(shown: Task) -> Progress:
    from contextlib import contextmanager

    class Watching:
        @contextmanager
        def task(self, name: str) -> Iterator[Task]:
            yield shown

        def note(self, text: str) -> None:
            pass

    return Watching()
