"""Clients of served models, over HTTP or gRPC: `from trainserve.client import Client, AsyncClient`.

    with Client("digits.default.svc:8000") as client:
        seen = client.predict("digits", images)    # uint8 (n, 28, 28, 1)
        seen.best, seen.probabilities              # ["7", …], float32 (n, 10)

A client asks the server which inputs a model takes, and refuses arrays that do not fit before it sends anything. The
package imports no other package of this project; it needs numpy, and aiohttp or tritonclient.
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
