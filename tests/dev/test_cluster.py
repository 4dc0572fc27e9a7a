"""The development cluster's real control plane: up, down, killed, recovered, side by side. None needs a node."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from tests.dev.control_plane import CONTROL_PLANE, admin, keep, kept, operator, pids, processes, recorded, wait_for
from trainserve.dev import addresses, binaries, state
from trainserve.dev.cluster import CHART, Cluster
from trainserve.dev.components import PORTS
from trainserve.dev.controlplane import SCHEDULER_CONFIG_V1BETA2
from trainserve.dev.kube import ApiError

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(os.environ.get("KUBECONFIG")), reason="KUBECONFIG names a cluster; none is started"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    one = Cluster(tmp_path_factory.mktemp("control-plane"))
    try:
        one.up(*CONTROL_PLANE)
        yield one
    finally:
        one.down()


@pytest.fixture
def up(cluster: Cluster) -> Cluster:
    """The shared cluster with its whole control plane running, whatever the previous test did to it."""
    cluster.up(*CONTROL_PLANE)
    return cluster


def test_up_serves_the_kinds_of_trainserve(up: Cluster) -> None:
    names = {each["metadata"]["name"] for each in admin(up).list("CustomResourceDefinition")}
    assert {"trainjobs.trainserve.io", "modelserves.trainserve.io"} <= names


def test_the_admin_context_has_the_documented_name(up: Cluster) -> None:
    assert yaml.safe_load(up.kubeconfig.read_text())["current-context"] == "trainserve-dev"


def test_secrets_of_the_cluster_are_for_its_owner_only(up: Cluster) -> None:
    for path in (up.directory, up.kubeconfig, up.operator_kubeconfig):
        assert path.stat().st_mode & 0o077 == 0


def test_everything_listens_on_loopback_only(up: Cluster) -> None:
    listening = [
        connection.laddr
        for pid in pids(up).values()
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert {address.ip for address in listening} == {"127.0.0.1"}
    ours = recorded(up).addresses.ports
    ports = {ours[port] for name in CONTROL_PLANE for port in PORTS[name]}
    if binaries.prepare().version >= SCHEDULER_CONFIG_V1BETA2:  # this scheduler no longer has an insecure port
        ports.remove(ours["scheduler-plain"])
    assert {address.port for address in listening} == ports


def test_service_addresses_are_loopback_addresses_of_this_cluster(up: Cluster) -> None:
    spec = admin(up).get("Service", "kubernetes")["spec"]
    assert spec["clusterIP"] == recorded(up).addresses.kubernetes_service


def test_the_scheduler_binds_a_pod_to_a_node_that_has_room(up: Cluster) -> None:
    client = admin(up)
    room = {"cpu": "1", "memory": "1Gi", "pods": "10"}
    client.create("Node", {"metadata": {"name": "paper"}, "status": {"capacity": room, "allocatable": room}})
    try:
        pod = {"containers": [{"name": "main", "image": "ignored"}], "tolerations": [{"operator": "Exists"}]}
        client.create("Pod", {"metadata": {"name": "bound"}, "spec": pod})
        wait_for(lambda: client.get("Pod", "bound")["spec"].get("nodeName") == "paper", "the binding")
        client.delete("Pod", "bound", grace=0)
    finally:
        client.delete("Node", "paper")


def test_up_again_starts_nothing_anew(up: Cluster) -> None:
    before = pids(up)
    up.up(*CONTROL_PLANE)
    assert pids(up) == before
    assert set(before) == set(CONTROL_PLANE)


@pytest.mark.parametrize("component", CONTROL_PLANE)
def test_a_killed_component_is_seen_to_have_died_and_comes_back_alone(up: Cluster, component: str) -> None:
    keep(up, f"before-{component}")
    before = pids(up)
    up.kill(component)
    assert up.status()[component].state == "died"
    up.start(component)
    after = pids(up)
    # The garbage collector restarts with its API server: the one of 1.20 loses track of custom resources' children.
    anew = {component, "controller-manager"} if component == "apiserver" else {component}
    assert {name for name in CONTROL_PLANE if before[name] != after[name]} == anew
    assert kept(up, f"before-{component}")


def test_what_a_trainjob_owned_goes_with_it_after_the_api_server_was_away(up: Cluster) -> None:
    client = admin(up)
    spec = {"model": {"image": "none", "command": ["true"]}}
    made = client.create("TrainJob", {"metadata": {"name": "owner"}, "spec": spec})
    owner = {"apiVersion": made["apiVersion"], "kind": "TrainJob", "name": "owner", "uid": made["metadata"]["uid"]}
    client.create("ConfigMap", {"metadata": {"name": "owned", "ownerReferences": [owner]}})
    up.kill("apiserver")
    up.start("apiserver")
    client = admin(up)
    client.delete("TrainJob", "owner")
    give_up = time.monotonic() + 120
    while client.find("ConfigMap", "owned") is not None:
        assert time.monotonic() < give_up, "the child of a deleted TrainJob is still there"
        time.sleep(0.1)


def test_after_all_components_were_killed_up_brings_everything_back(up: Cluster) -> None:
    keep(up, "before-all")
    for component in CONTROL_PLANE:
        up.kill(component)
    up.up(*CONTROL_PLANE)
    assert set(pids(up)) == set(CONTROL_PLANE)
    assert kept(up, "before-all")


def test_a_component_that_was_started_but_never_written_down_does_not_run_twice(up: Cluster) -> None:
    forgotten = recorded(up)
    lost = forgotten.processes.pop("scheduler")
    forgotten.starting = ("scheduler", lost.command)
    state.save(up.layout.state, forgotten)
    up.up(*CONTROL_PLANE)
    assert not lost.alive
    assert len(processes(up)) == len(CONTROL_PLANE)


def test_a_taken_port_is_left_to_its_owner(up: Cluster) -> None:
    port = recorded(up).addresses.ports["apiserver"]
    up.kill("apiserver")
    with socket.socket() as foreign:
        foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        wait_for(lambda: addresses.is_free(port), "the port to be given back")
        foreign.bind(("127.0.0.1", port))
        foreign.listen()
        up.up(*CONTROL_PLANE)
    assert recorded(up).addresses.ports["apiserver"] != port
    keep(up, "on-another-port")


@pytest.mark.parametrize("moment", ["etcd", "apiserver", "controller-manager"])
def test_up_that_was_killed_while_it_waited_is_finished_by_the_next(other: Cluster, moment: str) -> None:
    code = (
        "import sys; from pathlib import Path; from rich.console import Console;"
        "from trainserve.dev.cluster import Cluster; from trainserve.dev.progress import ConsoleProgress;"
        "Cluster(Path(sys.argv[1]), progress=ConsoleProgress(Console())).up(*sys.argv[2:])"
    )
    command = [sys.executable, "-c", code, str(other.directory), *CONTROL_PLANE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        next(line for line in killed.stdout if f"waiting for {moment}" in line)
        killed.send_signal(signal.SIGKILL)
    other.up(*CONTROL_PLANE)
    assert len(processes(other)) == len(CONTROL_PLANE)
    assert set(pids(other)) == set(CONTROL_PLANE)


def test_two_clusters_side_by_side_know_nothing_of_each_other(up: Cluster, other: Cluster) -> None:
    other.up(*CONTROL_PLANE)
    keep(up, "mine")
    with pytest.raises(ApiError, match="not found"):
        kept(other, "mine")
    before = pids(up)
    other.down()
    assert processes(other) == []
    assert pids(up) == before
    assert kept(up, "mine")


def test_unknown_components_are_refused_with_the_known_ones(other: Cluster) -> None:
    with pytest.raises(ValueError, match="unknown components kubelet; there are etcd, apiserver"):
        other.up("kubelet")


def granted() -> set[tuple[str, str, str]]:
    """Return (group, resource, verb) of everything that the chart's role grants."""
    rules = yaml.safe_load((CHART / "files" / "operator-role.yaml").read_text())["rules"]
    products = (itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"]) for rule in rules)
    return set(itertools.chain.from_iterable(products))


VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
FORBIDDEN = [("", "secrets"), ("", "nodes"), ("", "serviceaccounts"), ("", "persistentvolumeclaims"), ("", "pods/exec")]
FORBIDDEN += [("apps", "daemonsets"), ("batch", "jobs"), ("rbac.authorization.k8s.io", "clusterroles")]


def test_every_verb_that_is_not_in_the_operators_role_is_denied(up: Cluster) -> None:
    client, expected, allowed = operator(up), granted(), set()
    resources = {(group, resource) for group, resource, _ in expected}.union(FORBIDDEN)
    for (group, path), verb in itertools.product(resources, VERBS):
        resource, _, subresource = path.partition("/")
        asked = {"group": group, "resource": resource, "subresource": subresource, "verb": verb, "namespace": "default"}
        review = client.create("SelfSubjectAccessReview", {"spec": {"resourceAttributes": asked}})
        if review["status"]["allowed"]:
            allowed.add((group, path, verb))
    assert allowed == expected


def test_the_operator_is_refused_the_secrets_of_its_own_namespace(up: Cluster) -> None:
    with pytest.raises(ApiError, match=r"trainserve-operator.*cannot list resource") as refused:
        operator(up).list("Secret", "trainserve-system")
    assert refused.value.status == 403


def test_a_rule_that_the_chart_drops_is_dropped_from_the_running_cluster(up: Cluster, tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    (chart / "files" / "crds").mkdir(parents=True)
    pods = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    for name in ("operator-role", "operator-own-role"):
        (chart / "files" / f"{name}.yaml").write_text(yaml.safe_dump({"rules": [pods]}))
    assert operator(up).list("Pod") is not None
    Cluster(up.directory, chart=chart).up(*CONTROL_PLANE)
    operator(up).list("Pod")
    with pytest.raises(ApiError, match="cannot list resource"):
        operator(up).list("ConfigMap")


def test_the_record_says_where_everything_is(up: Cluster) -> None:
    content = json.loads((up.directory / "cluster.json").read_text())
    assert content["server"] == f"https://127.0.0.1:{content['ports']['apiserver']}"
    assert set(content["processes"]) == set(CONTROL_PLANE)
    assert up.metrics_url == f"http://127.0.0.1:{content['ports']['metrics']}/metrics"
