"""Who may reach the pods of a TrainJob or a ModelServe: one NetworkPolicy of each, where the chart says that there are
any. What a policy does not name, no pod of it is reached by, where the cluster's network enforces policies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from trainserve.api.base import ApiType
from trainserve.api.modelserve import Peer
from trainserve.api.refusal import problems_of
from trainserve.operator import labels
from trainserve.operator.plan import Object

VARIABLE = "TRAINSERVE_NETWORK_POLICIES"
KIND = "NetworkPolicy"


class Peers(ApiType):
    """Those who ask pods beside their users, as a NetworkPolicy names them."""

    operator: list[Peer]
    prometheus: list[Peer]


@dataclass(frozen=True)
class Ports:
    """Ports and who may reach them; no ports: all."""

    numbers: Sequence[int]
    peers: Sequence[Mapping[str, Any]]


def parse(text: str) -> Peers | None:
    """What the variable says; None: no policies. Raises ValueError with its name."""
    if not text:
        return None
    try:
        return Peers.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(f"{VARIABLE}={text!r}: {problems_of(error, Peers)[0]}") from None


def written(peers: Iterable[Peer]) -> list[dict[str, Any]]:
    """As in a NetworkPolicy."""
    return [peer.model_dump(mode="json", by_alias=True, exclude_none=True) for peer in peers]


def policy(owner: Object, label: str, allowed: Sequence[Ports]) -> Object:
    """Lets through to the pods with that label of the owner's name what is `allowed`, and nothing else."""
    name = owner["metadata"]["name"]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": KIND,
        # A TrainJob and a ModelServe may have one name.
        "metadata": labels.metadata(owner, f"{owner['kind'].lower()}.{name}", {label: name}),
        "spec": {
            "podSelector": {"matchLabels": {label: name}},
            "policyTypes": ["Ingress"],
            # A rule without peers would let everybody in.
            "ingress": [_rule(each) for each in allowed if each.peers],
        },
    }


def _rule(allowed: Ports) -> dict[str, Any]:
    ports = [{"port": number, "protocol": "TCP"} for number in allowed.numbers]
    return {"from": list(allowed.peers)} | ({"ports": ports} if ports else {})
