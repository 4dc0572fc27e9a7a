"""A ModelServe's own children, sorted by what they are for."""

from __future__ import annotations

from dataclasses import dataclass

from trainserve.operator import labels
from trainserve.operator.modelserve import version as versions
from trainserve.operator.modelserve.version import Version
from trainserve.operator.plan import Object


@dataclass(frozen=True)
class Children:
    """Deployments and pods by name, the Service, the PodDisruptionBudget and the NetworkPolicy."""

    deployments: dict[str, Object]
    resolvers: dict[str, Object]
    tuners: dict[str, Object]
    serving: list[Object]
    service: Object | None
    budget: Object | None
    policy: Object | None

    @classmethod
    def of(cls, serve: Object, children: list[Object]) -> Children:
        """Sort them; what an earlier ModelServe of the same name left behind is not ours."""
        uid = serve["metadata"]["uid"]
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
                if child["kind"] == "Pod" and (child["metadata"].get("annotations") or {}).get(labels.OWNER_UID) == uid
            ],
            service=next((child for child in own if child["kind"] == "Service"), None),
            budget=next((child for child in own if child["kind"] == "PodDisruptionBudget"), None),
            policy=next((child for child in own if child["kind"] == "NetworkPolicy"), None),
        )

    def active(self) -> str | None:
        """The version suffix that the Service selects."""
        if self.service is None:
            return None
        suffix: str | None = (self.service["spec"].get("selector") or {}).get(labels.VERSION)
        return suffix

    def resolver(self, name: str) -> Object | None:
        """The pod that asks the store, if there is one of that name."""
        return self.resolvers.get(name)

    def pods_of(self, suffix: str) -> list[Object]:
        """Pods that serve one version."""
        return [pod for pod in self.serving if (pod["metadata"].get("labels") or {}).get(labels.VERSION) == suffix]

    def pods_from(self, template: str) -> list[Object]:
        """Pods made from the template of that digest."""
        return [pod for pod in self.serving if pod["metadata"]["annotations"].get(labels.TEMPLATE) == template]

    def versions(self) -> list[Version]:
        """Versions that have a Deployment."""
        return [version for child in self.deployments.values() if (version := versions.read(child)) is not None]
