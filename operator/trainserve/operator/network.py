"""The NetworkPolicy of a TrainJob or ModelServe, if the chart enables policies: only the named peers reach its pods,
provided that the cluster's network enforces policies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from trainserve.api.base import ApiType
from trainserve.api.modelserve import Peer
from trainserve.api.refusal import problems_of
from trainserve.operator import labels
from trainserve.operator.objects import Object

VARIABLE = "TRAINSERVE_NETWORK_POLICIES"
KIND = "NetworkPolicy"


class Peers(ApiType):
    """Peers, in the form of a NetworkPolicy, that may reach pods besides their users."""

    operator: list[Peer]
    prometheus: list[Peer]


@dataclass(frozen=True)
class Ports:
    """Ports and the peers that may reach them; empty `numbers` mean all ports."""

    numbers: Sequence[int]
    peers: Sequence[Mapping[str, Any]]


def parse(text: str) -> Peers | None:
    """Parse the value of VARIABLE; return None, for no policies, if it is empty. Raises ValueError that names it."""
    if not text:
        return None
    try:
        return Peers.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(f"{VARIABLE}={text!r}: {problems_of(error, Peers)[0]}") from None


def written(peers: Iterable[Peer]) -> list[dict[str, Any]]:
    """Return the peers in the JSON form of a NetworkPolicy."""
    return [peer.model_dump(mode="json", by_alias=True, exclude_none=True) for peer in peers]


def policy(owner: Object, label: str, allowed: Sequence[Ports]) -> Object:
    """Return the policy that admits only `allowed` to the pods whose `label` is the owner's name."""
    name = owner["metadata"]["name"]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": KIND,
        # The kind is part of the name: a TrainJob and a ModelServe may have the same name.
        "metadata": labels.metadata(owner, f"{owner['kind'].lower()}.{name}", {label: name}),
        "spec": {
            "podSelector": {"matchLabels": {label: name}},
            "policyTypes": ["Ingress"],
            # A rule without peers would admit all traffic.
            "ingress": [_rule(each) for each in allowed if each.peers],
        },
    }


def _rule(allowed: Ports) -> dict[str, Any]:
    ports = [{"port": number, "protocol": "TCP"} for number in allowed.numbers]
    return {"from": list(allowed.peers)} | ({"ports": ports} if ports else {})
