"""The input of one pass over a ModelServe, gathered and parsed once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from trainserve.api import modelserve_status
from trainserve.api.modelserve import ModelServeSpec
from trainserve.operator import labels, objects, statuses
from trainserve.operator.blocked import Refusal
from trainserve.operator.kinds import Answers
from trainserve.operator.modelserve import version as versions
from trainserve.operator.modelserve.version import Version
from trainserve.operator.objects import Identity, Object
from trainserve.operator.record import Digests
from trainserve.operator.specs import InvalidSpec, parse_modelserve
from trainserve.operator.statuses import ModelServeStatus


@dataclass(frozen=True)
class Children:
    """A ModelServe's own children, sorted by their purpose; Deployments and pods by name."""

    deployments: dict[str, Object]
    resolvers: dict[str, Object]
    tuners: dict[str, Object]
    serving: list[Object]
    service: Object | None
    budget: Object | None
    policy: Object | None

    @classmethod
    def of(cls, serve: Object, children: Iterable[Object]) -> Children:
        """Sort `children` by purpose, without those of an earlier ModelServe of the same name."""
        uid, children = serve["metadata"]["uid"], tuple(children)
        own = [child for child in children if labels.owned_by(child, uid)]
        asking = {child["metadata"]["name"]: child for child in own if child["kind"] == "Pod"}
        measuring = {name: pod for name, pod in asking.items() if name.startswith(f"{serve['metadata']['name']}-tune-")}
        return cls(
            deployments={child["metadata"]["name"]: child for child in own if child["kind"] == "Deployment"},
            resolvers={name: pod for name, pod in asking.items() if name not in measuring},
            tuners=measuring,
            serving=[
                child
                for child in children
                if child["kind"] == "Pod" and objects.annotations(child).get(labels.OWNER_UID) == uid
            ],
            service=next((child for child in own if child["kind"] == "Service"), None),
            budget=next((child for child in own if child["kind"] == "PodDisruptionBudget"), None),
            policy=next((child for child in own if child["kind"] == "NetworkPolicy"), None),
        )

    def active(self) -> str | None:
        """Return the version suffix that the Service selects; None without a Service."""
        if self.service is None:
            return None
        suffix: str | None = (objects.spec(self.service).get("selector") or {}).get(labels.VERSION)
        return suffix

    def pods_of(self, suffix: str) -> list[Object]:
        """Return the pods that serve the version with that suffix."""
        return [pod for pod in self.serving if objects.labels(pod).get(labels.VERSION) == suffix]

    def pods_from(self, template: str) -> list[Object]:
        """Return the pods made from the template with that digest."""
        return [pod for pod in self.serving if pod["metadata"]["annotations"].get(labels.TEMPLATE) == template]

    def versions(self) -> list[Version]:
        """Return the versions that have a Deployment."""
        return [version for child in self.deployments.values() if (version := versions.read(child)) is not None]


@dataclass(frozen=True)
class Observed:
    """A ModelServe with its children and the related objects of its namespace."""

    raw: Object
    identity: Identity
    spec: ModelServeSpec | Refusal
    status: ModelServeStatus
    children: Children
    answers: Answers
    """Latest reports of the serving pods, by the pod's uid."""
    jobs: Sequence[Object]
    """TrainJobs of the namespace."""
    digests: Digests
    """Look-up of the digests with which the namespace's versions were published."""
    budgets: str | None
    """Version in which the cluster serves PodDisruptionBudgets; None if it does not."""

    @classmethod
    def of(
        cls,
        serve: Object,
        children: Sequence[Object],
        answers: Answers,
        jobs: Iterable[Object],
        digests: Digests,
        budgets: str | None,
    ) -> Observed:
        """Gather the input and parse the spec and the status of `serve`."""
        return cls(
            raw=serve,
            identity=Identity.of(serve),
            spec=_parsed(serve),
            status=cast(ModelServeStatus, statuses.readable(serve, modelserve_status.ModelServeStatus)),
            children=Children.of(serve, children),
            answers=answers,
            jobs=tuple(jobs),
            digests=digests,
            budgets=budgets,
        )


def _parsed(serve: Object) -> ModelServeSpec | Refusal:
    try:
        return parse_modelserve(serve)
    except InvalidSpec as error:
        return Refusal("Invalid", str(error))
