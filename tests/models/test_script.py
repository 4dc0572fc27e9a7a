"""A user's whole script: how it is run and watched, and how it fails."""

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainserve import store
from trainserve.models import config as models_config
from trainserve.models import sdk
from trainserve.models.energy import EnergyMeter
from trainserve.models.errors import UserError
from trainserve.models.interrupt import Interrupt
from trainserve.models.progress import Progress
from trainserve.models.rapl import Rapl
from trainserve.models.script import config
from trainserve.models.script.running import Running

from .conftest import Pod, RunScript
from .scripts import PUBLISH


def test_a_model_that_is_handed_over_is_exported_checked_and_published(run_script: RunScript, tmp_path: Path) -> None:
    progress = Progress()
    message = run_script(PUBLISH, progress, gates={"minAccuracy": 0.99})
    assert message["outcome"] == "Published"
    assert message["result"]["accuracy"] == 1.0
    assert message["result"]["samplesPerSecond"] > 0
    made = store.manifest(tmp_path / "store", "default", "mine", 1)
    assert made.inputs == [store.Tensor(name="images", dtype="float32", shape=[-1, 1, 3, 4])]
    assert made.outputs == [store.Tensor(name="probabilities", dtype="float32", shape=[-1, 2])]
    assert (made.preprocessing.scale, made.preprocessing.mean, made.preprocessing.std) == (1.0, [0.0], [1.0])
    assert (made.parity.samples, made.parity.reference) == (256, "pytorch")
    assert made.spec["model"] == {"script": str(tmp_path / "train.py")}
    assert "trainer" not in made.spec
    with np.load(tmp_path / "store/default/mine/1/samples.npz") as samples:
        assert (samples["probabilities"].argmax(axis=1) == samples["labels"]).all()
        assert samples["probabilities"].sum(axis=1) == pytest.approx(np.ones(64), abs=1e-5)


def test_what_the_script_reports_is_its_progress(run_script: RunScript) -> None:
    progress = Progress()
    seen: list[dict[str, Any]] = []
    whole = progress.update

    def update(**changes: Any) -> None:
        whole(**changes)
        seen.append(progress.report())

    progress.update = update  # type: ignore[method-assign]
    run_script(PUBLISH, progress)
    first, second = (next(s for s in seen if s.get("epoch") == epoch) for epoch in (1, 2))
    assert (first["epochs"], first["percent"], first["loss"], first["accuracy"]) == (2, 45, 0.5, 0.9)
    assert first["samplesPerSecond"] > 0
    assert (second["percent"], second["loss"]) == (90, 0.25)
    assert second["etaSeconds"] == 0


def test_the_model_is_published_as_it_was_when_it_was_handed_over(run_script: RunScript) -> None:
    message = run_script(PUBLISH + "    with torch.no_grad(): model[1].weight.zero_()\n")
    assert message["result"]["accuracy"] == 1.0


def test_a_script_runs_as_python_would_run_it(run_script: RunScript, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("VALUE = 7\n")
    message = run_script(
        """
        import sys, pickle, beside
        class Mine: pass
        assert __name__ == "__main__"
        assert sys.argv == [__file__]
        assert beside.VALUE == 7
        assert isinstance(pickle.loads(pickle.dumps(Mine())), Mine)
        """,
        output=None,
    )
    assert message["outcome"] == "Trained"
    assert "artifact" not in message


def test_a_script_has_its_arguments_and_variables_and_the_manifest_keeps_what_is_no_secret(
    run_script: RunScript, write_script: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TRAIN_LR", "HUB_TOKEN"):
        monkeypatch.setenv(name, "")
    source = PUBLISH + (
        "    import sys\n"
        "    assert sys.argv[1:] == ['--lr', '$HOME']\n"
        "    assert (os.environ['TRAIN_LR'], os.environ['HUB_TOKEN']) == ('0.1', 'sesame')\n"
    ).replace("sys\n", "os, sys\n", 1)
    env = [{"name": "TRAIN_LR", "value": "0.1"}, {"name": "HUB_TOKEN", "value": "sesame"}]
    path = write_script(source)
    run_script(source, model={"script": str(path), "args": ["--lr", "$HOME"], "env": env})
    made = store.manifest(tmp_path / "store", "default", "mine", 1)
    assert made.spec["model"] == {
        "script": str(path),
        "args": ["--lr", "$HOME"],
        "env": [env[0], {"name": "HUB_TOKEN"}],
    }


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (
            {"script": "a.py", "env": [{"name": "RANK", "value": "0"}]},
            "model.env[0]: name must not be one of the run's own (TRAINSERVE_*, ",
        ),
        ({"script": "a.py", "env": [{"name": "A"}, {"name": "A"}]}, "model: env must not have a name twice"),
        ({"script": "a.py", "args": [1]}, "model.args[0]: 1 is not allowed"),
    ],
)
def test_arguments_and_variables_that_cannot_be_are_refused(model: Any, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(complaint)):
        config.parse({"model": model}, tmp_path)


def test_a_script_reads_its_configuration_with_the_defaults_filled_in(run_script: RunScript, tmp_path: Path) -> None:
    source = """
    import json, os, pathlib
    told = json.loads(pathlib.Path(os.environ["TRAINSERVE_CONFIG"]).read_text())
    pathlib.Path(told["store"]["root"] + ".txt").write_text(f"{told['trainer']['epochs']} {told['trainer']['seed']}")
    """
    run_script(source, output=None, trainer={"epochs": 3})
    assert (tmp_path / "store.txt").read_text() == "3 0"


def test_a_scripts_function_takes_options_and_no_arguments() -> None:
    with pytest.raises(UserError, match=r"model\.args: not allowed; they are a whole script's"):
        models_config.parse({"model": {"script": "a.py:f", "args": ["x"]}, "dataset": {"name": "digits"}})


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("x = 1\n\ny = x / 0\n", r"model\.script: train\.py, line 3: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", r"train\.py, line 2: exited with code 3"),
        ("import sys\nsys.exit('no data')\n", r"train\.py, line 2: exited with no data"),
        ("def f(:\n", r"train\.py, line 1: SyntaxError: "),
        ("import json\ndef f():\n    json.loads('{')\nf()\n", r"train\.py, line 3: JSONDecodeError: "),
        (
            "from trainserve.models import sdk\nsdk.start().epoch(0)\n",
            r"train\.py, line 2: run\.epoch: epoch 0 is not allowed; must be a whole number >= 1",
        ),
        (
            "from trainserve.models import sdk\nsdk.start().epoch(1.5, loss=0.5)\n",
            r"train\.py, line 2: run\.epoch: epoch 1\.5 is not allowed; must be a whole number >= 1",
        ),
        ("x = 1\n", r"the script ended and left no model: it must call run\.publish"),
    ],
)
def test_what_is_wrong_is_a_user_error_that_names_the_line(run_script: RunScript, source: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        run_script(source)


def test_an_exit_with_nothing_wrong_is_an_end(run_script: RunScript) -> None:
    assert run_script("import sys\nsys.exit(0)\n", output=None)["outcome"] == "Trained"


def test_a_script_that_is_not_there_is_named(run_script: RunScript, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.script: .*/nowhere\.py: No such file or directory"):
        run_script("", model={"script": "nowhere.py"})


def test_a_pod_ends_with_the_traceback_in_its_log_and_code_1(
    start_pod: Callable[..., Pod], write_script: Callable[[str], Path]
) -> None:
    pod = start_pod({"model": {"script": str(write_script("def fail():\n    raise KeyError('x')\nfail()\n"))}})
    code, _, err = pod.finish()
    assert code == 1
    assert err.startswith("Traceback (most recent call last):\n")
    assert 'train.py", line 3, in <module>' in err
    assert "trainserve/models" not in err
    assert (pod.message["outcome"], pod.message["reason"]) == ("Failed", "ScriptError")
    assert pod.message["message"] == "model.script: train.py, line 2: KeyError: 'x'"


@pytest.mark.parametrize("waiting", ["time.sleep(60)", "swallow()"])
def test_sigterm_ends_a_script_with_143(
    start_pod: Callable[..., Pod], write_script: Callable[[str], Path], waiting: str
) -> None:
    script = write_script(
        f"""
        import time
        from trainserve.models import sdk
        run = sdk.start(epochs=10)
        def swallow():
            try:
                time.sleep(60)
            except BaseException:
                print("swallowed")
            run.epoch(2)
        run.epoch(1)
        {waiting}
        """
    )
    pod = start_pod({"model": {"script": str(script)}})
    pod.wait_for(lambda progress: progress.get("epoch") == 1)
    pod.process.send_signal(signal.SIGTERM)
    code, _, err = pod.finish()
    assert (code, err) == (143, "")
    assert pod.message["reason"] == "Interrupted"


def test_without_a_run_the_sdk_does_nothing(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("TRAINSERVE_CONFIG", raising=False)
    outside = sdk.start(epochs=3)
    outside.epoch(1, loss=1.0, accuracy=0.5)
    outside.publish(None, [], [])  # type: ignore[arg-type]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("epoch", [0, -1, 1.5, 0.5, float("nan"), float("inf"), "1", None, [1], np.float32(1.5)])
def test_an_epoch_is_a_whole_number_from_1_on(epoch: Any) -> None:
    with pytest.raises(UserError, match=re.escape(f"epoch {epoch!r} is not allowed; must be a whole number >= 1")):
        sdk.start().epoch(epoch)


@pytest.mark.parametrize("epoch", [1, 2.0, np.int64(3), np.array(4), torch.tensor(5)])
def test_an_epoch_is_a_number_of_any_library(epoch: Any) -> None:
    live = Running(Progress(), Interrupt(), EnergyMeter((), Rapl()))
    sdk.Run(None, live).epoch(epoch)
    (point,) = live.curves.points
    assert type(point.epoch) is int
    assert point.epoch == epoch


def test_a_script_that_prints_its_environment_and_dies_tells_no_secret(
    start_pod: Callable[..., Pod], write_script: Callable[[str], Path], tmp_path: Path
) -> None:
    path = write_script("import os\nprint(dict(os.environ))\nraise RuntimeError(f'cannot go on with {os.environ}')")
    config = {
        "job": {"namespace": "default", "name": "leaky", "uid": "u", "attempt": 1},
        "store": {"root": str(tmp_path / "store"), "publicRoot": str(tmp_path / "store")},
        "model": {"script": str(path)},
    }
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    pod = start_pod(config, AWS_SECRET_ACCESS_KEY=secret, PATH="/usr/bin")
    code, out, _ = pod.finish()
    assert (code, pod.message["reason"]) == (1, "ScriptError")
    assert "<AWS_SECRET_ACCESS_KEY>" in pod.message["message"] or "..." in pod.message["message"]
    assert secret[:12] not in pod.termination_log.read_text()
    assert secret[:12] not in out.splitlines()[-1]
