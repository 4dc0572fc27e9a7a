"""The NetworkPolicy of a TrainJob or ModelServe, if the chart enables them: nobody else reaches its pods, provided that
the cluster's network enforces policies."""

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
    """Peers that reach pods besides their users, as in a NetworkPolicy."""

    operator: list[Peer]
    prometheus: list[Peer]


@dataclass(frozen=True)
class Ports:
    """Ports and who may reach them; without numbers, all ports."""

    numbers: Sequence[int]
    peers: Sequence[Mapping[str, Any]]


def parse(text: str) -> Peers | None:
    """Parse the variable; None means no policies. Raises ValueError with its name."""
    if not text:
        return None
    try:
        return Peers.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(f"{VARIABLE}={text!r}: {problems_of(error, Peers)[0]}") from None


def written(peers: Iterable[Peer]) -> list[dict[str, Any]]:
    """Return the peers as JSON, as in a NetworkPolicy."""
    return [peer.model_dump(mode="json", by_alias=True, exclude_none=True) for peer in peers]


def policy(owner: Object, label: str, allowed: Sequence[Ports]) -> Object:
    """Return the policy that admits only `allowed` to the pods whose `label` is the owner's name."""
    name = owner["metadata"]["name"]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": KIND,
        # A TrainJob and a ModelServe may have one name.
        "metadata": labels.metadata(owner, f"{owner['kind'].lower()}.{name}", {label: name}),
        "spec": {
            "podSelector": {"matchLabels": {label: name}},
            "policyTypes": ["Ingress"],
            # A rule without peers would admit everybody.
            "ingress": [_rule(each) for each in allowed if each.peers],
        },
    }


def _rule(allowed: Ports) -> dict[str, Any]:
    ports = [{"port": number, "protocol": "TCP"} for number in allowed.numbers]
    return {"from": list(allowed.peers)} | ({"ports": ports} if ports else {})
