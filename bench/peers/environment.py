"""Peers: virtual environments, each built once, and programs that run in them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainserve.serving.devserver.server import free_ports

CACHE = Path("~/.cache/trainserve/bench-peers").expanduser()
START_SECONDS = 60.0


@dataclass(frozen=True)
class Peer:
    """A server to compare with; its program is `<name>_server.py` in this folder, `packages` are its requirements."""

    name: str
    packages: tuple[str, ...]

    def install(self) -> Path:
        """Return the interpreter of an environment with exactly its packages; a partial environment is rebuilt."""
        folder = CACHE / self.name
        stamp = folder / "stamp"
        wanted = "\n".join(self.packages)
        if not stamp.is_file() or stamp.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            print(f"{self.name}: installing {' '.join(self.packages)}", flush=True)
            venv.create(folder, with_pip=True, symlinks=True)
            pip = [str(folder / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
            subprocess.run([*pip, *self.packages], check=True, stderr=subprocess.DEVNULL)
            stamp.write_text(wanted)
        return folder / "bin/python"

    @contextlib.contextmanager
    def serving(self, model: Path, name: str, folder: Path, *options: str) -> Iterator[tuple[str, str]]:
        """Serve `model` as `name`; yield <host>:<port> of its HTTP and its gRPC endpoint. Logs go to `folder`."""
        http, grpc = free_ports(2)
        program = Path(__file__).with_name(f"{self.name}_server.py")
        command = [str(self.install()), str(program), str(model), name, str(http), str(grpc), *options]
        environment = os.environ | {"PYTHONWARNINGS": "ignore"}
        with (folder / f"{self.name}-{name}-{http}.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment)
        try:
            _wait(process, http, Path(log.name))
            yield f"127.0.0.1:{http}", f"127.0.0.1:{grpc}"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise SystemExit(f"{' '.join(map(str, process.args))} did not start: {log.read_text()[-2000:]}")  # type: ignore[arg-type]


ONNXRUNTIME = ("onnxruntime==1.32.0", "numpy==2.4.6")
FASTAPI = Peer("fastapi", ("fastapi==0.165.0", "uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0", *ONNXRUNTIME))
MLSERVER = Peer("mlserver", ("mlserver==1.7.1", *ONNXRUNTIME))
KSERVE = Peer("kserve", ("kserve==0.21.0", *ONNXRUNTIME))
