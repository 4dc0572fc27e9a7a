"""One run of a whole script in order: script, its model, export, checks, parity, gates, publishing."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainserve import store
from trainserve.api.messages import Message
from trainserve.api.pod import Variable
from trainserve.models import device, energy, gates, result
from trainserve.models.config import Gates
from trainserve.models.data.watch import Watch
from trainserve.models.energy import Energy, EnergyMeter
from trainserve.models.errors import ScriptError
from trainserve.models.interrupt import Interrupt
from trainserve.models.progress import Progress
from trainserve.models.rank import Rank
from trainserve.models.rapl import Rapl
from trainserve.models.run import Run
from trainserve.models.scratch import scratch_folder, written_to
from trainserve.models.script import program, running
from trainserve.models.script.config import ScriptConfig
from trainserve.models.script.keras import KerasWatch
from trainserve.models.script.running import Left, Running
from trainserve.models.terminal import Terminal

if TYPE_CHECKING:
    from trainserve.models.data.dataset import Dataset
    from trainserve.models.report.facts import Known, Tested

MODEL, SAMPLES, CONFIG = "model.onnx", "samples.npz", "config.json"
_EVALUATED, _EXPORTED = 92, 98
"""Progress in percent at the end of each step, as in Run."""


class ScriptRun(Run):
    """A run of a script by `execute`; torch is imported by the script or after its end."""

    config: ScriptConfig

    def __init__(
        self,
        config: ScriptConfig,
        progress: Progress,
        terminal: Terminal,
        interrupt: Interrupt,
        measured: dict[str, Any],
        rank: Rank | None = None,
    ) -> None:
        super().__init__(config, progress, terminal, interrupt, measured, rank)
        self.running = Running(progress, interrupt, EnergyMeter((), Rapl()))
        self.curves = self.running.curves
        self.keras = KerasWatch(self.running, Watch(terminal.say))

    def execute(self) -> Message:
        """Execute the run and return the termination message; only rank 0's has the result.

        Raises RunFailed or Interrupted; then nothing is published.
        """
        if (earlier := self.publication.earlier()) is not None:
            return earlier
        self.publication.expect_writable()
        with scratch_folder() as scratch:
            if self.rank.first:
                with written_to(scratch):
                    for name in (MODEL, SAMPLES):  # left by an earlier run by hand
                        (scratch / name).unlink(missing_ok=True)
            self._run(scratch)
            if not self.rank.first:
                return result.trained(self.progress, {})
            if self.config.output is None and self.config.gates == Gates():
                self._measured(self.keras.accuracy, None)
                return self._done()
            if self.running.left is None and (scratch / MODEL).is_file():
                return self._take_file(scratch)
            if (left := self._left()) is not None:
                return self._take(left, scratch)
        raise ScriptError(
            "model.script: the script ended and left no model: it must call run.publish (trainserve.models.sdk), fit a "
            f"Keras model, or write $TRAINSERVE_OUTPUT/{MODEL}"
        )

    def _run(self, scratch: Path) -> None:
        """Run the script."""
        os.environ[Variable.OUTPUT] = str(scratch)
        with written_to(scratch / CONFIG):
            (scratch / CONFIG).write_text(self.config.model_dump_json(by_alias=True, exclude_none=True))
        os.environ[Variable.CONFIG] = str(scratch / CONFIG)  # for a script to read, with the defaults filled in
        os.environ.update({variable.name: variable.value or "" for variable in self.config.model.env or ()})
        os.environ.setdefault("OMP_NUM_THREADS", str(device.threads()))
        self.keras.install(scratch / "keras")
        path = self.config.folder / self.config.model.script
        self.terminal.say(f"script: {path}")
        running.current = self.running
        try:
            program.run(path, self.config.model.args or ())
        finally:
            running.current = None
        self.interrupt.check()
        self.last_step = time.perf_counter()
        seconds = self.last_step - self.running.since
        on_gpu = "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized()
        self._used(self._energy(on_gpu))
        self.measured.update(
            samplesPerSecond=self.progress.state.samples_per_second,
            secondsLost=0.0,
            gpuSeconds=round(seconds, 3) if on_gpu else 0.0,
        )

    def _energy(self, on_gpu: bool) -> Energy:
        if on_gpu:
            return Energy(None, "none", "the energy of GPUs is not measured for a script that trains by itself")
        state, config = self.progress.state, self.config.energy
        return energy.summary(
            self.running.meter.read(), state.samples, state.samples // max(state.epoch or 1, 1), config
        )

    def _left(self) -> Left | None:
        if self.running.left is not None or self.keras.newest is None:
            return self.running.left
        from trainserve.models.script import keras_model

        return keras_model.left(self.keras.newest, self.keras.fitted)

    def _take(self, left: Left, scratch: Path) -> Message:
        """Export, check and publish the model that the script left in memory."""
        from trainserve.models.script.network import adopt

        adopted = adopt(left, self.config.model.script, self.config.export)
        if self.keras.accuracy is None:  # Keras measures an accuracy of any model if told to
            gates.applicable(self.config.gates, adopted.dataset.task)
        self.terminal.say(f"model: {adopted}")
        if left.held_out:
            self.answers = adopted.answers
            self._measured(self.keras.accuracy if adopted.accuracy is None else adopted.accuracy, adopted.loss)
        else:
            self._measured(None, None)
            self.terminal.say("samples: no test samples; parity is measured on training samples")
        made = self._export(adopted.graph.network, adopted.dataset, adopted.graph.signature, scratch)
        if not left.held_out:
            made = replace(made, scored=None)
            self.measured |= dict.fromkeys(("exportedAccuracy", "exportedLoss"))
        self._check_gates(made.scored)
        return self._publish(made, adopted.dataset, scratch) if self.config.output else self._done()

    def _take_file(self, scratch: Path) -> Message:
        """Check and publish the file that the script wrote."""
        from trainserve.models.script import own_graph

        made = own_graph.take(scratch, self.config)
        self._measured(made.accuracy, made.loss)
        self.progress.update(percent=_EXPORTED)
        self.terminal.say(f"written by the script: {made}")
        self._check_gates(None)
        if self.config.output is None:
            return self._done()
        with written_to(scratch):
            files = made.record(scratch)
        metrics = store.Metrics(accuracy=made.accuracy, loss=made.loss)
        draft = made.draft(self.config, metrics, store.Energy(**self.measured["energy"]))
        draft = draft.model_copy(update={"curves": self._recorded})
        report = self._report(draft, made, lambda: self._known_of(made.tested()), scratch)
        return self.publication.send({**files, **report}, draft, self.last_step)

    def _known(self, dataset: Dataset) -> Known:
        """Facts for the report on the model and samples that the script left."""
        from trainserve.models.report.facts import Tested

        if self.answers is None:
            return self._known_of(None)
        by = "PyTorch: the model as the script left it"
        return self._known_of(Tested(dataset.test_images, dataset.test_targets, self.answers, by))

    def _known_of(self, tested: Tested | None) -> Known:
        """Facts for a script's report, including what is missing."""
        from trainserve.models.report import provenance
        from trainserve.models.report.facts import Known

        missing = []
        if self.config.dataset is None:
            data = {"data set": "loaded by the script itself"}
        else:
            data = provenance.asked(self.config.dataset) | {"read by": "the script, if at all"}
        if not self.curves.points:
            missing.append("Curves: the script reported no epoch (run.epoch of trainserve.models.sdk, or Keras's fit).")
        elif self._recorded is None:
            missing.append("Curves: what the script reported cannot be published; the run's log says why.")
        if tested is None:
            missing.append(
                "Answers to a test split: the script left none with class numbers or values (run.publish, Keras's "
                "evaluate, or samples.npz with probabilities and labels)."
            )
        return Known(data, tested, missing)

    def _measured(self, accuracy: float | None, loss: float | None) -> None:
        self.measured.update(accuracy=accuracy, loss=loss)
        self.progress.update(percent=_EVALUATED, eta_seconds=None)
        if accuracy is not None or loss is not None:
            self.progress.update(accuracy=accuracy, loss=loss)

    def _done(self) -> Message:
        self.progress.update(percent=100)
        return result.trained(self.progress, self.measured)
