"""KServe's Python server with a custom predictor, as in its documentation ("Custom Predictor").

Options: `threads=` is onnxruntime's.
"""

import sys

import onnxruntime  # type: ignore[import-untyped]

path, name, port, grpc_port = sys.argv[1:5]
given = dict(option.split("=") for option in sys.argv[5:])
sys.argv[1:] = []  # importing kserve parses them

from kserve import InferRequest, InferResponse, Model, ModelServer, logging  # noqa: E402
from kserve.utils.utils import get_predict_response  # noqa: E402


class Onnx(Model):
    """A predictor of one graph."""

    def load(self) -> bool:
        """Load the graph; called by KServe."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = int(given.get("threads", 1)), 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (self.taken,) = self.session.get_inputs()
        self.ready = True
        return True

    async def predict(
        self,
        payload: InferRequest,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> InferResponse:
        """Run the graph on a request; called by KServe."""
        (answer,) = self.session.run(None, {self.taken.name: payload.inputs[0].as_numpy()})
        return get_predict_response(payload, answer, self.name)


logging.configure_logging()
model = Onnx(name)
model.load()
ModelServer(http_port=int(port), grpc_port=int(grpc_port), enable_latency_logging=False).start([model])
