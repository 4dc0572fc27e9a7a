"""Energy: reading real counter files, the message without any, and the figures derived from joules."""

import multiprocessing
import os
from multiprocessing.queues import Queue
from pathlib import Path

import pytest

from trainserve.models.config import Energy as Config
from trainserve.models.energy import EnergyMeter, Reading, over_all, summary
from trainserve.models.rapl import Rapl

from .conftest import free_port

RANGE = 262_143_328_850


def zone(powercap: Path, folder: str, name: str, microjoules: int = 0) -> Path:
    """Create a powercap zone as the kernel presents it; return its counter file."""
    path = powercap / folder
    path.mkdir(parents=True)
    (path / "name").write_text(name + "\n")
    (path / "max_energy_range_uj").write_text(f"{RANGE}\n")
    counter = path / "energy_uj"
    counter.write_text(f"{microjoules}\n")
    return counter


def test_packages_and_memory_are_summed(tmp_path: Path) -> None:
    counters = [
        zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000),
        zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000),
        zone(tmp_path, "intel-rapl:0:0", "dram", 7_000_000),
    ]
    rapl = Rapl(tmp_path)
    for counter, microjoules in zip(counters, (3_000_000, 6_500_000, 7_250_000), strict=True):
        counter.write_text(f"{microjoules}\n")
    assert rapl.joules() == pytest.approx(2 + 1.5 + 0.25)


def test_what_a_package_already_holds_is_not_counted_twice(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0")
    parts = [
        zone(tmp_path, "intel-rapl:0:0", "core"),
        zone(tmp_path, "intel-rapl:0:1", "uncore"),
        zone(tmp_path, "intel-rapl:1", "psys"),  # the whole board, packages included
        zone(tmp_path, "intel-rapl-mmio:0", "package-0"),  # the same package through another interface
    ]
    rapl = Rapl(tmp_path)
    for counter in (package, *parts):
        counter.write_text("4000000\n")
    assert rapl.joules() == pytest.approx(4)


def test_a_counter_that_wraps_around_goes_on_counting(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", RANGE - 2_000_000)
    rapl = Rapl(tmp_path)
    counter.write_text("1000000\n")
    assert rapl.joules() == pytest.approx(3)


def test_a_counter_that_wraps_around_twice_is_right_when_it_is_read_in_between(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = EnergyMeter((), Rapl(tmp_path))
    for _ in range(2):
        for microjoules in (RANGE // 2, 0):
            counter.write_text(f"{microjoules}\n")
            meter.update()
    assert meter.read().cpu == pytest.approx(2 * RANGE / 1e6)


def test_without_powercap_there_is_no_figure_and_the_reason_is_said(tmp_path: Path) -> None:
    rapl = Rapl(tmp_path / "powercap")
    assert rapl.joules() is None
    assert rapl.reason == f"no RAPL counter: {tmp_path}/powercap is absent"


def test_a_powercap_without_a_package_is_said(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "psys")
    assert Rapl(tmp_path).reason == f"no RAPL counter: {tmp_path} has no intel-rapl package"


def test_a_counter_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0")
    counter.unlink()
    counter.mkdir()  # a directory, because root can read any file: mode 0400 would have no effect
    rapl = Rapl(tmp_path)
    assert rapl.joules() is None
    assert rapl.reason == f"RAPL cannot be read: {counter}: Is a directory"


def test_a_counter_that_is_lost_on_the_way_ends_the_figure_and_not_the_run(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0")
    meter = EnergyMeter((), Rapl(tmp_path))
    counter.unlink()
    meter.update()
    reading = meter.read()
    assert (reading.cpu, reading.reason) == (None, f"RAPL cannot be read: {counter}: No such file or directory")


def test_a_gpu_that_the_driver_does_not_know_is_a_reason() -> None:
    reading = EnergyMeter(("GPU-00000000-0000-0000-0000-000000000000",), Rapl(Path("/absent"))).read()
    assert reading.gpu is None
    assert reading.on_gpu
    assert "GPU-00000000-0000-0000-0000-000000000000: nvmlDevice" in (reading.reason or "")


def on_cpu(joules: float | None) -> Reading:
    return Reading(on_gpu=False, gpu=None, cpu=joules, reason=None if joules else "no RAPL counter: it is absent")


def test_joules_of_a_run_on_the_cpu_are_rapls_per_epoch_and_per_image() -> None:
    energy = summary(on_cpu(360.0), images=7200, epoch=1440, config=Config())
    assert (energy.joules, energy.source, energy.reason) == (360.0, "rapl", None)
    assert energy.joules_per_image == pytest.approx(0.05)
    assert energy.joules_per_epoch == pytest.approx(72)
    assert energy.grams_co2e is None


def test_emissions_follow_from_the_grids_intensity() -> None:
    energy = summary(on_cpu(3.6e6), images=10, epoch=10, config=Config.model_validate({"gridIntensity": 56}))
    assert energy.to_json()["gramsCO2e"] == pytest.approx(56)


def test_without_a_counter_everything_is_null_and_the_reason_is_told() -> None:
    energy = summary(on_cpu(None), images=10, epoch=10, config=Config.model_validate({"gridIntensity": 56}))
    assert energy.to_json() == {
        "joules": None,
        "source": "none",
        "reason": "no RAPL counter: it is absent",
        "joulesPerEpoch": None,
        "joulesPerImage": None,
        "cpuJoules": None,
        "gramsCO2e": None,
    }
    assert str(energy) == "not measured: no RAPL counter: it is absent"


def test_on_gpus_the_processors_joules_stand_beside_and_are_not_added() -> None:
    energy = summary(Reading(on_gpu=True, gpu=100.0, cpu=40.0, reason=None), images=10, epoch=5, config=Config())
    assert (energy.joules, energy.source, energy.cpu_joules) == (100.0, "nvml", 40.0)
    assert energy.joules_per_image == 10.0


def test_a_gpu_without_a_counter_is_never_replaced_by_the_processor() -> None:
    energy = summary(Reading(True, None, 40.0, "GPU-1: Not Supported"), images=10, epoch=5, config=Config())
    assert (energy.joules, energy.source, energy.reason) == (None, "none", "GPU-1: Not Supported")
    assert energy.cpu_joules == 40.0


def test_of_several_processes_on_a_machine_one_counts(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0")
    meters = [EnergyMeter((), Rapl(tmp_path), counting=local == 0) for local in range(2)]
    counter.write_text("4000000\n")
    assert [meter.read().cpu for meter in meters] == [4.0, 0.0]


def _measure(rank: int, port: int, counters: list[Path], answers: "Queue[tuple[int, Reading]]") -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    import torch

    from trainserve.models import rank as ranks
    from trainserve.models.distributed import gang_of

    with gang_of(ranks.of(os.environ)) as gang:
        gang.meet(torch.device("cpu"))
        meter = EnergyMeter((), Rapl(counters[rank].parent.parent))
        if counters[rank].exists():
            counters[rank].write_text(f"{(rank + 1) * 1_000_000}\n")
        answers.put((rank, over_all(gang, meter.read())))
        gang.wait()


def measured_on_two_machines(counters: list[Path]) -> Reading:
    """Return what rank 0 of two processes reports, each of which reads its own powercap folder."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])
    answers: Queue[tuple[int, Reading]] = context.Queue()
    port = free_port()
    processes = [context.Process(target=_measure, args=(rank, port, counters, answers)) for rank in range(2)]
    for process in processes:
        process.start()
    said = dict(answers.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    return said[0]


def test_joules_of_all_machines_of_a_run_are_added_up(tmp_path: Path) -> None:
    counters = [zone(tmp_path / name, "intel-rapl:0", "package-0") for name in ("one", "other")]
    assert measured_on_two_machines(counters) == Reading(on_gpu=False, gpu=None, cpu=3.0, reason=None)


def test_a_machine_without_a_counter_makes_the_sum_null(tmp_path: Path) -> None:
    counters = [zone(tmp_path / "one", "intel-rapl:0", "package-0"), tmp_path / "other/intel-rapl:0/energy_uj"]
    reading = measured_on_two_machines(counters)
    assert (reading.cpu, reading.reason) == (None, "another machine of the run lacks a counter")


@pytest.mark.gpu
def test_a_gpu_at_work_uses_energy_and_says_how_busy_it_is() -> None:
    import torch

    from trainserve.models import device, metrics, nvml
    from trainserve.models.progress import Progress

    if not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU")
    gpus = device.gpus(torch.device("cuda", 0))
    meter = EnergyMeter(gpus, Rapl())
    square = torch.randn(8192, 8192, device="cuda")
    for _ in range(50):
        square = torch.nn.functional.normalize(square @ square)
    torch.cuda.synchronize()
    energy = summary(meter.read(), images=50, epoch=50, config=Config())
    assert energy.source == "nvml"
    assert energy.joules is not None and energy.joules > 1
    assert nvml.load(gpus[0]).memory_used > 8192 * 8192 * 4
    progress = Progress()
    progress.update(gpus=gpus)
    text = metrics.render(progress).decode()
    for name in ("utilization_ratio", "memory_used_bytes", "energy_joules_total"):
        assert f'trainserve_train_gpu_{name}{{gpu="{gpus[0]}"}}' in text
