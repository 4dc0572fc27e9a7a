"""The rendered chart, by the real helm."""

import json
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.chart.conftest import CHART, Helm, Manifest, Render, of_kind
from tests.pod_security import violations
from trainserve.api import limits
from trainserve.dev.components import SHARES
from trainserve.operator.crds import modelserve_crd, trainjob_crd
from trainserve.operator.settings import Settings
from trainserve.operator.shares import Shares

ODD = (
    'images={"registry": "registry.example.org/team", "tag": "1.2.3", "pullSecrets": ["registry"]}',
    'images.pullPolicy="Always"',
    'store={"root": "s3://models/production", "secret": "s3-credentials"}',
    'nodeCache={"folder": "/var/cache/models", "size": "20Gi"}',
    'operator={"replicas": 2, "nodeSelector": {"pool": "system"}, "tolerations": [{"operator": "Exists"}]}',
    'operator.logFormat="json"',
    'pods.resources={"probe": {"limits": {"cpu": 1, "memory": "1e9"}}, "triton": {"limits": null}}',
    'pods.scratch="5Gi"',
)


def test_lint_finds_nothing(run_helm: Helm) -> None:
    done = run_helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("settings", [(), ODD], ids=["default", "odd"])
@pytest.mark.parametrize("version", ["1.25", "1.37"])
def test_every_manifest_is_valid_to_the_letter(render: Render, settings: tuple[str, ...], version: str) -> None:
    manifests = render(*settings)
    assert {manifest["kind"] for manifest in manifests} == {
        "CustomResourceDefinition", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding",
        "Deployment", "Service", "ConfigMap",
    }  # fmt: skip
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_role_is_the_one_that_the_tests_run_under(render: Render) -> None:
    role, *_ = of_kind(render(), "ClusterRole")
    assert role["rules"] == yaml.safe_load((CHART / "files" / "operator-role.yaml").read_text())["rules"]


def test_the_role_has_no_wildcard_and_reads_no_secret(render: Render) -> None:
    role, *_ = of_kind(render(), "ClusterRole")
    for rule in role["rules"]:
        assert not {"*", "secrets", "pods/exec", "nodes"} & {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}


def test_the_definitions_are_the_generated_ones_and_outlive_the_release(render: Render) -> None:
    rendered = {crd["metadata"]["name"]: crd for crd in of_kind(render(), "CustomResourceDefinition")}
    for generated in (trainjob_crd(), modelserve_crd()):
        crd = rendered.pop(generated["metadata"]["name"])
        assert crd["spec"] == generated["spec"]
        assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert not rendered


def test_definitions_have_no_cel_where_server_side_apply_would_refuse_it(render: Render) -> None:
    old, new = (
        json.dumps(of_kind(render(kubernetes=version), "CustomResourceDefinition")) for version in ("1.24.9", "1.25.0")
    )
    assert "x-kubernetes-validations" in new
    assert "x-kubernetes-validations" not in old


def test_definitions_can_be_left_to_somebody_else(render: Render) -> None:
    assert not of_kind(render('crds={"install": false}'), "CustomResourceDefinition")


def test_the_operator_runs_without_rights_on_its_node(render: Render) -> None:
    pod = _deployment(render())["spec"]["template"]["spec"]
    assert violations(pod) == []
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize(
    ("settings", "image"),
    [
        ((), "trainserve-serving:0.1.0"),
        (('images.registry="registry.example.org/team"',), "registry.example.org/team/trainserve-serving:0.1.0"),
        (('images.serving="elsewhere/own:1"', 'images.registry="x"'), "elsewhere/own:1"),
        (("images.serving=null",), "trainserve-serving:0.1.0"),
    ],
    ids=["default", "registry", "own", "values-of-a-chart-before"],
)
def test_what_serves_beside_triton_has_an_image_of_its_own(
    render: Render, settings: tuple[str, ...], image: str
) -> None:
    (container,) = _deployment(render(*settings))["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert environment["TRAINSERVE_SERVING_IMAGE"] == image
    assert environment["TRAINSERVE_TRAINER_IMAGE"].endswith("trainserve-trainer:0.1.0")
    assert Settings.from_environment({}).serving_image == "trainserve-serving:0.1.0"


def test_values_reach_the_operator(render: Render) -> None:
    deployment = _deployment(render(*ODD))
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert deployment["spec"]["replicas"] == 2
    assert container["image"] == "registry.example.org/team/trainserve-operator:1.2.3"
    assert container["imagePullPolicy"] == "Always"
    assert environment["TRAINSERVE_TRAINER_IMAGE"] == "registry.example.org/team/trainserve-trainer:1.2.3"
    assert environment["TRAINSERVE_SERVING_IMAGE"] == "registry.example.org/team/trainserve-serving:1.2.3"
    assert environment["TRAINSERVE_STORE"] == "s3://models/production"
    assert environment["TRAINSERVE_STORE_SECRET"] == "s3-credentials"
    assert environment["TRAINSERVE_LEASE_NAMESPACE"] == "trainserve-system"
    assert container["command"][-1] == "--log-format=json"
    shares = Settings.from_environment({"TRAINSERVE_POD_RESOURCES": environment["TRAINSERVE_POD_RESOURCES"]}).shares
    assert shares.probe.limits.model_dump() == {"cpu": "1", "memory": "1e9"}
    assert shares.probe.requests == Shares().probe.requests
    assert shares.triton.limits.model_dump(exclude_none=True) == {}
    assert environment["TRAINSERVE_SCRATCH"] == "5Gi"
    assert environment["TRAINSERVE_NODE_CACHE"] == "/var/cache/models"
    assert environment["TRAINSERVE_NODE_CACHE_SIZE"] == "20Gi"
    assert (pod["nodeSelector"], pod["tolerations"]) == ({"pool": "system"}, [{"operator": "Exists"}])
    (account,) = of_kind(render(*ODD), "ServiceAccount")
    assert account["imagePullSecrets"] == [{"name": "registry"}]


def test_the_charts_shares_are_the_operators_own(render: Render) -> None:
    (container,) = _deployment(render())["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert Settings.from_environment({"TRAINSERVE_POD_RESOURCES": environment["TRAINSERVE_POD_RESOURCES"]}) == (
        Settings.from_environment({})
    )
    settings = Settings.from_environment({"TRAINSERVE_POD_RESOURCES": json.dumps(SHARES)})
    for name, share in Shares():
        assert getattr(settings.shares, name).limits == share.limits, "the development cluster's are others"
    assert {kind: container["resources"][kind].keys() for kind in container["resources"]} == {
        "requests": {"cpu", "memory"},
        "limits": {"cpu", "memory"},
    }


def test_the_service_and_the_binding_find_what_they_name(render: Render) -> None:
    manifests = render()
    deployment = _deployment(manifests)
    (service,), (binding,), (account,), (role, *_) = (
        of_kind(manifests, kind) for kind in ("Service", "ClusterRoleBinding", "ServiceAccount", "ClusterRole")
    )
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    ports = {port["name"] for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == account["metadata"]["name"]
    (subject,) = binding["subjects"]
    assert (subject["name"], subject["namespace"]) == (account["metadata"]["name"], account["metadata"]["namespace"])
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('operator={"replica": 2}', "at '/operator': additional properties 'replica' not allowed"),
        ('operator={"replicas": "two"}', "at '/operator/replicas': got string, want integer"),
        ('operator={"replicas": -1}', "at '/operator/replicas': minimum: got -1, want 0"),
        ('store={"root": "ftp://models"}', "at '/store/root': 'ftp://models' does not match pattern"),
        ('store={"root": "pvc://claim/folder"}', "at '/store/root': 'pvc://claim/folder' does not match pattern"),
        ('images={"pullPolicy": "Sometimes"}', "at '/images/pullPolicy': value must be one of"),
        ('images={"tag": "a b"}', "at '/images/tag': 'a b' does not match pattern"),
        ('crds={"install": "yes"}', "at '/crds/install': got string, want boolean"),
        ('nodeCache={"folder": "cache", "size": "1Gi"}', "at '/nodeCache/folder': 'cache' does not match pattern"),
        ('operator={"logFormat": "xml"}', "at '/operator/logFormat': value must be one of 'plain', 'json'"),
        ('monitoring={"enabled": "yes"}', "at '/monitoring/enabled': value must be one of 'auto', true, false"),
        ('monitoring={"interval": "15"}', "at '/monitoring/interval': '15' does not match pattern"),
        ('monitoring={"interval": "5m"}', "at '/monitoring/interval': '5m' does not match pattern"),
        ('monitoring={"interval": "61s"}', "at '/monitoring/interval': '61s' does not match pattern"),
        ('monitoring={"interval": "0s"}', "at '/monitoring/interval': '0s' does not match pattern"),
        ('monitoring={"enabled": true, "annotations": true}', "at '/monitoring/annotations': value must be false"),
        ('monitoring={"runbooks": "docs"}', "at '/monitoring/runbooks': 'docs' does not match pattern"),
        ('monitoring={"gridIntensity": -1}', "at '/monitoring/gridIntensity': minimum: got -1, want 0"),
        ('monitoring={"dashboards": {"label": "a b"}}', "at '/monitoring/dashboards/label': 'a b' does not match"),
        ('pods={"resources": {"prober": {}}}', "additional properties 'prober' not allowed"),
        ('pods={"resources": {"probe": {"limits": {"cpu": "many"}}}}', "/cpu': 'many' does not match pattern"),
        ('pods={"resources": {"probe": {"requests": {"cpu": -1}}}}', "/cpu': minimum: got -1, want 0"),
        ("extra=1", "additional properties 'extra' not allowed"),
    ],
)
def test_a_bad_value_is_refused_by_name(run_helm: Helm, setting: str, said: str) -> None:
    done = run_helm("template", "trainserve", str(CHART), "--set-json", setting)
    assert done.returncode != 0
    assert said in done.stderr


def test_an_older_kubernetes_is_refused(run_helm: Helm) -> None:
    done = run_helm("template", "trainserve", str(CHART), "--kube-version", "1.19.16")
    assert done.returncode != 0
    assert "chart requires kubeVersion: >=1.20.0-0" in done.stderr


def _deployment(manifests: list[Manifest]) -> dict[str, Any]:
    (deployment,) = of_kind(manifests, "Deployment")
    return deployment


def test_the_charts_bounds_are_those_that_hold_without_it(render: Render) -> None:
    (container,) = _deployment(render())["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert limits.parse(environment["TRAINSERVE_LIMITS"]) == limits.parse("{}")
    assert environment["TRAINSERVE_SCRATCH"] == Settings.from_environment({}).scratch
    (said,) = of_kind(render('limits={"picture": 1000, "samples": "1Mi"}'), "Deployment")
    (told,) = [each for each in said["spec"]["template"]["spec"]["containers"][0]["env"] if "LIMITS" in each["name"]]
    assert limits.parse(told["value"]).picture == 1000


def test_the_operator_is_told_who_it_and_prometheus_are(render: Render) -> None:
    def peers(*settings: str) -> Any:
        deployment = _deployment(render(*settings))
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        environment = {entry["name"]: entry.get("value") or "" for entry in container["env"]}
        return deployment, Settings.from_environment(environment).peers

    deployment, found = peers()
    (operator,) = found.operator
    assert operator.namespace_selector.match_labels == {"kubernetes.io/metadata.name": "trainserve-system"}
    assert operator.pod_selector.match_labels.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert [each.pod_selector.match_labels for each in found.prometheus] == [{"app.kubernetes.io/name": "prometheus"}]
    assert peers('networkPolicies={"enabled": false}')[1] is None
