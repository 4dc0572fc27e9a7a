"""A service's settings change while it serves."""

from __future__ import annotations

import json

from tests.cluster.support import Kube, Object, condition, digits, is_true


def change(kube: Kube, spec: Object) -> None:
    assert kube.kubectl("patch", "tsm", "set", "--type=merge", "-p", json.dumps({"spec": spec})).returncode == 0


def test_a_setting_that_no_node_can_meet_is_told_while_the_old_one_goes_on_serving(kube: Kube) -> None:
    kube.create("TrainJob", "set", digits(output={"model": "set"}))
    assert is_true(kube.finished("set"), "Complete")
    kube.create("ModelServe", "set", {"model": {"trainJob": "set"}})
    kube.wait("ModelServe", "set", lambda serve: condition(serve, "Progressing").get("reason") == "UpToDate")

    change(kube, {"resources": {"cpu": 1000.5}})
    serve = kube.wait("ModelServe", "set", lambda serve: condition(serve, "Progressing")["reason"] == "Unschedulable")
    assert "cpu" in condition(serve, "Progressing")["message"]
    assert (is_true(serve, "Ready"), serve["status"]["phase"]) == (True, "Degraded")
    assert [pod["status"]["phase"] for pod in kube.pods(modelserve="set") if "nodeName" in pod["spec"]] == ["Running"]

    change(kube, {"resources": {"cpu": None}})
    serve = kube.wait("ModelServe", "set", lambda serve: condition(serve, "Progressing")["reason"] == "UpToDate")
    assert (is_true(serve, "Verified"), serve["status"]["phase"]) == (True, "Ready")
    kube.delete("ModelServe", "set")
