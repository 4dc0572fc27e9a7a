"""FastAPI with onnxruntime as a user would write it: raw bytes in and out, and the v2 protocol's JSON.

Options: `loop=` and `http=` are uvicorn's, `threads=` onnxruntime's. No gRPC.
"""

import sys

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import uvicorn
from fastapi import FastAPI, Request, Response

path, name, port, _ = sys.argv[1:5]
given = dict(option.split("=") for option in sys.argv[5:])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.inter_op_num_threads = int(given.get("threads", 1)), 1
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
(taken,), (answered,) = session.get_inputs(), session.get_outputs()
app = FastAPI()


@app.post("/infer")
async def infer(request: Request) -> Response:
    """Answer raw bytes with raw bytes."""
    images = np.frombuffer(await request.body(), np.uint8).reshape(-1, *taken.shape[1:])
    return Response(session.run(None, {taken.name: images})[0].tobytes(), media_type="application/octet-stream")


@app.post(f"/v2/models/{name}/infer")
async def infer_json(request: Request) -> dict[str, object]:
    """Answer the v2 protocol's JSON."""
    (tensor,) = (await request.json())["inputs"]
    images = np.array(tensor["data"], np.uint8).reshape(tensor["shape"])
    (answer,) = session.run(None, {taken.name: images})
    output = {"name": answered.name, "shape": answer.shape, "datatype": "FP32", "data": answer.ravel().tolist()}
    return {"model_name": name, "outputs": [output]}


uvicorn.run(
    app,
    host="127.0.0.1",
    port=int(port),
    loop=given.get("loop", "auto"),
    http=given.get("http", "auto"),
    log_level="error",
    access_log=False,
)
