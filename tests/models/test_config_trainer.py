"""`trainer` and `checkpoint`: what is refused, and what is accepted."""

from typing import Any

import pytest

from trainserve.models.config import parse
from trainserve.models.errors import UserError

from .conftest import digits_config

NAN, INFINITY = float("nan"), float("inf")
BAD = [
    ("trainer", "epochs", 0, "trainer.epochs: 0 is not allowed; must be >= 1"),
    ("trainer", "epochs", 100_001, "trainer.epochs: 100001 is not allowed; must be <= 100000"),
    ("trainer", "batchSize", 0, "trainer.batchSize: 0 is not allowed; must be >= 1"),
    ("trainer", "batchSize", 2_000_000, "trainer.batchSize: 2000000 is not allowed; must be <= 1048576"),
    ("trainer", "batchSize", "64", 'trainer.batchSize: "64" is not allowed; must be a valid integer'),
    ("trainer", "batchSize", 6.5, "trainer.batchSize: 6.5 is not allowed; must be a valid integer"),
    ("trainer", "batchSize", True, "trainer.batchSize: true is not allowed; must be a valid integer"),
    ("trainer", "batchSize", None, "trainer.batchSize: null is not allowed; must be a valid integer"),
    ("trainer", "optimizer", "lion", "trainer.optimizer: \"lion\" is not allowed; must be 'adam', 'adamw' or 'sgd'"),
    ("trainer", "learningRate", 0, "trainer.learningRate: 0 is not allowed; must be > 0"),
    ("trainer", "learningRate", 11, "trainer.learningRate: 11 is not allowed; must be <= 10"),
    ("trainer", "learningRate", NAN, "trainer.learningRate: NaN is not allowed; must be a finite number"),
    ("trainer", "momentum", -0.1, "trainer.momentum: -0.1 is not allowed; must be >= 0"),
    ("trainer", "momentum", 1, "trainer.momentum: 1 is not allowed; must be < 1"),
    ("trainer", "weightDecay", -1, "trainer.weightDecay: -1 is not allowed; must be >= 0"),
    ("trainer", "weightDecay", 1.5, "trainer.weightDecay: 1.5 is not allowed; must be <= 1"),
    ("trainer", "weightDecay", INFINITY, "trainer.weightDecay: Infinity is not allowed; must be a finite number"),
    (
        "trainer",
        "schedule",
        "linear",
        "trainer.schedule: \"linear\" is not allowed; must be 'constant', 'cosine' or 'onecycle'",
    ),
    ("trainer", "labelSmoothing", 1, "trainer.labelSmoothing: 1 is not allowed; must be < 1"),
    ("trainer", "labelSmoothing", -0.1, "trainer.labelSmoothing: -0.1 is not allowed; must be >= 0"),
    ("trainer", "accumulate", 0, "trainer.accumulate: 0 is not allowed; must be >= 1"),
    ("trainer", "accumulate", 65, "trainer: accumulate must be at most batchSize, but it is {"),
    ("trainer", "ema", 0, "trainer.ema: 0 is not allowed; must be > 0"),
    ("trainer", "ema", 1, "trainer.ema: 1 is not allowed; must be < 1"),
    (
        "trainer",
        "precision",
        "fp16",
        "trainer.precision: \"fp16\" is not allowed; must be 'auto', 'fp32', 'tf32' or 'bf16'",
    ),
    ("trainer", "seed", -1, "trainer.seed: -1 is not allowed; must be >= 0"),
    ("trainer", "seed", 2**32, "trainer.seed: 4294967296 is not allowed; must be <= 4294967295"),
    ("trainer", "augment", {"crop": -1}, "trainer.augment.crop: -1 is not allowed; must be >= 0"),
    ("trainer", "augment", {"crop": 513}, "trainer.augment.crop: 513 is not allowed; must be <= 512"),
    ("trainer", "augment", {"flip": 1}, "trainer.augment.flip: 1 is not allowed; must be a valid boolean"),
    ("trainer", "augment", {"rotate": 5}, "trainer.augment.rotate: unknown field; allowed: crop, flip"),
    ("trainer", "augment", True, "trainer.augment: true is not allowed; "),
    ("trainer", "warmup", 5, "trainer.warmup: unknown field; allowed: accumulate, augment, batchSize, ema, epochs, "),
    ("checkpoint", "folder", "", 'checkpoint.folder: "" is not allowed; '),
    ("checkpoint", "everyEpochs", 0, "checkpoint.everyEpochs: 0 is not allowed; must be >= 1"),
    ("checkpoint", "keep", 0, "checkpoint.keep: 0 is not allowed; must be >= 1"),
    (
        "checkpoint",
        "every",
        1,
        "checkpoint.every: unknown field; did you mean 'everyEpochs'? allowed: everyEpochs, folder, keep",
    ),
]


@pytest.mark.parametrize(("section", "field", "value", "text"), BAD, ids=[f"{row[1]}={row[2]!r}" for row in BAD])
def test_a_bad_field_is_refused_by_name_with_value_and_what_is_allowed(
    section: str, field: str, value: Any, text: str
) -> None:
    config = digits_config("/store", checkpoint=None)
    config["checkpoint"] = {"folder": "/checkpoints"}
    config[section] = {**config[section], field: value}
    with pytest.raises(UserError) as error:
        parse(config)
    assert str(error.value).startswith(text)
    assert "\n" not in str(error.value)


def test_a_checkpoint_needs_a_folder() -> None:
    with pytest.raises(UserError, match=r"^checkpoint\.folder: required$"):
        parse({**digits_config("/store"), "checkpoint": {}})


def test_the_defaults_are_those_of_the_trainjob() -> None:
    from trainserve.api import training

    theirs = training.Trainer().model_dump(by_alias=True)
    ours = parse({"model": {"name": "convnet"}, "dataset": {"name": "digits"}}).trainer.model_dump(by_alias=True)
    assert ours == {name: value for name, value in theirs.items() if name in ours}


def test_the_contracts_example_is_kept_as_the_spec_without_its_checkpoint_folder() -> None:
    spec = parse({**digits_config("/store"), "checkpoint": {"folder": "/checkpoints"}}).spec()
    assert spec["trainer"] | {"epochs": 5, "batchSize": 64, "schedule": "constant", "accumulate": 1} == spec["trainer"]
    assert spec["checkpoint"] == {"everyEpochs": 1, "keep": 2}
