"""What a user reads about a bad manifest: the path as written, the value, what is allowed."""

from typing import Any

import pytest

from trainserve.api.validate import InvalidSpec, parse_modelserve, parse_trainjob

ZOO = {"model": {"name": "convnet"}, "dataset": {"name": "digits"}, "output": {"model": "digits"}}


def trainjob(name: str = "digits", **changes: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {**ZOO, **changes}}


def modelserve(name: str = "digits", **changes: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"model": {"name": "digits"}, **changes}}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"trainer": {"batchSize": 0}}, "spec.trainer.batchSize: 0 must be greater than or equal to 1"),
        ({"trainer": {"learningRate": 0}}, "spec.trainer.learningRate: 0 must be greater than 0"),
        ({"trainer": {"optimizer": "adagrad"}}, "spec.trainer.optimizer: \"adagrad\" must be 'adam', 'adamw' or 'sgd'"),
        ({"trainer": {"epochs": "5"}}, 'spec.trainer.epochs: "5" must be a valid integer'),
        ({"trainer": {"epochs": True}}, "spec.trainer.epochs: true must be a valid integer"),
        (
            {"trainer": {"batchsize": 8}},
            "spec.trainer.batchsize: unknown field; did you mean batchSize? "
            "allowed here: batchSize, epochs, learningRate, optimizer, precision, seed",
        ),
        ({"trainer": 5}, "spec.trainer: 5 must be an object"),
        ({"gates": {"minAccuracy": 1.5}}, "spec.gates.minAccuracy: 1.5 must be less than or equal to 1"),
        ({"resources": {"gpus": -1}}, "spec.resources.gpus: -1 must be greater than or equal to 0"),
        (
            {"resources": {"gpu": {"minMemory": "40Gi"}}},
            'spec.resources: gpu can only be set where gpus is at least 1, but it is {"gpu": {"minMemory": "40Gi"}}',
        ),
        (
            {"resources": {"tolerations": [{}, {"effect": "Never"}]}},
            "spec.resources.tolerations[1].effect: \"Never\" must be 'NoSchedule', 'PreferNoSchedule' or 'NoExecute'",
        ),
        (
            {"resources": {"nodeSelector": {"zone": 1}}},
            "spec.resources.nodeSelector.zone: 1 must be a valid string",
        ),
        (
            {"workers": {"processesPerNode": "two"}},
            "spec.workers.processesPerNode: \"two\" must be a valid integer or must be 'auto'",
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
            "spec.output.model: \"Digits\" must match pattern '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'",
        ),
        ({"output": {}}, "spec.output.model: is required"),
        (
            {"epochs": 5},
            "spec.epochs: unknown field; allowed here: checkpoint, dataset, export, gates, model, output, policy, "
            "resources, trainer, workers",
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


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ({}, "spec.model: exactly one of name, trainJob, uri must be set, but it is {}"),
        (
            {"trainJob": "digits", "version": 2},
            'spec.model: version can only be set together with name, but it is {"trainJob": "digits", "version": 2}',
        ),
        ({"name": "digits", "version": 0}, "spec.model.version: 0 must be greater than or equal to 1"),
        (
            {"uri": "pvc://models/default/digits/1"},
            'spec.model: uri can only be set together with digest, but it is {"uri": "pvc://models/default/digits/1"}',
        ),
    ],
)
def test_a_bad_model_reference_is_told_what_goes_together(model: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        parse_modelserve(modelserve(model=model))
    assert refused.value.problems == (problem,)


@pytest.mark.parametrize("digest", ["sha256:abc", "md5:" + 64 * "0", 64 * "0"])
def test_a_digest_is_a_whole_sha256(digest: str) -> None:
    with pytest.raises(InvalidSpec, match=r"^spec\.model\.digest: .* must match pattern"):
        parse_modelserve(modelserve(model={"uri": "pvc://models/default/digits/1", "digest": digest}))


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
    assert refused.value.problems == ("spec.model: is required",)


def test_quantities_may_be_written_as_numbers_as_in_a_pod() -> None:
    spec = parse_trainjob(trainjob(resources={"cpu": 2, "memory": "4Gi"}))
    assert (spec.resources.cpu, spec.resources.memory) == ("2", "4Gi")


def test_defaults_are_filled_in_and_shared_by_no_two_specs() -> None:
    one, other = parse_trainjob(trainjob()), parse_trainjob(trainjob())
    assert (one.trainer.epochs, one.workers.processes_per_node, one.policy.retries) == (5, "auto", 3)
    assert one.trainer is not other.trainer
