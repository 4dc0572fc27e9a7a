"""MLServer with a custom runtime, as in its documentation ("Custom Inference Runtimes").

Options: `threads=` is onnxruntime's. Inference runs in the server's process (parallel_workers: 0), which is faster
here than its default of one worker process; adaptive batching is off, which is its default.
"""

import asyncio
import sys

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

path, name, port, grpc_port = sys.argv[1:5]
given = dict(option.split("=") for option in sys.argv[5:])


class Onnx(MLModel):
    """A runtime of one graph."""

    async def load(self) -> bool:
        """Load the graph; called by MLServer."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = int(given.get("threads", 1)), 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (self.taken,), (self.answered,) = self.session.get_inputs(), self.session.get_outputs()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run the graph on a request; called by MLServer."""
        images = NumpyCodec.decode_input(payload.inputs[0]).astype(np.uint8, copy=False)
        (answer,) = self.session.run(None, {self.taken.name: images})
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output(self.answered.name, answer)])


async def main() -> None:
    """Serve until the process is terminated."""
    server = MLServer(
        Settings(
            host="127.0.0.1",
            http_port=int(port),
            grpc_port=int(grpc_port),
            metrics_endpoint=None,
            parallel_workers=0,
            debug=False,
        )
    )
    await server.start([ModelSettings(name=name, implementation=Onnx)])


asyncio.run(main())
