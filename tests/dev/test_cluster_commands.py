"""The components' command lines as tables, and whether the real programs know these flags."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from trainserve.dev import binaries, controlplane
from trainserve.dev.addresses import Addresses, block
from trainserve.dev.binaries import Binaries
from trainserve.dev.components import COMPONENTS, SHARES, Components, Layout, node_is_ready, with_needs
from trainserve.dev.pki import Pki

ADDRESSES = Addresses(3, block(3))
PKI = Pki(Path("/c/pki"))
CONFIG = Path("/c/kubeconfig")


def programs(version: tuple[int, int] = (1, 20), no_fsync: bool = True) -> Binaries:
    return Binaries(Path("/k"), Path("/e/etcd"), version, no_fsync)


def commands(version: tuple[int, int] = (1, 20), no_fsync: bool = True) -> dict[str, list[str]]:
    found = programs(version, no_fsync)
    return {
        "etcd": controlplane.etcd(found, PKI, ADDRESSES, Path("/c/etcd")),
        "kube-apiserver": controlplane.apiserver(found, PKI, ADDRESSES),
        "kube-controller-manager": controlplane.controller_manager(found, PKI, ADDRESSES, CONFIG),
        "kube-scheduler": controlplane.scheduler(found, ADDRESSES, CONFIG, Path("/c/scheduler.json")),
    }


@pytest.mark.parametrize(
    ("program", "flag"),
    [
        ("etcd", "--listen-client-urls=https://127.0.0.1:20048"),
        ("etcd", "--client-cert-auth"),
        ("etcd", "--unsafe-no-fsync"),
        ("kube-apiserver", "--bind-address=127.0.0.1"),
        ("kube-apiserver", "--secure-port=20050"),
        ("kube-apiserver", "--authorization-mode=RBAC"),
        ("kube-apiserver", "--endpoint-reconciler-type=none"),
        ("kube-apiserver", "--advertise-address=127.0.0.1"),
        ("kube-apiserver", "--service-cluster-ip-range=127.96.48.0/20"),
        ("kube-apiserver", "--token-auth-file=/c/pki/tokens.csv"),
        ("kube-apiserver", "--service-account-signing-key-file=/c/pki/service-accounts.key"),
        ("kube-apiserver", "--kubelet-client-certificate=/c/pki/kubelet-client.crt"),
        ("kube-controller-manager", "--controllers=*,-endpoint,-endpointslice,-endpointslicemirroring"),
        ("kube-controller-manager", "--leader-elect=false"),
        ("kube-controller-manager", "--use-service-account-credentials"),
        ("kube-controller-manager", "--root-ca-file=/c/pki/ca.crt"),
        ("kube-controller-manager", "--node-monitor-grace-period=50s"),
        ("kube-scheduler", "--config=/c/scheduler.json"),
    ],
)
def test_a_component_is_started_with(program: str, flag: str) -> None:
    assert flag in commands()[program]


@pytest.mark.parametrize(
    ("version", "expected"), [((1, 20), True), ((1, 23), True), ((1, 24), False), ((1, 33), False)]
)
@pytest.mark.parametrize("program", ["kube-controller-manager", "kube-scheduler"])
def test_the_insecure_port_is_closed_where_it_exists(program: str, version: tuple[int, int], expected: bool) -> None:
    assert ("--port=0" in commands(version)[program]) is expected


def test_an_etcd_without_the_flag_is_not_given_it() -> None:
    assert "--unsafe-no-fsync" not in commands(no_fsync=False)["etcd"]


def test_nothing_listens_beyond_loopback() -> None:
    every = [argument for command in commands().values() for argument in command]
    hosts = {host for argument in every for host in re.findall(r"https?://([\w.]+):\d", argument)}
    assert hosts == {"127.0.0.1"}
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        assert "--bind-address=127.0.0.1" in commands()[name]


@pytest.mark.parametrize(
    ("version", "api", "plain_http"),
    [((1, 20), "v1beta1", "127.0.0.1:20053"), ((1, 22), "v1beta2", None), ((1, 25), "v1", None), ((1, 33), "v1", None)],
)
def test_the_schedulers_settings_are_of_a_version_that_it_serves(
    version: tuple[int, int], api: str, plain_http: str | None
) -> None:
    settings = controlplane.scheduler_config(version, ADDRESSES, CONFIG)
    assert settings["apiVersion"] == f"kubescheduler.config.k8s.io/{api}"
    assert settings.get("healthzBindAddress") == settings.get("metricsBindAddress") == plain_http


@pytest.mark.parametrize(
    ("asked", "brought_up"),
    [
        (["etcd"], ["etcd"]),
        (["scheduler"], ["etcd", "apiserver", "scheduler"]),
        (["operator", "etcd"], ["etcd", "apiserver", "operator"]),
        (COMPONENTS, list(COMPONENTS)),
    ],
)
def test_what_a_component_needs_comes_up_before_it(asked: list[str], brought_up: list[str]) -> None:
    assert with_needs(asked) == brought_up


def test_the_operator_runs_as_its_service_account_with_the_store_of_the_cluster(tmp_path: Path) -> None:
    operator = Components(Layout(tmp_path / "c"), ADDRESSES, programs(), 2).component("operator")
    assert operator.command[1:6] == ["-m", "kopf", "run", "-m", "trainserve.operator.main"]
    assert "--all-namespaces" in operator.command
    assert operator.environment == {
        "KUBECONFIG": f"{tmp_path}/c/operator.kubeconfig",
        "TRAINSERVE_STORE": f"file://{tmp_path}/c/store",
        "TRAINSERVE_STORE_SECRET": "trainserve-store",
        "TRAINSERVE_METRICS_ADDRESS": f"127.0.0.1:{ADDRESSES.ports['metrics']}",
        "TRAINSERVE_LEASE_NAMESPACE": "trainserve-system",
        "TRAINSERVE_POD_RESOURCES": json.dumps(SHARES),
        "TRAINSERVE_NETWORK_POLICIES": json.dumps({"operator": [], "prometheus": []}),
    }


@pytest.mark.parametrize(
    ("conditions", "ready"),
    [
        ([], False),
        ([{"type": "Ready", "status": "False"}], False),
        ([{"type": "MemoryPressure", "status": "True"}, {"type": "Ready", "status": "Unknown"}], False),
        ([{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"}], True),
    ],
)
def test_a_node_is_ready_when_its_condition_says_so(conditions: list[dict[str, str]], ready: bool) -> None:
    assert node_is_ready(json.dumps({"items": [{"status": {"conditions": conditions}}]}).encode()) is ready


def test_an_api_server_that_does_not_answer_has_no_ready_node() -> None:
    assert not node_is_ready(None)


@pytest.mark.cluster
@pytest.mark.parametrize("program", binaries.PROGRAMS)
def test_the_real_programs_know_every_flag(program: str) -> None:
    found = binaries.prepare()
    known = subprocess.run([found.program(program), "--help"], capture_output=True, text=True, check=True).stdout
    command = controlplane_command(found, program)
    flags = {argument.split("=")[0] for argument in command[1:]}
    assert {flag for flag in flags if not re.search(rf"^\s+{flag}\b", known, re.MULTILINE)} == set()


def controlplane_command(found: Binaries, program: str) -> list[str]:
    return commands(found.version, found.etcd_skips_fsync)[program]
