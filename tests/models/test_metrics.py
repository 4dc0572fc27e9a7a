"""A training pod exports exactly the metrics that trainserve.api.metrics defines."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from trainserve.api.metrics import training
from trainserve.models import metrics, result
from trainserve.models.progress import Progress

from .conftest import RunScript
from .scripts import PUBLISH

EVERYWHERE = {metric.name for metric in training.RUN.metrics if not metric.only}
ON_A_GPU = {metric.name for metric in training.RUN.metrics if metric.only == "GPU"}
WHOLE = dict.fromkeys(("loss", "accuracy", "samples_per_second", "eta_seconds", "checkpoint"), 0.5)


def exported(progress: Progress) -> dict[str, float]:
    """Return the scraped values of metrics without labels; `_count` and `_sum` use their family's name."""
    families = text_string_to_metric_families(metrics.render(progress).decode())
    found = {}
    for family in families:
        for sample in family.samples:
            name = family.name if family.type == "summary" else sample.name
            found[name] = sample.value
    return found


def test_everything_that_is_defined_is_exported_and_nothing_else() -> None:
    progress = Progress()
    progress.update(epoch=1, epochs=2, step=3, samples=4, **WHOLE)
    assert exported(progress).keys() == EVERYWHERE


def test_counters_begin_with_what_a_checkpoint_brought_and_not_at_0() -> None:
    progress = Progress()
    progress.update(checkpoint=0.5)
    assert not exported(progress).keys() & {training.SAMPLES.name, training.STEP_DURATION.name}
    progress.update(step=300, samples=19_200)
    assert exported(progress)[training.SAMPLES.name] == 19_200


def test_help_and_type_are_the_definitions() -> None:
    progress = Progress()
    progress.update(epoch=1, epochs=2, step=3, samples=4, **WHOLE)
    families = {
        family.name: (family.documentation, family.type)
        for family in text_string_to_metric_families(metrics.render(progress).decode())
    }
    for metric in training.RUN.metrics:
        if metric.name in EVERYWHERE:
            assert families[metric.name.removesuffix("_total")] == (metric.help, metric.kind)


@pytest.mark.gpu
def test_on_a_gpu_its_metrics_are_exported_too() -> None:
    import torch

    from trainserve.models import device

    if not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU")
    progress = Progress()
    progress.update(gpus=device.gpus(torch.device("cuda", 0)), epoch=1, epochs=2, step=3, samples=4, **WHOLE)
    assert exported(progress).keys() == EVERYWHERE | ON_A_GPU


def test_a_run_exports_all_of_it(
    execute: Callable[..., dict[str, Any]], stripes: Callable[..., Path], tmp_path: Path
) -> None:
    progress = Progress()
    config = {
        "model": {"name": "convnet", "options": {"channels": 4, "hidden": 8}},
        "dataset": {"path": str(stripes())},
        "trainer": {"epochs": 30},
        "checkpoint": {"folder": str(tmp_path / "checkpoints")},
    }
    seen: set[str] = set()
    whole = progress.update

    def update(**changes: Any) -> None:
        whole(**changes)
        seen.update(exported(progress))

    progress.update = update  # type: ignore[method-assign]
    execute(config, progress)
    assert seen == EVERYWHERE


def test_a_script_exports_what_it_reports(run_script: RunScript) -> None:
    progress = Progress()
    run_script(PUBLISH, progress)
    assert exported(progress).keys() == EVERYWHERE - {training.CHECKPOINT.name, training.ETA.name}
    assert exported(progress)[training.EPOCHS.name] == 2


def test_the_checkpoints_time_is_told_when_it_is_written_and_when_it_is_gone_on_from(tmp_path: Path) -> None:
    from trainserve.models.checkpoint import opened
    from trainserve.models.config import Checkpoint

    from .small_run import finished

    finished(tmp_path)
    newest = max(tmp_path.glob("step-*.pt"))
    told: list[float] = []
    with opened(Checkpoint(folder=str(tmp_path)), {"trainer": {"seed": 0}}, print, told.append) as saved:
        assert saved.newest()
        assert told == [newest.stat().st_mtime]
        path = saved.save(41, {"step": 41})
    assert told[1] == pytest.approx(path.stat().st_mtime, abs=1)


def test_a_loss_that_is_no_number_is_nan_on_the_scrape_and_null_in_json() -> None:
    progress = Progress()
    progress.update(epoch=1, loss=math.nan, accuracy=0.5)
    assert math.isnan(exported(progress)[training.LOSS.name])
    assert json.loads(json.dumps(progress.report(), allow_nan=False))["loss"] is None
    message = result.trained(progress, {"loss": math.inf, "accuracy": 0.5})
    assert json.loads(result.encode(message))["result"] == {"loss": None, "accuracy": 0.5}


def test_the_definitions_are_known_before_anything_heavy_is_imported() -> None:
    code = "import sys; before = {*sys.modules}; import trainserve.api.metrics; print(*{*sys.modules} - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {name.split(".")[0] for name in done.stdout.split()}
    assert imported <= {*sys.stdlib_module_names, "trainserve"}, imported
