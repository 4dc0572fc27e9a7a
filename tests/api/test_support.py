"""Every field that is not implemented yet is refused by name, and no other field is."""

from typing import Any

import pytest

from trainserve.api.support import MODELSERVE_LIMITS, TRAINJOB_LIMITS, unsupported
from trainserve.operator.specs import parse_modelserve, parse_trainjob

ZOO = {"model": {"name": "convnet"}, "dataset": {"name": "digits"}, "output": {"model": "digits"}}
COMMAND = {"model": {"command": ["true"]}}

TRAINJOBS: list[tuple[dict[str, Any], str]] = [
    ({**ZOO, "resources": {"gpus": 1, "gpu": {"mig": "1g.10gb"}}}, "resources.gpu.mig"),
    ({**ZOO, "export": {"dynamicBatch": False}}, "export.dynamicBatch"),
    ({**COMMAND, "dataset": {"name": "digits"}}, "dataset"),
    ({**COMMAND, "trainer": {"epochs": 9}}, "trainer"),
    ({**COMMAND, "checkpoint": {}}, "checkpoint"),
    ({**COMMAND, "export": {"opset": 20}}, "export"),
    ({**COMMAND, "gates": {"minAccuracy": 0.5}}, "gates"),
    ({**COMMAND, "output": {"model": "digits"}}, "output"),
    ({**COMMAND, "energy": {"gridIntensity": 380}}, "energy"),
    ({**COMMAND, "log": {"format": "json"}}, "log"),
    ({**ZOO, "policy": {"suspend": True}}, "policy.suspend"),
    ({**ZOO, "policy": {"activeDeadlineSeconds": 60}}, "policy.activeDeadlineSeconds"),
    ({**ZOO, "policy": {"pendingDeadlineSeconds": 60}}, "policy.pendingDeadlineSeconds"),
    ({**ZOO, "policy": {"ttlSecondsAfterFinished": 60}}, "policy.ttlSecondsAfterFinished"),
]
MODELSERVES: list[tuple[dict[str, Any], str]] = [
    ({"autoscaling": {"max": 3, "target": 2}}, "autoscaling"),
    ({"resources": {"gpus": 1, "gpu": {"mig": "1g.10gb"}}}, "resources.gpu.mig"),
    ({"rollout": {"strategy": "Canary"}}, "rollout.strategy"),
    ({"rollout": {"steps": [10, 50]}}, "rollout.steps"),
    ({"rollout": {"interval": "1m"}}, "rollout.interval"),
]


def trainjob_problems(spec: dict[str, Any]) -> list[str]:
    return unsupported(parse_trainjob({"metadata": {"name": "digits"}, "spec": spec}))


def modelserve_problems(spec: dict[str, Any]) -> list[str]:
    manifest = {"metadata": {"name": "digits"}, "spec": {"model": {"name": "digits"}, **spec}}
    return unsupported(parse_modelserve(manifest))


@pytest.mark.parametrize(("spec", "field"), TRAINJOBS)
def test_what_a_trainjob_cannot_ask_for_yet_is_named(spec: dict[str, Any], field: str) -> None:
    (problem,) = trainjob_problems(spec)
    assert problem.startswith(f"spec.{field}: ")
    assert "is not supported yet; supported now: " in problem


@pytest.mark.parametrize(("spec", "field"), MODELSERVES)
def test_what_a_modelserve_cannot_ask_for_yet_is_named(spec: dict[str, Any], field: str) -> None:
    (problem,) = modelserve_problems(spec)
    assert problem.startswith(f"spec.{field}: ")
    assert "is not supported yet; supported now: " in problem


def test_every_limit_is_tested_here() -> None:
    assert {limit.field for limit in TRAINJOB_LIMITS} == {field for _, field in TRAINJOBS}
    assert {limit.field for limit in MODELSERVE_LIMITS} == {field for _, field in MODELSERVES}


def test_the_message_shows_the_value_as_in_the_manifest() -> None:
    assert trainjob_problems({**ZOO, "policy": {"suspend": True}}) == [
        "spec.policy.suspend: true is not supported yet; supported now: false"
    ]


@pytest.mark.parametrize(
    "spec",
    [
        ZOO,
        COMMAND,
        {"model": {"image": "example.org/train:1", "command": ["python", "train.py"]}, "resources": {"gpus": 1}},
        {**ZOO, "model": {"name": "timm/resnet18", "pretrained": {"uri": "s3://weights/a.safetensors"}}},
        {**ZOO, "model": {"name": "lstm", "options": {"hidden": 64}, "freeze": ["head.*"]}},
        {"model": {"script": "configmap://code/train.py"}, "output": {"model": "digits"}},
        {"model": {"script": "pvc://code/net.py:build", "options": {"width": 8}}, "dataset": {"name": "digits"}},
        {**ZOO, "dataset": {"uri": "pvc://data/folder/digits.npz", "split": {"test": 0.1}}},
        {**ZOO, "dataset": {"uri": "s3://bucket/a.parquet", "digest": "sha256:" + 64 * "a", "format": "parquet"}},
        {**ZOO, "dataset": {"uri": "https://host/pictures.tar", "size": [32, 32], "task": "regression"}},
        {**ZOO, "trainer": {"epochs": 1, "batchSize": 8, "optimizer": "sgd", "learningRate": 0.1, "precision": "bf16"}},
        {**ZOO, "trainer": {"schedule": "cosine", "ema": 0.999, "augment": {"crop": 4, "flip": True}, "accumulate": 2}},
        {**ZOO, "workers": {"nodes": 2, "processesPerNode": 2}},
        {**COMMAND, "workers": {"nodes": 2}},
        {**ZOO, "resources": {"gpus": 8, "gpu": {"product": ["NVIDIA-H200"], "minMemory": "40Gi"}, "cpu": "2"}},
        {**ZOO, "checkpoint": {"everyEpochs": 2, "keep": 1}},
        {**ZOO, "export": {"opset": 20, "parity": {"rtol": 0.01, "atol": 0.0001}}, "gates": {"minAccuracy": 0.9}},
        {**ZOO, "export": {"precision": "int8", "topK": 3, "input": "tensor"}, "gates": {"maxAccuracyDrop": 0.01}},
        {**ZOO, "export": {"precision": "fp16"}, "gates": {"maxLoss": 0.3}},
        {**ZOO, "energy": {"gridIntensity": 380}, "log": {"format": "json"}},
        {**ZOO, "policy": {"retries": 0}},
    ],
)
def test_what_a_trainjob_can_ask_for_is_not_refused(spec: dict[str, Any]) -> None:
    assert trainjob_problems(spec) == []


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"model": {"name": "digits", "version": 3}},
        {"model": {"trainJob": "digits"}},
        {"model": {"uri": "pvc://models/default/digits/1", "digest": "sha256:" + 64 * "a"}},
        {"replicas": 3, "resources": {"cpu": "500m", "memory": "1Gi"}},
        {"model": {"uri": "https://models.example.org/resnet.onnx", "digest": "sha256:" + 64 * "a"}},
        {"triton": {"image": "t:1", "instances": 2, "dynamicBatching": {"maxBatch": 8, "maxQueueDelay": "500us"}}},
        {"triton": {"warmup": True, "responseCache": True, "threads": 4, "overrides": {"optimization": {}}}},
        {"triton": {"dynamicBatching": {"queue": {"size": 8, "timeout": "50ms"}}, "priorities": {"levels": 2}}},
        {"triton": {"rateLimiter": {"resources": {"slots": 1}}, "tensorRT": {}}, "resources": {"gpus": 1}},
        {"rollout": {"strategy": "BlueGreen", "verify": {"samples": 16}}},
    ],
)
def test_what_a_modelserve_can_ask_for_is_not_refused(spec: dict[str, Any]) -> None:
    assert modelserve_problems(spec) == []
