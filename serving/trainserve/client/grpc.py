"""The gRPC transport, on tritonclient: one channel for each replica."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import tritonclient.grpc.aio as triton  # type: ignore[import-untyped]
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

from trainserve.client import addresses
from trainserve.client.addresses import Address
from trainserve.client.binary import NAMES, Wanted
from trainserve.client.errors import UNLOADED, Refused, ServerFault, Unavailable
from trainserve.client.model import Array, ModelInfo

_OPTIONS = [
    # Reconnect soon after a replica is back: by default, gRPC waits up to two minutes between two attempts.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
]
_AGAIN = {"UNAVAILABLE", "CANCELLED"}  # a server cancels what still runs when its grace period ends
_REFUSALS = {
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "RESOURCE_EXHAUSTED",  # a message larger than the server takes
    "FAILED_PRECONDITION",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
}


class GrpcTransport:
    """Transport for the event loop in which it is created."""

    def __init__(self) -> None:
        self._clients: dict[Address, Any] = {}

    async def close(self) -> None:
        """Close all channels."""
        for client in self._clients.values():
            await client.close()
        self._clients.clear()

    def forget(self, address: Address) -> None:
        """Drop the channel of a replica that is gone; it closes after the last request on it."""
        self._clients.pop(address, None)

    async def index(self, address: Address, seconds: float) -> list[dict[str, Any]]:
        """Get the entries of the server's repository index."""
        found = await self._ask(address, "get_model_repository_index", as_json=True, client_timeout=seconds)
        return list(found.get("models", []))

    async def metadata(self, address: Address, model: str, seconds: float) -> dict[str, Any]:
        """Get the model's name, versions, inputs and outputs."""
        found = await self._ask(address, "get_model_metadata", model, as_json=True, client_timeout=seconds)
        return dict(found)

    async def config(self, address: Address, model: str, seconds: float) -> dict[str, Any]:
        """Get the model's configuration."""
        found = await self._ask(address, "get_model_config", model, as_json=True, client_timeout=seconds)
        return dict(found["config"])

    async def infer(
        self, address: Address, model: ModelInfo, inputs: Mapping[str, Array], wanted: list[Wanted], seconds: float
    ) -> dict[str, Array]:
        """Run inference on one batch; returns the wanted outputs by name."""
        sent = []
        for name, array in inputs.items():
            sent.append(triton.InferInput(name, list(array.shape), NAMES[array.dtype]))
            sent[-1].set_data_from_numpy(array)
        outputs = [triton.InferRequestedOutput(each.name, class_count=each.classes) for each in wanted]
        result = await self._ask(address, "infer", model.name, sent, outputs=outputs, client_timeout=seconds)
        return {each.name: result.as_numpy(each.name) for each in wanted}

    async def _ask(self, address: Address, method: str, *arguments: Any, **options: Any) -> Any:
        client = self._clients.get(address)
        if client is None:
            own = [
                ("grpc.default_authority", address.authority),
                # gRPC's name for the timeout of a connection attempt.
                ("grpc.min_reconnect_backoff_ms", round(addresses.CONNECT_SECONDS * 1000)),
            ]
            # gRPC checks the certificate against the authority's name. It cannot read a folder of CA certificates; if
            # OpenSSL has no file of them (SSL_CERT_FILE, else the system's), gRPC uses the list that it brings.
            trusted = ssl.get_default_verify_paths().cafile if address.secure else None
            client = triton.InferenceServerClient(
                str(address), ssl=address.secure, root_certificates=trusted, channel_args=[*_OPTIONS, *own]
            )
            self._clients[address] = client
        try:
            return await getattr(client, method)(*arguments, **options)
        except InferenceServerException as error:
            code = str(error.status()).removeprefix("StatusCode.")
            words = f"{address}: {error.message()}"
            if code == "DEADLINE_EXCEEDED":  # the same deadline as the caller's, seen by the server first
                raise TimeoutError(words) from error
            if code in _AGAIN or UNLOADED in words:
                # Behind a Service, a new connection leads to another replica; this one leads to the one shutting down.
                if self._clients.get(address) is client:
                    self.forget(address)
                raise Unavailable(words) from error
            raise (Refused if code in _REFUSALS else ServerFault)(words) from error
