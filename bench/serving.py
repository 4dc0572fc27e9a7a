"""How fast requests are answered: Triton with our backend, beside a no-op model through the same server (its ceiling),
FastAPI + onnxruntime, and a plain onnxruntime loop (the limit).

One image of 784 bytes per request, the convnet, onnxruntime with one thread; wrk is the client of all, on the same
cores. Rounds are interleaved and the median of each is reported. FastAPI answers raw bytes, its fastest form, once as
`pip install fastapi uvicorn` brings it (asyncio and h11; the goal is set against this one) and once with uvicorn's
optional uvloop and httptools.

Where the time of a request goes at concurrency 32, measured with batches of 17 on 2 cores: the server's instance
thread and the backend's process take turns, so a cycle is their sum: 270 us onnxruntime, 25 us gathering, 82 us
building responses (70 % of it in pb_utils.Tensor), 593 us Triton: HTTP, queue, shared memory and hand-off. Two
instances halve the batches and lose 20 %; a queue delay loses more.

Of Triton's share, waking a sleeping HTTP thread for each answer is a large part: with its default of eight threads the
same 2 cores gave 16,000-22,000 requests/s and stood idle for 10-30 % of the time; with one (serving/launch.py: half the
cores) 19,000-24,000.

Run with `make bench`. Figures of one run are comparable with one another; the machines are shared.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import onnxruntime

from bench.report import Bar, report, versions
from tests.serving.graphs import convnet
from tests.serving.versions import publish_convnet
from trainserve.serving import runtime
from trainserve.serving.fetch import fetch
from trainserve.serving.model_config import config_text, model_config
from trainserve.serving.servable import Servable
from trainserve.serving.server import DevelopmentServer
from trainserve.serving.settings import Settings

CONCURRENCY, ROUNDS, SECONDS = (1, 8, 32), 5, 2
IMAGE = np.random.default_rng(0).integers(0, 256, (1, 28, 28, 1), dtype=np.uint8).tobytes()
NOOP = """
import numpy as np
import triton_python_backend_utils as pb_utils

ANSWER = np.zeros((1, 10), np.float32)


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([pb_utils.Tensor("probabilities", ANSWER)]) for _ in requests]
"""
FASTAPI = """
import sys
import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request, Response

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
app = FastAPI()


@app.post("/infer")
async def infer(request: Request) -> Response:
    images = np.frombuffer(await request.body(), np.uint8).reshape(-1, 28, 28, 1)
    return Response(session.run(None, {"images": images})[0].tobytes(), media_type="application/octet-stream")


quiet = {"log_level": "error", "access_log": False}
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), loop=sys.argv[3], http=sys.argv[4], **quiet)
"""


def wrk(url: str, headers: dict[str, str], body: bytes, concurrency: int, folder: Path) -> tuple[float, float, float]:
    """Requests per second, p50 and p99 in milliseconds."""
    (folder / "body").write_bytes(body)
    script = [
        f'local file = io.open("{folder}/body", "rb")',
        'wrk.method, wrk.body = "POST", file:read("*a")',
        *(f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()),
        "done = function(summary, latency)",
        '  print("RESULT", summary.requests / summary.duration * 1e6, latency:percentile(50), latency:percentile(99),'
        " summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout)",
        "end",
    ]
    (folder / "wrk.lua").write_text("\n".join(script))
    command = ["wrk", "-t1", f"-c{concurrency}", f"-d{SECONDS}s", "-s", str(folder / "wrk.lua"), url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"RESULT\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)", output)
    if found is None or float(found[4]):
        raise SystemExit(f"wrk {url}: not every request was answered: {output}")
    return float(found[1]), float(found[2]) / 1e3, float(found[3]) / 1e3


@contextlib.contextmanager
def fastapi(model: Path, folder: Path, loop: str, http: str) -> Iterator[str]:
    """The peer's URL while it runs, on uvicorn's `loop` and `http` implementations."""
    (folder / "peer.py").write_text(FASTAPI)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(folder / "peer.py"), str(model), str(port), loop, http])
    try:
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up and process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/infer"
    finally:
        process.terminate()
        process.wait()


def plain(model: Path, batch: int) -> float:
    """Images per second of onnxruntime in a loop, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    inputs = {"images": np.frombuffer(IMAGE * batch, np.uint8).reshape(batch, 28, 28, 1)}
    count, give_up = 0, time.perf_counter() + 1
    begun = time.perf_counter()
    while time.perf_counter() < give_up:
        session.run(None, inputs)
        count += batch
    return count / (time.perf_counter() - begun)


def prepare(folder: Path) -> Path:
    """A repository with `digits`, as a serving pod's init container writes it, and `noop`; returns its folder."""
    published = publish_convnet(folder / "store", folder / "work")
    settings = Settings()
    outcome = fetch(str(folder / "store"), "default", "digits", 1, published.digest, folder, "digits", settings)
    assert outcome["outcome"] == "Fetched", outcome
    config = model_config("noop", Servable.of_version(folder / "version"), settings)
    config.backend = "python"
    for output in config.output:
        output.label_filename = ""
    models = folder / "repository"
    (models / "noop/1").mkdir(parents=True)
    (models / "noop/config.pbtxt").write_text(config_text(config))
    (models / "noop/1/model.py").write_text(NOOP)
    return models


def measure(folder: Path) -> dict[str, list[tuple[float, float, float]]]:
    """For each `<system> c=<concurrency>`, what every round gave."""
    models = prepare(folder)
    onnx.save(convnet(), folder / "model.onnx")
    tensor = {"name": "images", "shape": [1, 28, 28, 1], "datatype": "UINT8"}
    sizes = {"parameters": {"binary_data_size": len(IMAGE)}}
    wanted = [{"name": "probabilities", "parameters": {"binary_data": True}}]
    header = json.dumps({"inputs": [tensor | sizes], "outputs": wanted}).encode()
    octets = {"Content-Type": "application/octet-stream"}
    binary = octets | {"Inference-Header-Content-Length": str(len(header))}
    results: dict[str, list[tuple[float, float, float]]] = {}
    with (
        DevelopmentServer(runtime.install(), models, folder / "log", "--disable-auto-complete-config") as server,
        fastapi(folder / "model.onnx", folder, "asyncio", "h11") as peer,
        fastapi(folder / "model.onnx", folder, "uvloop", "httptools") as fast_peer,
    ):
        systems = {
            "triton": (f"http://{server.url}/v2/models/digits/infer", binary, header + IMAGE),
            "no-op": (f"http://{server.url}/v2/models/noop/infer", binary, header + IMAGE),
            "fastapi": (peer, octets, IMAGE),
            "fastapi+uvloop": (fast_peer, octets, IMAGE),
        }
        for number in range(ROUNDS + 1):
            for concurrency in CONCURRENCY:
                for name, (url, headers, body) in systems.items():
                    figures = wrk(url, headers, body, concurrency, folder)
                    if number:  # the first round warms up
                        results.setdefault(f"{name} c={concurrency}", []).append(figures)
    return results


def main() -> bool:
    """Measures, prints and writes; returns whether every goal is reached."""
    if shutil.which("wrk") is None:
        subprocess.run(["apt-get", "install", "-y", "-qq", "wrk"], check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = measure(folder)
        loop = {batch: plain(folder / "model.onnx", batch) for batch in (1, 32)}
    rate = {key: median(figure[0] for figure in figures) for key, figures in results.items()}
    bars = [
        Bar("triton / no-op, c=32", rate["triton c=32"] / rate["no-op c=32"], "", 0.75, "more"),
        Bar("triton / fastapi, c=32", rate["triton c=32"] / rate["fastapi c=32"], "", 3.5, "more"),
        Bar("triton / fastapi+uvloop, c=32", rate["triton c=32"] / rate["fastapi+uvloop c=32"], ""),
    ]
    for key, figures in results.items():
        bars.append(Bar(key, rate[key], "req/s"))
        bars.append(Bar(f"{key} p50", median(figure[1] for figure in figures), "ms"))
        bars.append(Bar(f"{key} p99", median(figure[2] for figure in figures), "ms"))
    bars += [Bar(f"onnxruntime in a loop, batch {batch}", value, "images/s") for batch, value in loop.items()]
    used = versions("onnxruntime", "fastapi", "uvicorn", "uvloop", "httptools", "numpy")
    used["server"] = ", ".join((runtime.SERVER, *runtime.PACKAGES[:2]))
    return report("serving", bars, {"rounds": ROUNDS, "secondsEach": SECONDS}, used)


if __name__ == "__main__":
    sys.exit(not main())
