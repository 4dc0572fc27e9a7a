from typing import Any

from trainserve.dev.agent.proxy import backends

PORT = {"port": 80, "targetPort": "web"}


def service(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "s", "namespace": "n"}, "spec": {"selector": {"app": "web"}, **spec}}


def pod(
    address: str, *, ready: bool = True, app: str = "web", namespace: str = "n", port: int = 8080
) -> tuple[dict[str, Any], str]:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    containers = [{"name": "side"}, {"name": "c", "ports": [{"name": "web", "containerPort": port}]}]
    metadata = {"name": address, "namespace": namespace, "labels": {"app": app}}
    return {"metadata": metadata, "spec": {"containers": containers}, "status": {"conditions": conditions}}, address


def test_the_backends_are_the_ready_pods_that_the_service_selects() -> None:
    pods = [pod("3"), pod("1"), pod("2", ready=False), pod("4", app="other"), pod("5", namespace="other")]
    assert backends(service(), PORT, pods) == [("1", 8080), ("3", 8080)]


def test_a_named_port_may_be_another_number_in_each_pod() -> None:
    assert backends(service(), PORT, [pod("1", port=1), pod("2", port=2)]) == [("1", 1), ("2", 2)]
    assert backends(service(), {"port": 80}, [pod("1")]) == [("1", 80)]


def test_pods_that_are_not_ready_count_where_the_service_says_so() -> None:
    assert backends(service(publishNotReadyAddresses=True), PORT, [pod("1", ready=False)]) == [("1", 8080)]


def test_a_service_without_a_selector_has_no_backends() -> None:
    assert backends(service(selector=None), PORT, [pod("1")]) == []
