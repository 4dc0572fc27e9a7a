"""The development cluster's real control plane: up, down, killed, recovered, side by side. No node is needed here."""

from __future__ import annotations

import base64
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from trainserve.dev import addresses, binaries, etcd_data, process, state
from trainserve.dev.cluster import CHART, Cluster
from trainserve.dev.components import PORTS
from trainserve.dev.controlplane import SCHEDULER_CONFIG_V1BETA2
from trainserve.dev.kube import ApiError, Client
from trainserve.dev.run import ClusterError

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(os.environ.get("KUBECONFIG")), reason="KUBECONFIG names a cluster; none is started"),
]
CONTROL_PLANE = ("etcd", "apiserver", "controller-manager", "scheduler")
HANG = 60.0


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
    """The shared cluster with all of the control plane running, whatever the test before did to it."""
    cluster.up(*CONTROL_PLANE)
    return cluster


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of the test's own, not yet up."""
    one = Cluster(tmp_path / "cluster")
    try:
        yield one
    finally:
        one.down()


def admin(cluster: Cluster) -> Client:
    return Client(cluster.kubeconfig)


def operator(cluster: Cluster) -> Client:
    return Client(cluster.operator_kubeconfig)


def pids(cluster: Cluster) -> dict[str, int | None]:
    return {name: status.pid for name, status in cluster.status().items() if status.state == "running"}


def processes(cluster: Cluster) -> list[process.Process]:
    return process.marked(f"{cluster.directory}:")


def wait_for(condition: Callable[[], Any], what: str) -> None:
    give_up = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < give_up, f"not so after {HANG} s: {what}"
        time.sleep(0.02)


def keep(cluster: Cluster, name: str) -> None:
    admin(cluster).create("ConfigMap", {"metadata": {"name": name}, "data": {"kept": "yes"}})


def kept(cluster: Cluster, name: str) -> bool:
    return bool(admin(cluster).get("ConfigMap", name)["data"] == {"kept": "yes"})


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
    if binaries.prepare().version >= SCHEDULER_CONFIG_V1BETA2:  # which has no plain port any more
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
    # The garbage collector begins anew with its API server: the one of 1.20 loses track of custom resources' children.
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


def test_down_leaves_nothing_running_and_the_next_up_has_the_data(other: Cluster) -> None:
    other.up(*CONTROL_PLANE)
    keep(other, "before-down")
    other.down()
    assert processes(other) == []
    assert {status.state for status in other.status().values()} == {"stopped"}
    assert all(map(addresses.is_free, recorded(other).addresses.ports.values()))
    other.up(*CONTROL_PLANE)
    assert kept(other, "before-down")


def test_down_stops_what_runs_even_when_its_record_is_gone(other: Cluster) -> None:
    other.up("etcd")
    other.layout.state.unlink()
    other.down()
    assert processes(other) == []


def test_down_ends_the_processes_of_pods_even_when_the_agent_was_killed(other: Cluster) -> None:
    other.up()
    client = admin(other)
    sleep = {"name": "main", "image": "ignored", "command": ["sleep", "86399"]}
    client.create("Pod", {"metadata": {"name": "sleeper"}, "spec": {"containers": [sleep]}})
    wait_for(lambda: client.get("Pod", "sleeper")["status"].get("phase") == "Running", "the pod to run")
    assert len(sleepers()) == 1
    other.kill("agent")
    assert len(sleepers()) == 1
    other.down()
    assert sleepers() == []
    assert processes(other) == []


def sleepers() -> list[int]:
    """Processes of the test's pod; those that are dead and merely not yet waited for have no command line any more."""
    return [each.pid for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"] == ["sleep", "86399"]]


def test_down_of_a_folder_that_was_never_up_does_nothing(tmp_path: Path) -> None:
    Cluster(tmp_path / "nothing").down()
    assert not (tmp_path / "nothing").exists()


def test_a_component_that_cannot_start_is_named_with_its_log(other: Cluster) -> None:
    torn = other.layout.etcd / "member" / "snap" / "db"
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"not a database")
    with pytest.raises(ClusterError, match=rf"etcd ended before it was ready: .+ \(see {other.layout.log('etcd')}\)"):
        other.up("etcd")


WRITTEN_BY_ETCD_3_5 = (
    "eNpjYQCDFg4WATBDDsJv4mAUmH3463d+KRGO53PX71m3cNXuGIE1rxt/9m08sD2YgYEPpo5V4OPZi1v4pVg4GEAm5ELEmzmYBO61"
    "tO/ikkoGmsQowagUDZKXgJul5F2tlJmiZGVmZmZkZmlhamZsYGJgZmlsaWmoo1SQmloUGuRTrGQVrZRRUlJgpa9vaGSuZwCEhlbG"
    "xsYWBkqxOkp5ibmpSlZKFUq1QAshrmdg4GAW6F56rZFZig1oL4MEIz9EuBHonjNPvwoAhRkEmCSYGGZCxNuB4j9eTX3JJtXHCJZh"
    "Vmpl5Gh8d/388qMvPp9jFGIOCA2RUtM30M9NzU1KLSrWN002N0u0NEhMNbdISk5NNddPLCkpykwqLUktVjKpRjhKRyk5JzM1rwSf"
    "P8wtlWJrNRiMGCwYPBgCGCIYEhgyGAoYKhgaGKHeYZBA+Ov7lP52Fik+oIvhoSjB7AOLPyaBWYenbuSXcgJ7g0XJiqMFzRdcQF+U"
    "Ab2QmZ+nxGqsZ6pngMdqJHv3z7mwmgnNXhYAdHWQ+A=="
)
"""The log of an etcd 3.5.16 that was started and stopped, by zlib and base64; it has no snapshot."""


def test_data_of_a_newer_etcd_are_told_with_what_to_do(other: Cluster) -> None:
    printed = subprocess.run([binaries.prepare().etcd, "--version"], capture_output=True, text=True, check=True).stdout
    own = printed.split()[2]
    if tuple(map(int, own.split(".")[:2])) >= (3, 5):
        pytest.skip(f"etcd {own} reads what 3.5 wrote")
    log = other.layout.etcd / "member" / "wal" / f"{16 * '0'}-{16 * '0'}.wal"
    log.parent.mkdir(parents=True)
    (other.layout.etcd / "member" / "snap").mkdir()
    log.write_bytes(zlib.decompress(base64.b64decode(WRITTEN_BY_ETCD_3_5)))
    with pytest.raises(ClusterError) as told:
        other.up("etcd")
    data = other.layout.etcd
    assert str(told.value).startswith(f"etcd 3.5 has written the data in {data}, and ")
    assert f"is etcd {own}, which does not read what a newer one wrote. Put etcd 3.5 or newer on PATH" in str(
        told.value
    )
    assert f"remove {data} (see {other.layout.log('etcd')})" in str(told.value)


@pytest.mark.parametrize(
    ("line", "versions"),
    [
        (
            '{"level":"fatal","ts":"2026-11-30T03:22:53.833Z","caller":"membership/cluster.go:795","msg":"invalid '
            'downgrade; server version is lower than determined cluster version","current-server-version":"3.5.16",'
            '"determined-cluster-version":"3.6","stacktrace":"go.etcd.io/etcd"}',
            ("3.6", "3.5.16"),
        ),
        (
            "2017-10-16 21:07:10.975303 C | membership: cluster cannot be downgraded (current version: 3.0.17 is lower "
            "than determined cluster version: 3.1).",
            ("3.1", "3.0.17"),
        ),
        ('{"level":"fatal","msg":"discovery failed","error":"listen tcp 127.0.0.1:33380: bind"}', None),
    ],
)
def test_only_etcds_words_of_newer_data_are_explained(line: str, versions: tuple[str, str] | None) -> None:
    said = etcd_data.explained(line, "/usr/bin/etcd", Path("/data"))
    if versions is None:
        assert said is None
    else:
        assert said is not None
        assert said.startswith(
            f"etcd {versions[0]} has written the data in /data, and /usr/bin/etcd is etcd {versions[1]}"
        )


def test_unknown_components_are_refused_with_the_known_ones(other: Cluster) -> None:
    with pytest.raises(ValueError, match="unknown components kubelet; there are etcd, apiserver"):
        other.up("kubelet")


def granted() -> set[tuple[str, str, str]]:
    """Group, resource and verb of all that the chart's role grants."""
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


def recorded(cluster: Cluster) -> state.State:
    current = state.load(cluster.layout.state)
    assert current is not None
    return current


def test_the_record_says_where_everything_is(up: Cluster) -> None:
    content = json.loads((up.directory / "cluster.json").read_text())
    assert content["server"] == f"https://127.0.0.1:{content['ports']['apiserver']}"
    assert set(content["processes"]) == set(CONTROL_PLANE)
    assert up.metrics_url == f"http://127.0.0.1:{content['ports']['metrics']}/metrics"
