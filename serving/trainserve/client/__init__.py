"""`from trainserve.client import Client, AsyncClient`: asking served models, over HTTP or gRPC.

    with Client("digits.default.svc:8000") as client:
        seen = client.predict("digits", images)    # uint8 (n, 28, 28, 1)
        seen.best, seen.probabilities              # ["7", …], float32 (n, 10)

What a model takes is asked of the server, and what does not fit is refused before anything is sent. The package
imports nothing else of this project, and of others numpy and aiohttp or tritonclient.
"""

from trainserve.client.addresses import Protocol
from trainserve.client.aio import AsyncClient
from trainserve.client.errors import BadInput, DeadlineExceeded, Refused, RequestFailed, ServerFault, Unavailable
from trainserve.client.model import Array, ModelInfo, Predictions, TensorInfo
from trainserve.client.sync import Client

__all__ = [
    "Array",
    "AsyncClient",
    "BadInput",
    "Client",
    "DeadlineExceeded",
    "ModelInfo",
    "Predictions",
    "Protocol",
    "Refused",
    "RequestFailed",
    "ServerFault",
    "TensorInfo",
    "Unavailable",
]
