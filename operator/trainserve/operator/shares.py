"""Default requests and limits of containers whose owner's spec sets none: the chart's `pods.resources`.

Every container needs all four figures, since a namespace with a quota on cpu and memory would otherwise refuse its pod.
"""

from __future__ import annotations

from typing import Self

from pydantic import ValidationError, model_validator

from trainserve.api.base import ApiType, Resources
from trainserve.api.refusal import problems_of
from trainserve.api.scalars import quantity
from trainserve.api.scalars.quantity import Cores, Memory
from trainserve.operator.objects import Object

GPU = "nvidia.com/gpu"


class Amounts(ApiType):
    """The `requests` or `limits` of a container."""

    cpu: Cores | None = None
    memory: Memory | None = None


class Share(ApiType):
    """One container's `resources`. Unset amounts are left to the namespace's LimitRange."""

    requests: Amounts = Amounts()
    limits: Amounts = Amounts()

    @model_validator(mode="after")
    def _are_ordered(self) -> Self:
        """Refuse requests above limits, with which the API server would refuse the pod."""
        requests, limits = (amounts.model_dump(exclude_none=True) for amounts in (self.requests, self.limits))
        for name in requests.keys() & limits.keys():
            if quantity.value(requests[name]) > quantity.value(limits[name]):
                raise ValueError(f"requests.{name} {requests[name]} is more than limits.{name} {limits[name]}")
        return self


def _share(cpu: tuple[str, str], memory: tuple[str, str]) -> Share:
    """Return the share with these amounts, each a pair of request and limit."""
    requests, limits = (Amounts(cpu=cpu[each], memory=memory[each]) for each in (0, 1))
    return Share(requests=requests, limits=limits)


class Shares(ApiType):
    """Shares by the name of the container. docs/operations.md lists measured usage."""

    trainer: Share = _share(cpu=("250m", "2"), memory=("512Mi", "4Gi"))
    triton: Share = _share(cpu=("250m", "2"), memory=("512Mi", "4Gi"))
    fetch: Share = _share(cpu=("100m", "500m"), memory=("128Mi", "512Mi"))
    probe: Share = _share(cpu=("100m", "500m"), memory=("128Mi", "512Mi"))
    resolve: Share = _share(cpu=("100m", "500m"), memory=("128Mi", "512Mi"))
    tune: Share = _share(cpu=("250m", "1"), memory=("256Mi", "1Gi"))


def parse(text: str) -> Shares:
    """Parse a JSON object of shares; containers that it does not name keep their defaults. Raises ValueError."""
    try:
        return Shares.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(problems_of(error, Shares)[0]) from None


def of_workload(resources: Resources, share: Share) -> Object:
    """Return `resources` of a container that trains or serves.

    An amount in the spec is both its request and its limit, so that the container is neither starved nor a noisy
    neighbour. For every other amount it has the share, once for each GPU.
    """
    said = {"cpu": resources.cpu, "memory": resources.memory}
    asked = {name: text for name, text in said.items() if text is not None}
    gpus = {GPU: str(resources.gpus)} if resources.gpus else {}
    requests, limits = (_times(amounts, max(1, resources.gpus)) for amounts in (share.requests, share.limits))
    return _resources(requests | asked | gpus, limits | asked | gpus)


def of_helper(share: Share, beside: Object | None = None) -> Object:
    """Return `resources` of a helper container of the operator's own.

    `beside` are those of a container that runs after it in the same pod. The helper may use as much, since the pod
    reserves the larger of both.
    """
    beside = beside or {}
    requests, limits = (_times(amounts, 1) for amounts in (share.requests, share.limits))
    return _resources(_larger(requests, beside.get("requests", {})), _larger(limits, beside.get("limits", {})))


def cpu_limit(resources: Resources, share: Share) -> str | None:
    """Return the cpu limit of a container that trains or serves; None if it may use the whole node."""
    limit: str | None = of_workload(resources, share).get("limits", {}).get("cpu")
    return limit


def _resources(requests: dict[str, str], limits: dict[str, str]) -> Object:
    return {name: amounts for name, amounts in (("requests", requests), ("limits", limits)) if amounts}


def _times(amounts: Amounts, count: int) -> dict[str, str]:
    texts = amounts.model_dump(exclude_none=True)
    if count == 1:
        return texts
    many = {name: quantity.value(text) * count for name, text in texts.items()}
    # Whole thousandths of a core and whole bytes: Kubernetes would round any further digits up.
    return {name: f"{int(n * 1000)}m" if name == "cpu" else str(int(n)) for name, n in many.items()}


def _larger(amounts: dict[str, str], others: dict[str, str]) -> dict[str, str]:
    """Return `amounts`, each replaced by that of `others` if that is larger."""
    both = {name: others[name] for name in amounts if name in others}
    return amounts | {name: text for name, text in both.items() if quantity.value(text) > quantity.value(amounts[name])}
