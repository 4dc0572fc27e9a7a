"""The training loop: reproducible from the seed, every optimizer learns, as many threads as the pod is given."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from trainserve.models import data, optim, precision, zoo
from trainserve.models.config import Trainer, parse
from trainserve.models.data.dataset import Dataset
from trainserve.models.distributed import Alone
from trainserve.models.ema import Average
from trainserve.models.errors import Interrupted, UserError
from trainserve.models.evaluate import evaluate
from trainserve.models.interrupt import Interrupt
from trainserve.models.network import Network
from trainserve.models.rank import Rank
from trainserve.models.sampling import Sampling
from trainserve.models.train import Report, train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.load(parse({"model": {"name": "convnet"}, "dataset": {"name": "digits"}}).dataset, seed=0)


def trained(digits: Dataset, **trainer: Any) -> tuple[Network, list[Report]]:
    torch.set_num_threads(1)
    config = parse({"model": {"name": "convnet"}, "dataset": {"name": "digits"}, "trainer": trainer}).trainer
    torch.manual_seed(config.seed)
    network = Network(digits.normalisation(), zoo.build("convnet", {}, digits.shape, 10))
    reports: list[Report] = []
    train(network, digits, config, CPU, reports.append, Interrupt())
    return network, reports


def weights(network: Network) -> list[bytes]:
    return [value.numpy().tobytes() for value in network.state_dict().values()]


def test_two_runs_of_one_config_give_bit_identical_weights(digits: Dataset) -> None:
    assert weights(trained(digits, epochs=2)[0]) == weights(trained(digits, epochs=2)[0])


def test_another_seed_gives_other_weights(digits: Dataset) -> None:
    assert weights(trained(digits, epochs=1)[0]) != weights(trained(digits, epochs=1, seed=1)[0])


@pytest.mark.parametrize(("optimizer", "rate"), [("adam", 1e-3), ("adamw", 1e-3), ("sgd", 0.05)])
def test_every_optimizer_learns_the_digits(digits: Dataset, optimizer: str, rate: float) -> None:
    network, _ = trained(digits, epochs=3, optimizer=optimizer, learningRate=rate)
    accuracy = evaluate(network, digits, CPU).accuracy
    assert accuracy is not None and accuracy > 0.9


def test_every_sample_is_seen_once_an_epoch_and_reported(digits: Dataset) -> None:
    _, reports = trained(digits, epochs=2, batchSize=100)
    ends = [report for report in reports if report.epoch_ended]
    count = len(digits.train_images)
    assert [(report.epoch, report.samples) for report in ends] == [(1, count), (2, 2 * count)]
    assert ends[-1].step == ends[-1].steps == 2 * -(-count // 100)
    assert ends[1].loss < ends[0].loss


def test_a_batch_larger_than_the_data_is_the_whole_data(digits: Dataset) -> None:
    _, reports = trained(digits, epochs=1, batchSize=1_000_000)
    assert reports[-1].steps == 1


def test_the_convnet_is_the_classic_one_written_faster(digits: Dataset) -> None:
    body = zoo.build("convnet", {}, (28, 28, 1), 10)
    images = torch.rand(4, 1, 28, 28)
    convolution, hidden, head = (
        body.get_submodule("convolution"),
        body.get_submodule("hidden"),
        body.get_submodule("head"),
    )
    classic = torch.max_pool2d(torch.relu(convolution(images)), 2).permute(0, 2, 3, 1).flatten(1)
    assert torch.equal(body(images), head(torch.relu(hidden(classic))))
    assert sum(parameter.numel() for parameter in body.parameters()) == 320 + 692_352 + 1290


def test_the_loop_stops_within_a_step_when_asked(digits: Dataset) -> None:
    interrupt = Interrupt()
    config = parse({"model": {"name": "convnet"}, "dataset": {"name": "digits"}, "trainer": {"epochs": 50}}).trainer
    network = Network(digits.normalisation(), zoo.build("convnet", {}, digits.shape, 10))
    reports: list[Report] = []

    def report(latest: Report) -> None:
        reports.append(latest)
        interrupt.requested = latest.epoch_ended

    with pytest.raises(Interrupted, match=r"SIGTERM: stopped after step 24 of 1150, not saved: the run has no "):
        train(network, digits, config, CPU, report, interrupt)
    assert [report.step for report in reports if report.step >= 23] == [23, 24]


def little(count: int = 60, **changes: Any) -> Dataset:
    """Return a data set of three classes: class c has a bright row c of 8x8 pixels."""
    random = np.random.default_rng(0)
    targets = np.arange(count) % 3
    images = random.integers(0, 60, (count, 8, 8, 1)).astype(np.uint8)
    images[np.arange(count), targets] = 255
    return replace(Dataset("little", images, targets, images, targets, list("abc")), **changes)


def fitted(dataset: Dataset, model: str = "convnet", said: list[str] | None = None, **trainer: Any) -> Network:
    torch.set_num_threads(1)
    config = parse({"model": {"name": model}, "dataset": {"name": "digits"}, "trainer": trainer}).trainer
    torch.manual_seed(config.seed)
    options = {"channels": 4, "hidden": 8} if model == "convnet" else {}
    body = zoo.build(model, options, dataset.shape, len(dataset.labels))
    network = Network(dataset.normalisation(), body, dataset.task)
    said = [] if said is None else said
    train(network, dataset, config, CPU, lambda report: None, Interrupt(), say=said.append)
    return network


@pytest.mark.parametrize("parts", [2, 3, 64])
def test_accumulated_parts_give_what_the_whole_batch_gives(parts: int) -> None:
    whole = fitted(little(), batchSize=64, epochs=4, precision="fp32")
    divided = fitted(little(), batchSize=64, epochs=4, precision="fp32", accumulate=parts)
    for mine, theirs in zip(whole.parameters(), divided.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "onecycle"])
def test_every_schedule_learns_with_every_optimizer(optimizer: str, schedule: str) -> None:
    rate = 0.1 if optimizer == "sgd" else 0.01
    network = fitted(little(), epochs=15, batchSize=16, optimizer=optimizer, schedule=schedule, learningRate=rate)
    assert evaluate(network, little(), CPU).accuracy == 1.0


@pytest.mark.parametrize("momentum", [0, 0.9])
@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_onecycle_ends_where_the_run_does_however_short(steps: int, momentum: float) -> None:
    config = Trainer(optimizer="sgd", schedule="onecycle", learning_rate=0.5, momentum=momentum)
    rates = [optim.rate_at(config, step, steps) for step in range(1, steps + 1)]
    assert max(rates) <= 0.5
    if steps == 10:
        assert rates[0] == pytest.approx(0.02)
        assert max(rates) == pytest.approx(0.5, rel=0.2)
        assert rates[-1] < 1e-4


def test_cosine_falls_from_the_learning_rate_to_nothing() -> None:
    config = Trainer(schedule="cosine", learning_rate=0.2)
    rates = [optim.rate_at(config, step, 100) for step in (1, 51, 100)]
    assert rates == pytest.approx([0.2, 0.1, 0.0], abs=1e-3)


def test_weight_decay_and_momentum_reach_the_optimizer() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    group = optim.optimizer([weight], Trainer(optimizer="sgd", momentum=0.5, weight_decay=0.1)).param_groups[0]
    assert (group["momentum"], group["weight_decay"], group["fused"]) == (0.5, 0.1, True)
    assert (
        optim.optimizer([weight], Trainer(optimizer="adamw", weight_decay=0.1)).param_groups[0]["weight_decay"] == 0.1
    )


def test_what_is_frozen_stays_as_it_is() -> None:
    network = Network(little().normalisation(), zoo.build("convnet", {"channels": 4, "hidden": 8}, (8, 8, 1), 3))
    frozen = network.body.get_parameter("convolution.weight").requires_grad_(False)
    before, head = frozen.clone(), network.body.get_parameter("head.weight").clone()
    train(network, little(), Trainer(epochs=2), CPU, lambda report: None, Interrupt())
    assert torch.equal(frozen, before)
    assert not torch.equal(network.body.get_parameter("head.weight"), head)


def test_with_ema_the_averaged_weights_are_what_remains() -> None:
    plain, averaged = fitted(little(), epochs=3), fitted(little(), epochs=3, ema=0.999)
    assert weights(plain) != weights(averaged)
    assert evaluate(fitted(little(), epochs=40, learningRate=0.02, ema=0.9), little(), CPU).accuracy == 1.0


def test_the_average_forgets_the_first_weights_at_once_and_counts_as_it_says() -> None:
    module = torch.nn.BatchNorm1d(1)
    running = module.get_buffer("running_mean")
    average = Average(module, decay=0.5)
    for step, value in enumerate([3.0, 5.0], start=1):
        with torch.no_grad():
            module.weight.fill_(value)
            running.fill_(value)
        average.update(step)
    first = 1 * (2 / 11) + 3 * (9 / 11)
    assert float(average.state["weight"]) == pytest.approx(first * (3 / 12) + 5 * (9 / 12))
    assert float(average.state["running_mean"]) == 5
    average.replace()
    assert float(module.weight.detach()) == pytest.approx(float(average.state["weight"]))


def test_augmented_images_differ_from_epoch_to_epoch_and_are_the_same_in_every_run() -> None:
    augmented: dict[str, Any] = {"epochs": 3, "augment": {"crop": 2, "flip": True}}
    assert weights(fitted(little(), **augmented)) == weights(fitted(little(), **augmented))
    assert weights(fitted(little(), **augmented)) != weights(fitted(little(), epochs=3))


def test_label_smoothing_keeps_the_network_from_being_sure() -> None:
    sure, less_sure = fitted(little(), epochs=60), fitted(little(), epochs=60, labelSmoothing=0.3)
    images = torch.from_numpy(little().test_images)
    assert sure(images).max() > less_sure(images).max()


def regression() -> Dataset:
    images = little().train_images
    targets = (images[..., 0].mean(axis=(1, 2)) / 255)[:, None].astype(np.float32)
    return little(train_targets=targets, test_targets=targets, labels=["brightness"], task="regression")


def test_a_regression_learns_the_mean_of_the_pixels_and_has_no_accuracy() -> None:
    network = fitted(regression(), epochs=150, learningRate=0.01, schedule="cosine")
    measured = evaluate(network, regression(), CPU)
    assert measured.loss < 1e-3 < float(regression().test_targets.var()) * 100
    assert measured.accuracy is None


def test_label_smoothing_of_a_regression_is_refused() -> None:
    with pytest.raises(UserError, match=r"^trainer\.labelSmoothing: 0\.1 is not allowed; must be 0 in a regression$"):
        fitted(regression(), labelSmoothing=0.1)


def test_a_loss_that_is_no_number_names_its_first_step_and_that_steps_rate() -> None:
    images = little().train_images.astype(np.float32)
    network = Network(little().normalisation(), zoo.build("convnet", {"channels": 4, "hidden": 8}, (8, 8, 1), 3))
    images[17] = float("nan")
    config = Trainer(batch_size=4, epochs=2, optimizer="sgd", learning_rate=0.1, schedule="cosine", seed=1)
    order = [parts[0].samples.tolist() for parts in Sampling(60, 4, 1, seed=1).steps(epoch=1)]
    step = 1 + next(number for number, samples in enumerate(order) if 17 in samples)
    text = f"trainer.learningRate: loss is nan at step {step} with rate {optim.rate_at(config, step, 30):g}; must be"
    with pytest.raises(UserError, match=re.escape(text)):
        train(network, little(train_images=images), config, CPU, lambda report: None, Interrupt())


@pytest.mark.parametrize(("able", "asked", "chosen"), [(True, "auto", "bf16"), (False, "auto", "fp32")])
def test_auto_is_bf16_where_the_processor_has_units_for_it(
    able: bool, asked: Any, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": able})
    assert precision.choose(asked, CPU).name == chosen


@pytest.mark.parametrize(
    ("able", "asked", "text"),
    [
        (False, "bf16", '"bf16" is not allowed here; must be one of auto, fp32: the processor has none of AMX, '),
        (True, "tf32", '"tf32" is not allowed here; must be one of auto, fp32, bf16: the processor has AVX512-BF16'),
    ],
)
def test_numbers_that_the_device_cannot_compute_are_refused_with_the_reason(
    able: bool, asked: Any, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": able})
    with pytest.raises(UserError) as error:
        precision.choose(asked, CPU)
    assert str(error.value).startswith(f"trainer.precision: {text}")


def test_the_precision_is_said_in_one_line() -> None:
    said: list[str] = []
    fitted(little(), epochs=1, precision="fp32", said=said)
    assert said == ["precision: fp32 (as configured)"]


@pytest.mark.skipif(not torch.cpu.get_capabilities().get("avx512_bf16"), reason="this processor has no AVX512-BF16")
def test_bf16_learns_and_leaves_weights_in_fp32() -> None:
    network = fitted(little(), epochs=20, learningRate=0.01, precision="bf16")
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    assert evaluate(network, little(), CPU).accuracy == 1.0


@pytest.mark.parametrize(("rank", "text"), [(Rank(0, 61), "61 processes are not allowed; must be <= the 60 training")])
def test_more_processes_than_samples_are_refused(rank: Rank, text: str) -> None:
    world = Alone()
    world.rank = rank
    network = Network(little().normalisation(), zoo.build("convnet", {}, (8, 8, 1), 3))
    with pytest.raises(UserError, match=text):
        train(network, little(), Trainer(), CPU, lambda report: None, Interrupt(), world)


def test_processes_whose_devices_differ_are_told_to_name_the_precision() -> None:
    class Other(Alone):
        def share(self, content: bytes | None) -> bytes | None:
            return b"tf32"

    network = Network(little().normalisation(), zoo.build("convnet", {}, (8, 8, 1), 3))
    with pytest.raises(UserError, match=r'^trainer\.precision: "fp32" is tf32 for rank 0 and fp32 for rank 0, whose'):
        train(network, little(), Trainer(precision="fp32"), CPU, lambda report: None, Interrupt(), Other())
