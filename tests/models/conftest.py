"""Fixtures: one real digits run per session, started as a pod starts it; smaller runs execute in this process."""

import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from trainserve.models.progress import Progress

    from .data_servers import HttpsServer

# Must be set before torch is imported: the tests share two cores with other processes.
os.environ["OMP_NUM_THREADS"] = "1"

Config = dict[str, Any]
RunScript = Callable[..., dict[str, Any]]
"""Call with a script's source and sections of the config; returns the termination message."""


def digits_config(root: Path | str, **changes: Any) -> Config:
    """Return the configuration of docs/contracts.md's example, with changes by section: `trainer={"epochs": 1}`."""
    config: Config = {
        "job": {"namespace": "default", "name": "digits", "uid": "uid-1", "attempt": 1},
        "store": {"root": str(root), "publicRoot": "pvc://trainserve-models"},
        "model": {"name": "convnet", "options": {}},
        "dataset": {"name": "digits"},
        "trainer": {"epochs": 5, "batchSize": 64, "optimizer": "adam", "learningRate": 0.001, "seed": 0},
        "export": {"opset": 18, "precision": "fp32", "dynamicBatch": True, "parity": {"rtol": 1e-3, "atol": 1e-5}},
        "gates": {"minAccuracy": 0.95},
        "output": {"model": "digits"},
    }
    for section, fields in changes.items():
        config[section] = {**config.get(section, {}), **fields} if isinstance(fields, dict) else fields
    return config


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Pod:
    """A process of `python -m trainserve.models`, started as in a pod."""

    process: "subprocess.Popen[str]"
    url: str
    termination_log: Path
    answers: list[Any] = field(default_factory=list)

    def get(self, path: str) -> str:
        """Return the body of the running pod's answer; retry until it listens."""
        while True:
            try:
                with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                    return str(answer.read().decode())
            except OSError:
                assert self.process.poll() is None, "the run ended before it answered"
                time.sleep(0.005)

    def wait_for(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Poll /progress until it satisfies `condition`; return it."""
        while not condition(progress := json.loads(self.get("/progress"))):
            time.sleep(0.02)
        return dict(progress)

    def finish(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err

    @property
    def message(self) -> dict[str, Any]:
        return dict(json.loads(self.termination_log.read_text()))


@pytest.fixture(scope="session")
def start_pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Pod]]:
    pods = []

    def start(config: Config | str, **environment: str) -> Pod:
        folder = tmp_path_factory.mktemp("pod")
        path = folder / "config.json"
        path.write_text(config if isinstance(config, str) else json.dumps(config))
        port = free_port()
        process = subprocess.Popen(
            [sys.executable, "-m", "trainserve.models", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "POD_IP": "127.0.0.1",
                "TRAINSERVE_PROGRESS_PORT": str(port),
                "TRAINSERVE_TERMINATION_LOG": str(folder / "termination-log"),
                "TRAINSERVE_OUTPUT": str(folder / "output"),
                **environment,
            },
        )
        pods.append(Pod(process, f"http://127.0.0.1:{port}", folder / "termination-log"))
        return pods[-1]

    yield start
    for pod in pods:
        if pod.process.poll() is None:
            pod.process.kill()
        pod.process.communicate()


@dataclass(frozen=True)
class FinishedRun:
    """What the session's run left, and what it answered over HTTP while it ran."""

    root: Path
    config: Config
    message: dict[str, Any]
    stdout: str
    stderr: str
    first_answer: dict[str, Any]
    torch_was_loaded_then: bool
    while_training: dict[str, Any]
    metrics: str

    @property
    def version(self) -> Path:
        return self.root / "default/digits/1"


@pytest.fixture(scope="session")
def digits_run(start_pod: Callable[..., Pod], tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    root = tmp_path_factory.mktemp("store")
    config = digits_config(root)
    pod = start_pod(config)
    first = json.loads(pod.get("/progress"))
    torch_loaded = "libtorch" in Path(f"/proc/{pod.process.pid}/maps").read_text()
    assert pod.get("/healthz") == "ok\n"
    training = pod.wait_for(lambda progress: progress.get("step", 0) > 1)
    metrics = pod.get("/metrics")
    code, out, err = pod.finish()
    assert code == 0, err
    return FinishedRun(root, config, pod.message, out, err, first, torch_loaded, training, metrics)


@pytest.fixture
def execute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., dict[str, Any]]]:
    """Execute a run in this process; return its termination message or raise its exception."""
    from trainserve.models.config import parse
    from trainserve.models.interrupt import Interrupt
    from trainserve.models.progress import Progress
    from trainserve.models.run import Run
    from trainserve.models.terminal import Terminal

    monkeypatch.setenv("TRAINSERVE_OUTPUT", str(tmp_path / "output"))

    def run(config: Config, progress: "Progress | None" = None) -> dict[str, Any]:
        with Terminal(time.perf_counter()) as terminal:
            return Run(parse(config), progress or Progress(), terminal, Interrupt(), {}).execute().wire()

    yield run
    # A failed run leaves the thread that loads the exporter: a pod ends then, here the next test would meet the thread.
    for thread in threading.enumerate():
        if thread.name == "warm-up":
            thread.join()


@pytest.fixture
def stripes(tmp_path: Path) -> Callable[..., Path]:
    """Write a small .npz, quickly learnt: class c has a bright row c. Arrays can be replaced, or omitted with None."""

    def write(classes: int = 3, shape: tuple[int, ...] = (8, 8), count: int = 60, **arrays: Any) -> Path:
        random = np.random.default_rng(0)
        y = np.arange(count) % classes
        x = random.integers(0, 60, (count, *shape)).astype(np.uint8)
        x[np.arange(count), y] = 255
        content = {"x": x, "y": y, **arrays}
        path = tmp_path / "stripes.npz"
        np.savez(path, **{name: array for name, array in content.items() if array is not None})
        return path

    return write


@pytest.fixture
def write_script(tmp_path: Path) -> Callable[[str], Path]:
    """Write a script to train.py."""

    def script(source: str) -> Path:
        path = tmp_path / "train.py"
        path.write_text(textwrap.dedent(source))
        return path

    return script


@pytest.fixture
def run_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_script: Callable[[str], Path]) -> RunScript:
    """Run a script in this process as a pod would; return its termination message or raise its exception."""
    from trainserve.models.interrupt import Interrupt
    from trainserve.models.progress import Progress
    from trainserve.models.script.config import parse
    from trainserve.models.script.run import ScriptRun
    from trainserve.models.terminal import Terminal

    monkeypatch.setenv("TRAINSERVE_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("TRAINSERVE_CONFIG", "")
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    for variable in ("KERAS_BACKEND", "KERAS_HOME"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)

    def execute(source: str, progress: "Progress | None" = None, **sections: Any) -> dict[str, Any]:
        config = {
            "store": {"root": str(tmp_path / "store")},
            "model": {"script": str(write_script(source))},
            "output": {"model": "mine"},
            **sections,
        }
        config = {name: section for name, section in config.items() if section is not None}
        with Terminal(time.perf_counter()) as terminal:
            script = parse(config, tmp_path)
            return ScriptRun(script, progress or Progress(), terminal, Interrupt(), {}).execute().wire()

    return execute


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of an empty data set cache, for this process and its children."""
    monkeypatch.setenv("TRAINSERVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["HttpsServer"]:
    from .data_servers import HttpsServer

    server = HttpsServer(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


@pytest.fixture
def server(module_server: "HttpsServer", monkeypatch: pytest.MonkeyPatch) -> Iterator["HttpsServer"]:
    """The module's server, reset and trusted by this process and its children."""
    monkeypatch.setenv("SSL_CERT_FILE", str(module_server.authority))
    module_server.files.clear()
    module_server.gets.clear()
    module_server.halfway.clear()
    yield module_server
    module_server.held.set()
    module_server.states, module_server.password, module_server.cut = True, None, False
    module_server.leads_to = None
