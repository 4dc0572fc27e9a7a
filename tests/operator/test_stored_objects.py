"""Property test: every object of our kinds that a server may store is either planned for or refused with a message.

This holds under the current schema and under earlier ones. `TRAINSERVE_STORED_OBJECTS=20000` draws that many of each
kind, which takes minutes.
"""

from __future__ import annotations

import os
from copy import deepcopy
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.operator.serving import FIRST
from tests.operator.support import NOW, RUNNING, SETTINGS, command_job, created, ended, pod_of, trainjob
from trainserve.operator.cache import ABRIDGED, trim
from trainserve.operator.modelserve.observed import Observed as ServeObserved
from trainserve.operator.modelserve.plan import plan as plan_modelserve
from trainserve.operator.objects import Object
from trainserve.operator.trainjob.observed import Observed
from trainserve.operator.trainjob.plan import plan as plan_trainjob

STORED = settings(
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    max_examples=int(os.environ.get("TRAINSERVE_STORED_OBJECTS", "50")),
    suppress_health_check=list(HealthCheck),
    database=None,
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["1" * 26, "9" * 40 + "n", "1." + "0" * 60, "1e999999", "", "True", "../..", "x" * 5000])
)
NESTED = st.integers(1, 60).flatmap(lambda depth: st.sampled_from([_nested(depth, kind) for kind in (list, dict)]))
ANY = (
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    )
    | NESTED
)
SPECS: dict[str, list[Object]] = {
    "TrainJob": [
        trainjob()["spec"],
        command_job()["spec"],
        trainjob(
            model={"name": "timm/resnet10t", "options": {"width": 32, "layers": [2, 2]}},
            dataset={"name": "synthetic", "options": {"shape": [8, 8, 1]}},
            workers={"nodes": 2, "processesPerNode": "auto"},
            resources={
                "gpus": 1,
                "gpu": {"minMemory": "16Gi"},
                "cpu": "2",
                "memory": "4Gi",
                "nodeSelector": {"a": "b"},
            },
            checkpoint={"everyEpochs": 1},
            pod={"labels": {"a": "b"}, "annotations": {"c": "d"}},
            policy={"retries": 1},
        )["spec"],
    ],
    "ModelServe": [
        {"model": {"name": "digits"}},
        {"model": {"trainJob": "one"}, "replicas": 2, "slo": {"p99": "20ms"}},
        {
            "model": {"name": "digits", "version": 1},
            "resources": {"cpu": "2", "memory": "4Gi", "tolerations": [{"key": "a", "operator": "Exists"}]},
            "triton": {"overrides": {"parameters": {"key": {"string_value": "x"}}}, "dynamicBatching": {"maxBatch": 8}},
            "rollout": {"strategy": "BlueGreen", "verify": {"samples": 4}},
        },
    ],
}
STATUSES: list[Object] = [
    {},
    {"phase": "Running", "attempts": [{"number": 1, "pods": ["digits-1-0"], "startTime": "2026-11-22T16:00:00Z"}]},
    {
        "phase": "Failed",
        "conditions": [
            {
                "type": "Failed",
                "status": "True",
                "reason": "UserError",
                "message": "m",
                "lastTransitionTime": "2026-11-22T16:00:00Z",
            }
        ],
        "attempts": [{"number": 1, "startTime": "2026-11-22T16:00:00Z", "completionTime": "2026-11-22T16:00:10Z"}],
        "specDigests": {"model": "abc"},
        "history": [{"version": 1, "digest": "sha256:ab", "time": "2026-11-22T16:00:00Z"}],
        "tuning": {"key": "k", "held": True, "instances": 2},
    },
]


def _nested(depth: int, kind: type) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in `value`, outermost first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for name, each in inner for place in places(each, (*path, name))]


@st.composite
def edited(draw: st.DrawFn, value: Object) -> Object:
    """Return a copy with up to three of its parts replaced, removed or added at random."""
    whole: Any = {"root": deepcopy(value)}
    for _ in range(draw(st.integers(0, 3))):
        *path, last = draw(st.sampled_from(places(whole)))
        at: Any = whole
        for step in path:
            at = at[step]
        match draw(st.sampled_from(["replace", "replace", "remove", "add"])):
            case "remove" if path:
                del at[last]
            case "add" if isinstance(at[last], dict):
                at[last][draw(st.sampled_from(["options", "memory", "cpu", "another"]) | st.text(max_size=5))] = draw(
                    ANY
                )
            case _ if path or isinstance(whole["root"], dict):
                at[last] = draw(ANY)
    root = whole.get("root")
    return root if isinstance(root, dict) else {}


def told(status: Object) -> Object:
    """Return the condition Accepted, which always exists and carries a reason and a message."""
    (accepted,) = (each for each in status["conditions"] if each["type"] == "Accepted")
    assert accepted["message"] and accepted["reason"] and accepted["reason"] != "Internal"
    assert status["phase"]
    return dict(accepted)


@STORED
@given(st.data())
def test_a_stored_trainjob_is_planned_for_or_refused_in_words(data: st.DataObject) -> None:
    job = trainjob()
    job["spec"] = data.draw(st.sampled_from(SPECS["TrainJob"]).flatmap(edited))
    job["status"] = data.draw(st.sampled_from(STATUSES).flatmap(edited))
    first = plan_trainjob(Observed.of(trainjob(), []), SETTINGS, NOW)
    node = data.draw(st.sampled_from([RUNNING, ended(0), ended(1, "no"), {}]))
    pods = [pod_of(wanted, node) for wanted in created(first, "Pod")] if data.draw(st.booleans()) else []
    for pod in pods:
        pod["metadata"]["labels"] = data.draw(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2))
    planned = plan_trainjob(Observed.of(job, pods), SETTINGS, NOW)
    accepted = told(planned.status)
    fresh = not pods and not job["status"]
    assert not fresh or bool(created(planned, "Pod")) == (accepted["status"] == "True")
    assert trim("TrainJob", job).get("spec") == job["spec"] or ABRIDGED in trim("TrainJob", job)


@STORED
@given(st.data())
def test_a_stored_modelserve_is_planned_for_or_refused_in_words(data: st.DataObject) -> None:
    spec = data.draw(st.sampled_from(SPECS["ModelServe"]).flatmap(edited))
    serve = trainjob(name="web") | {"kind": "ModelServe", "spec": spec}
    serve["status"] = data.draw(st.sampled_from(STATUSES).flatmap(edited))
    planned = plan_modelserve(
        ServeObserved.of(serve, [], {}, [FIRST], lambda model, version: None, "v1"), SETTINGS, NOW
    )
    accepted = told(planned.status)
    assert accepted["status"] == "True" or not (planned.create or planned.apply)
    assert trim("ModelServe", serve).get("spec") == spec or ABRIDGED in trim("ModelServe", serve)
