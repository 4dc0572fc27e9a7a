"""Error messages for an invalid manifest: the path as written, the value, what is allowed."""

from typing import Any

import pytest

from tests.operator.manifests import ZOO, modelserve, trainjob
from trainserve.operator.specs import InvalidSpec, parse_modelserve, parse_trainjob


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"trainer": {"batchSize": 0}}, "spec.trainer.batchSize: 0 is not allowed; must be >= 1"),
        ({"trainer": {"learningRate": 0}}, "spec.trainer.learningRate: 0 is not allowed; must be > 0"),
        (
            {"trainer": {"optimizer": "adagrad"}},
            "spec.trainer.optimizer: \"adagrad\" is not allowed; must be 'adam', 'adamw' or 'sgd'",
        ),
        ({"trainer": {"epochs": "5"}}, 'spec.trainer.epochs: "5" is not allowed; must be a valid integer'),
        ({"trainer": {"epochs": True}}, "spec.trainer.epochs: true is not allowed; must be a valid integer"),
        (
            {"trainer": {"batchsize": 8}},
            "spec.trainer.batchsize: unknown field; did you mean 'batchSize'? "
            "allowed: accumulate, augment, batchSize, ema, epochs, labelSmoothing, learningRate, momentum, "
            "optimizer, precision, schedule, seed, weightDecay",
        ),
        ({"trainer": 5}, "spec.trainer: 5 is not allowed; must be an object"),
        ({"trainer": {"momentum": 1.0}}, "spec.trainer.momentum: 1.0 is not allowed; must be < 1"),
        (
            {"trainer": {"schedule": "linear"}},
            "spec.trainer.schedule: \"linear\" is not allowed; must be 'constant', 'cosine' or 'onecycle'",
        ),
        (
            {"trainer": {"batchSize": 4, "accumulate": 8}},
            'spec.trainer: accumulate must be at most batchSize, but it is {"batchSize": 4, "accumulate": 8}',
        ),
        ({"trainer": {"augment": {"crop": -1}}}, "spec.trainer.augment.crop: -1 is not allowed; must be >= 0"),
        (
            {"dataset": {"name": "digits", "size": [28]}},
            "spec.dataset.size: [28] is not allowed; must have at least 2 items after validation, not 1",
        ),
        (
            {"dataset": {"name": "digits", "size": [28, 0]}},
            "spec.dataset.size[1]: 0 is not allowed; must be >= 1",
        ),
        (
            {"dataset": {"name": "digits", "digest": "sha256:" + 64 * "a"}},
            "spec.dataset: digest can only be set together with uri, but it is "
            '{"name": "digits", "digest": "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...',
        ),
        (
            {"dataset": {"uri": "s3://user:secret@bucket/x.npz"}},
            'spec.dataset.uri: "s3://user:secret@bucket/x.npz" is not allowed; must match pattern '
            r"'^(pvc|s3|https)://[^/@\s]+/\S+$'",
        ),
        (
            {"model": {"name": "convnet", "pretrained": {"uri": "file:///weights.pt"}}},
            'spec.model.pretrained.uri: "file:///weights.pt" is not allowed; must match pattern '
            r"'^(pvc|s3|https)://[^/@\s]+/\S+$'",
        ),
        (
            {"model": {"script": "train.py", "freeze": ["*"]}},
            "spec.model: options, pretrained and freeze can only be set together with name or a script's function, "
            'but it is {"script": "train.py", "freeze": ["*"]}',
        ),
        ({"export": {"topK": 0}}, "spec.export.topK: 0 is not allowed; must be >= 1"),
        ({"log": {"format": "xml"}}, "spec.log.format: \"xml\" is not allowed; must be 'auto' or 'json'"),
        ({"energy": {"gridIntensity": -1}}, "spec.energy.gridIntensity: -1 is not allowed; must be >= 0"),
        ({"gates": {"minAccuracy": 1.5}}, "spec.gates.minAccuracy: 1.5 is not allowed; must be <= 1"),
        ({"resources": {"gpus": -1}}, "spec.resources.gpus: -1 is not allowed; must be >= 0"),
        (
            {"resources": {"gpu": {"minMemory": "40Gi"}}},
            'spec.resources: gpu can only be set where gpus is at least 1, but it is {"gpu": {"minMemory": "40Gi"}}',
        ),
        (
            {"resources": {"tolerations": [{"key": "a"}, {"key": "b", "effect": "Never"}]}},
            'spec.resources.tolerations[1].effect: "Never" is not allowed; must be '
            "'NoSchedule', 'PreferNoSchedule' or 'NoExecute'",
        ),
        (
            {"resources": {"tolerations": [{"key": "gpu", "operator": "Exists", "value": "yes"}]}},
            "spec.resources.tolerations[0]: value must be unset where operator is Exists, but it is "
            '{"key": "gpu", "operator": "Exists", "value": "yes"}',
        ),
        (
            {"resources": {"tolerations": [{}]}},
            "spec.resources.tolerations[0]: operator must be Exists where key is unset, but it is {}",
        ),
        (
            {"resources": {"nodeSelector": {"zone": "two words"}}},
            'spec.resources.nodeSelector.zone: "two words" is not allowed; must match pattern '
            "'^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$'",
        ),
        (
            {"resources": {"nodeSelector": {"a/b/c": "d"}}},
            'spec.resources.nodeSelector.a/b/c: "a/b/c" is not allowed; must match pattern '
            "'^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
            "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'",
        ),
        ({"resources": {"cpu": -0.5}}, "spec.resources.cpu: -0.5 is not allowed; must not be negative"),
        (
            {"resources": {"memory": "4GB"}},
            'spec.resources.memory: "4GB" is not allowed; must be a quantity as in a Pod: a number, then nothing, '
            "one of n u m k M G T P E Ki Mi Gi Ti Pi Ei, or an exponent such as e9",
        ),
        (
            {"resources": {"memory": "1e400"}},
            'spec.resources.memory: "1e400" is not allowed; must be at most 9223372036854775807 bytes (2^63-1), which '
            "is what Kubernetes can count",
        ),
        (
            {"pod": {"labels": {"trainserve.io/trainjob": "other"}}},
            'spec.pod.labels.trainserve.io/trainjob: "trainserve.io/trainjob" is not allowed; must be another name: '
            "this one is the operator's own",
        ),
        (
            {"pod": {"annotations": {"a": "b" * 300_000}}},
            f'spec.pod.annotations: {{"a": "{70 * "b"}... is not allowed; '
            "must have at most 245760 bytes in all, not 300001",
        ),
        ({"resources": {"cpu": True}}, "spec.resources.cpu: true is not allowed; must be a valid string"),
        (
            {"resources": {"nodeSelector": {"zone": 1}}},
            "spec.resources.nodeSelector.zone: 1 is not allowed; must be a valid string",
        ),
        (
            {"workers": {"processesPerNode": "two"}},
            "spec.workers.processesPerNode: \"two\" is not allowed; must be a valid integer or must be 'auto'",
        ),
        (
            {"model": {"name": "convnet", "command": ["true"]}},
            "spec.model: exactly one of name, script, command must be set, "
            'but it is {"name": "convnet", "command": ["true"]}',
        ),
        (
            {"dataset": {"name": "digits", "uri": "pvc://data/a.npz"}},
            "spec.dataset: exactly one of name, uri must be set, "
            'but it is {"name": "digits", "uri": "pvc://data/a.npz"}',
        ),
        (
            {"dataset": {"uri": "pvc://data/../other/a.npz"}},
            "spec.dataset: uri must not contain '..' as a path segment, "
            'but it is {"uri": "pvc://data/../other/a.npz"}',
        ),
        (
            {"output": {"model": "Digits"}},
            "spec.output.model: \"Digits\" is not allowed; must match pattern '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'",
        ),
        ({"output": {}}, "spec.output.model: required"),
        (
            {"epochs": 5},
            "spec.epochs: unknown field; allowed: checkpoint, dataset, energy, export, gates, log, model, output, "
            "pod, policy, resources, trainer, workers",
        ),
    ],
)
def test_a_bad_trainjob_is_told_where_and_what_is_allowed(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        parse_trainjob(trainjob(**change))
    assert refused.value.problems == (problem,)


@pytest.mark.parametrize("missing", ["dataset", "output"])
def test_a_zoo_model_needs(missing: str) -> None:
    spec = {field: value for field, value in ZOO.items() if field != missing}
    with pytest.raises(InvalidSpec, match=f"^spec: {missing} is required to train a zoo model"):
        parse_trainjob({"metadata": {"name": "digits"}, "spec": spec})


@pytest.mark.parametrize("script", ["train.sh", "pvc://code", "s3://code/train.py", "train.py:1", "a b.py", ":f"])
def test_a_script_is_a_python_file_in_a_place_that_can_be_mounted(script: str) -> None:
    with pytest.raises(InvalidSpec, match=r"^spec\.model\.script: .* must match pattern"):
        parse_trainjob(trainjob(model={"script": script}))


@pytest.mark.parametrize("script", ["../net.py", "pvc://code/../net.py", "/srv/../net.py:f"])
def test_a_script_stays_inside_its_place(script: str) -> None:
    with pytest.raises(InvalidSpec, match=r"must not contain '..' as a path segment"):
        parse_trainjob(trainjob(model={"script": script}))


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ({"args": ["a"]}, r"args and env can only be set together with a script that names no function"),
        ({"script": "a.py:f", "env": [{"name": "A"}]}, r"args and env can only be set together with a script that"),
        ({"script": "a.py", "env": [{"name": "A"}, {"name": "A"}]}, r"env must not have a name twice"),
        ({"script": "a.py", "env": [{"name": "1A"}]}, r"^spec\.model\.env\[0\]\.name: .*1A.* must match pattern"),
        ({"script": "a.py", "env": [{"name": "A", "value": 1}]}, r"^spec\.model\.env\[0\]\.value: "),
    ],
)
def test_arguments_and_variables_are_a_whole_scripts(model: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidSpec, match=complaint):
        parse_trainjob(trainjob(model={"name": "convnet", **model} if "script" not in model else model))


@pytest.mark.parametrize(
    "name",
    ["TRAINSERVE_STORE", "PET_NNODES", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "POD_IP", "AWS_PROFILE"],
)
def test_a_variable_of_the_runs_own_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidSpec) as error:
        parse_trainjob(trainjob(model={"script": "a.py", "env": [{"name": name, "value": "x"}]}))
    assert str(error.value).startswith("spec.model.env[0]: name must not be one of the run's own (TRAINSERVE_*, ")
    assert name in str(error.value)


@pytest.mark.parametrize("name", ["HOME", "OMP_NUM_THREADS", "PETS", "MY_RANK", "ranks", "WANDB_MODE"])
def test_other_variables_are_the_users(name: str) -> None:
    parse_trainjob(trainjob(model={"script": "a.py", "args": ["--x"], "env": [{"name": name, "value": "x"}]}))


def test_a_function_of_a_script_needs_a_data_set_and_a_whole_script_does_not() -> None:
    parse_trainjob({"metadata": {"name": "own"}, "spec": {"model": {"script": "train.py"}}})
    with pytest.raises(InvalidSpec, match=r"^spec: dataset is required to train a zoo model or what a script's"):
        parse_trainjob({"metadata": {"name": "own"}, "spec": {"model": {"script": "train.py:build"}}})


def test_each_process_has_a_gpu_of_its_own() -> None:
    workers = {"nodes": 1, "processesPerNode": 4}
    parse_trainjob(trainjob(workers=workers))
    parse_trainjob(trainjob(workers=workers, resources={"gpus": 4}))
    with pytest.raises(InvalidSpec, match=r"^spec: workers\.processesPerNode must be at most resources\.gpus"):
        parse_trainjob(trainjob(workers=workers, resources={"gpus": 2}))


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(InvalidSpec) as refused:
        parse_trainjob(trainjob("Digits", trainer={"batchSize": 0, "epochs": 0}))
    assert [problem.split(":")[0] for problem in refused.value.problems] == [
        "metadata.name", "spec.trainer.epochs", "spec.trainer.batchSize",
    ]  # fmt: skip
    assert str(refused.value).splitlines() == list(refused.value.problems)


@pytest.mark.parametrize(
    ("parse", "make", "limit"), [(parse_trainjob, trainjob, 52), (parse_modelserve, modelserve, 40)]
)
def test_a_name_that_leaves_no_room_for_its_children_is_told_the_limit(parse: Any, make: Any, limit: int) -> None:
    parse(make("a" * limit))
    with pytest.raises(
        InvalidSpec, match=rf"^metadata.name: .* has {limit + 1} characters, at most {limit} are allowed"
    ):
        parse(make("a" * (limit + 1)))


@pytest.mark.parametrize("name", ["3d-cnn", "a.b", "a-", "A"])
def test_a_name_that_a_service_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(InvalidSpec, match=r"^metadata\.name: .* must start with a lowercase letter"):
        parse_trainjob(trainjob(name))


def test_an_object_without_a_spec_is_told_what_is_required() -> None:
    with pytest.raises(InvalidSpec) as refused:
        parse_trainjob({"metadata": {"name": "digits"}})
    assert refused.value.problems == ("spec.model: required",)


def test_quantities_may_be_written_as_numbers_as_in_a_pod() -> None:
    spec = parse_trainjob(trainjob(resources={"cpu": 2, "memory": "4Gi"}))
    assert (spec.resources.cpu, spec.resources.memory) == ("2", "4Gi")


def test_defaults_are_filled_in_and_shared_by_no_two_specs() -> None:
    one, other = parse_trainjob(trainjob()), parse_trainjob(trainjob())
    assert (one.trainer.epochs, one.workers.processes_per_node, one.policy.retries) == (5, "auto", 3)
    assert one.trainer is not other.trainer
