"""Unknown names are refused at apply, before any pod is created."""

from __future__ import annotations

from typing import Any

import pytest

from tests.operator.support import Run, condition, trainjob

BAD = [
    ({"model": {"name": "resnet81"}}, "spec.model.name: 'resnet81' is unknown; did you mean 'resnet18' or "),
    ({"model": {"name": "rnn"}}, "spec.model.name: 'rnn' is refused: PyTorch exports a plain RNN with its number of"),
    ({"model": {"name": "timm/"}}, "spec.model.name: 'timm/' is unknown; did you mean 'timm/<name>'"),
    (
        {"model": {"name": "lstm", "options": {"hiddenn": 8}}},
        "spec.model.options.hiddenn: unknown field; did you mean 'hidden'? allowed: bidirectional, hidden, layers",
    ),
    (
        {"model": {"name": "convnet", "options": {"channels": 0}}},
        "spec.model.options.channels: 0 is not allowed; must be >= 1",
    ),
    (
        {"model": {"name": "timm/resnet10t", "options": {"num_classes": 3}}},
        "spec.model.options.num_classes: not allowed; the data set's labels determine it",
    ),
    ({"dataset": {"name": "digit"}}, "spec.dataset.name: 'digit' is unknown; did you mean 'digits'? known: digits, "),
    (
        {"dataset": {"name": "digits", "options": {"classes": 3}}},
        "spec.dataset.options: classes is not allowed; digits",
    ),
    ({"dataset": {"name": "digits", "task": "regression"}}, "spec.dataset.task: 'regression' is not allowed; digits"),
    (
        {"dataset": {"name": "synthetic", "options": {"targets": 3}}},
        "spec.dataset.options.targets: unknown field; allowed: classes, samples, shape",
    ),
    (
        {"dataset": {"uri": "s3://b/x", "format": "parquet", "options": {"img": "a"}}},
        "spec.dataset.options.img: unknown field; did you mean 'image'? allowed: config, image, label",
    ),
    (
        {"dataset": {"uri": "s3://b/x", "format": "npz", "options": {"image": "a"}}},
        "spec.dataset.options: image is not allowed; format npz takes none",
    ),
    (
        {"trainer": {"momentum": 0.5}},
        "spec.trainer.momentum: 0.5 is not allowed with optimizer adam; used by sgd only",
    ),
]


@pytest.mark.parametrize(("spec", "said"), BAD, ids=[str(spec)[:60] for spec, _ in BAD])
def test_it_is_refused_with_what_there_is_and_no_pod_is_made(spec: dict[str, Any], said: str) -> None:
    run = Run(trainjob(**spec))
    plan = run.step()
    accepted = condition(run.status, "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "Invalid")
    assert accepted["message"].startswith(said)
    assert plan.create == []


@pytest.mark.parametrize(
    "spec",
    [
        {"trainer": {"momentum": 0.9}},  # as a server that fills in defaults stores it
        {"trainer": {"optimizer": "sgd", "momentum": 0.5}},
        {"model": {"name": "timm/whatever_there_is", "options": {"drop_rate": 0.1}}},
        {"model": {"name": "resnet9", "options": {"width": 32}}},
        {"model": {"script": "/opt/net.py:build", "options": {"anything": 1}}},
        {"dataset": {"name": "synthetic", "task": "regression", "options": {"targets": 3}}},
        {"dataset": {"uri": "s3://b/folder", "options": {"image": "picture"}}},
    ],
)
def test_what_only_the_pod_can_know_is_left_to_it(spec: dict[str, Any]) -> None:
    run = Run(trainjob(**spec))
    assert [wanted["kind"] for wanted in run.step().create if wanted["kind"] == "Pod"] == ["Pod"]
    assert condition(run.status, "Accepted")["status"] == "True"
