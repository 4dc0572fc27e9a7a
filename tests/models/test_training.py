"""The loop: exact from the seed, every optimizer learns, threads as the pod is given."""

from pathlib import Path
from typing import Any

import pytest
import torch

from trainserve.models import data, device, zoo
from trainserve.models.config import parse
from trainserve.models.data.dataset import Dataset
from trainserve.models.evaluate import evaluate
from trainserve.models.interrupt import Interrupt
from trainserve.models.network import Network
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
    assert evaluate(network, digits, CPU).accuracy > 0.9


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


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_the_cpu_limit_is_read_from_the_cgroup(tmp_path: Path, files: dict[str, str], cores: float | None) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    assert device.cpu_limit(tmp_path) == cores


def test_omp_num_threads_is_what_the_pod_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert device.threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert device.threads() >= 1


def test_the_loop_stops_between_steps_when_asked(digits: Dataset) -> None:
    from trainserve.models.errors import Interrupted

    interrupt = Interrupt()
    config = parse({"model": {"name": "convnet"}, "dataset": {"name": "digits"}, "trainer": {"epochs": 50}}).trainer
    network = Network(digits.normalisation(), zoo.build("convnet", {}, digits.shape, 10))
    reports: list[Report] = []

    def report(latest: Report) -> None:
        reports.append(latest)
        interrupt.requested = latest.epoch_ended

    with pytest.raises(Interrupted):
        train(network, digits, config, CPU, report, interrupt)
    assert reports[-1].epoch == 1
