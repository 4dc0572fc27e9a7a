"""One run in order: data, training, evaluation, export, checks, parity, gates, publishing."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainserve import store
from trainserve.api.messages import Message
from trainserve.models import builder, checkpoint, data, device, energy, gates, nvml, result, warmup
from trainserve.models.config import Config
from trainserve.models.curves import Curves
from trainserve.models.energy import Energy, EnergyMeter
from trainserve.models.gates import Scores
from trainserve.models.interrupt import Interrupt
from trainserve.models.progress import Progress
from trainserve.models.publication import Publication
from trainserve.models.rank import Rank
from trainserve.models.rapl import Rapl
from trainserve.models.scratch import scratch_folder, written_to
from trainserve.models.terminal import Terminal

if TYPE_CHECKING:
    import torch

    from trainserve.models.artifact import Artifact
    from trainserve.models.checkpoint import Checkpoints
    from trainserve.models.data.dataset import Dataset
    from trainserve.models.distributed import Gang
    from trainserve.models.evaluate import Answers, Evaluation
    from trainserve.models.network import Network
    from trainserve.models.program import Program
    from trainserve.models.report.facts import Known
    from trainserve.models.report.writing import Made
    from trainserve.models.signature import Signature
    from trainserve.models.train import Report

_TRAINED, _EVALUATED, _EXPORTED = 90, 92, 98
"""Progress in percent at the end of each step."""


class Run:
    """A run of a config by `execute`. torch is imported only by the steps that need it, so that errors in the input
    show early."""

    def __init__(
        self,
        config: Config,
        progress: Progress,
        terminal: Terminal,
        interrupt: Interrupt,
        measured: dict[str, Any],
        rank: Rank | None = None,
    ) -> None:
        """`measured`: filled with the status field `result`, also when `execute` raises.

        `rank`: this process's rank, by default of a single process.
        """
        self.config, self.progress, self.terminal, self.interrupt = config, progress, terminal, interrupt
        self.measured = measured
        self.rank = rank or Rank()
        self.publication = Publication(config, progress, terminal, interrupt, measured, self.rank)
        self.exporter_loading: threading.Thread | None = None
        self.drawing_loading: threading.Thread | None = None
        self.curves = Curves()
        self.answers: Answers | None = None
        self.last_step = 0.0
        self.tried: Program | None = None

    def execute(self) -> Message:
        """Execute the run and return the termination message; only rank 0's has the result.

        Raises RunFailed or Interrupted; then nothing is published.
        """
        if (earlier := self.publication.earlier()) is not None:
            return earlier
        self.publication.expect_writable()
        if self.rank.size == 1:
            return self._execute(None)
        from trainserve.models.distributed import gang_of

        with gang_of(self.rank) as gang:
            self.interrupt.release()
            return self._execute(gang)

    def _execute(self, gang: Gang | None) -> Message:
        dataset = data.load(self.config.dataset, self.config.trainer.seed, self.terminal.watch(), self.config.folder)
        self.terminal.say(f"data: {dataset}")
        signature = self._signature(dataset)
        network = self._train(dataset, signature, gang)
        if not self.rank.first:
            return result.trained(self.progress, {})
        with scratch_folder() as scratch:
            artifact = self._export(network, dataset, signature, scratch)
            self._check_gates(artifact.scored)
            if self.config.output is None:
                self.progress.update(percent=100)
                return result.trained(self.progress, self.measured)
            return self._publish(artifact, dataset, scratch)

    def _signature(self, dataset: Dataset) -> Signature:
        from trainserve.models.signature import signature

        gates.applicable(self.config.gates, dataset.task)
        return signature(self.config.export, dataset)

    def _train(self, dataset: Dataset, signature: Signature, gang: Gang | None) -> Network:
        import torch

        from trainserve.models.data.source import release
        from trainserve.models.distributed import ALONE
        from trainserve.models.evaluate import evaluate
        from trainserve.models.network import Network
        from trainserve.models.train import train

        config = self.config
        on, world = device.choose(self.rank), gang or ALONE
        torch.manual_seed(config.trainer.seed)
        built = builder.build(
            config.model, config.folder, dataset.shape, len(dataset.labels), self.terminal.watch(), dataset.task
        )
        network = Network(dataset.normalisation(), built, dataset.task)
        self._try_to_export(network, dataset, signature)
        network = network.to(on)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        self.terminal.say(f"model: {config.model}, {parameters} parameters, on {_describe(on)}")
        gpus = device.gpus(on)
        self.progress.update(gpus=gpus)
        meter = EnergyMeter(gpus, Rapl(), counting=self.rank.local == 0)
        world.meet(on)
        with (
            self.interrupt.at_checks_only(),
            world.together(),
            builder.blaming(config.model, config.folder),
            self._checkpoints(dataset) as checkpoints,
        ):
            report, say = partial(self._trained, meter), self.terminal.say
            trained = train(
                network, dataset, config.trainer, on, report, self.interrupt, world, checkpoints, say, self.curves
            )
            reading = energy.over_all(world, meter.read())
        world.leave()
        if not self.rank.first:
            return network
        self.last_step = time.perf_counter()
        images = trained.samples - trained.samples_before
        self._used(energy.summary(reading, images, len(dataset.train_images), config.energy))
        evaluation = evaluate(network, dataset, on)
        self.answers = evaluation.answers
        self._evaluated(trained, evaluation, on)
        for part in (dataset.train_images, dataset.test_images):  # the export needs few images and much memory
            release(part)
        return network

    def _try_to_export(self, network: Network, dataset: Dataset, signature: Signature) -> None:
        """Export the untrained network on trial, on rank 0; the others wait for it and fail with its error."""
        from trainserve.models import trial

        if not self.rank.first or not trial.needed(self.config):
            return
        start = time.perf_counter()
        with builder.blaming(self.config.model, self.config.folder):
            self.tried = trial.export(network, dataset, self.config, signature)
        self.terminal.say(f"export: tried with the untrained network, {time.perf_counter() - start:.1f} s")

    @contextlib.contextmanager
    def _checkpoints(self, dataset: Dataset) -> Iterator[Checkpoints | None]:
        """The checkpoints, on rank 0 and if the config has a section for them, else None."""
        if self.config.checkpoint is None or not self.rank.first:
            yield None
            return
        run = {section: self.config.spec()[section] for section in ("model", "dataset", "trainer")}
        images = {"trainingSamples": len(dataset.train_images), "shape": list(dataset.shape), "labels": dataset.labels}
        config, say = self.config.checkpoint, self.terminal.say
        with checkpoint.opened(config, {**run, "data": images}, say, self._saved) as checkpoints:
            yield checkpoints

    def _saved(self, when: float) -> None:
        self.progress.update(checkpoint=when)

    def _trained(self, meter: EnergyMeter, report: Report) -> None:
        meter.update()
        if not self.rank.first:
            return
        if self.exporter_loading is None:
            self.exporter_loading = warmup.start()
            if self.config.output is not None:
                self.drawing_loading = warmup.start_drawing(self.exporter_loading)
        eta = report.seconds / report.step * (report.steps - report.step)
        self.progress.update(
            epoch=report.epoch,
            epochs=self.config.trainer.epochs,
            step=report.step,
            percent=_TRAINED * report.step // report.steps,
            samples_per_second=round(report.samples_per_second, 1) or None,
            eta_seconds=round(eta, 1),
            loss=report.loss,
            accuracy=report.accuracy,
            samples=report.samples,
            step_seconds=report.seconds,
            **_load(self.progress.state.gpus),
        )
        self.terminal.trained(report, self.progress.state)

    def _used(self, used: Energy) -> None:
        self.measured.update({"energyJoules": used.joules, "energy": used.to_json()})
        self.terminal.say(f"energy: {used}", **used.to_json())

    def _evaluated(self, trained: Report, evaluation: Evaluation, on: torch.device) -> None:
        self.measured.update(
            {
                "accuracy": evaluation.accuracy,
                "loss": evaluation.loss,
                "samplesPerSecond": round(trained.samples_per_second, 1),
                "secondsLost": round(trained.seconds_lost, 3),
                "precision": trained.precision,
                "gpuSeconds": round(trained.seconds * self.rank.size, 3) if on.type == "cuda" else 0.0,
            }
        )
        self.progress.update(percent=_EVALUATED, loss=evaluation.loss, accuracy=evaluation.accuracy, eta_seconds=None)
        self.terminal.say(
            f"test split: {Scores(evaluation.accuracy, evaluation.loss)}",
            accuracy=evaluation.accuracy,
            loss=evaluation.loss,
        )

    def _export(self, network: Network, dataset: Dataset, signature: Signature, scratch: Path) -> Artifact:
        from trainserve.models import artifact
        from trainserve.models.graph import Graph

        if self.exporter_loading is not None:
            self.exporter_loading.join()
        with written_to(scratch / "model.onnx"):
            graph = Graph(network, signature)
            made = artifact.make(graph, dataset, self.config, scratch, program=self.tried)
        self.progress.update(percent=_EXPORTED)
        self.terminal.say(f"exported: {made}")
        return made

    def _check_gates(self, exported: Scores | None) -> None:
        if exported is not None:
            self.measured.update(exportedAccuracy=exported.accuracy, exportedLoss=exported.loss)
        gates.check(self.config.gates, Scores(self.measured.get("accuracy"), self.measured.get("loss")), exported)

    def _publish(self, artifact: Artifact, dataset: Dataset, scratch: Path) -> Message:
        with written_to(scratch):
            files = artifact.record(scratch)
        metrics = store.Metrics(accuracy=self.measured["accuracy"], loss=self.measured["loss"])
        draft = artifact.draft(self.config, dataset, metrics, store.Energy(**self.measured["energy"]))
        draft = draft.model_copy(update={"curves": self._recorded})
        report = self._report(draft, artifact, lambda: self._known(dataset), scratch)
        return self.publication.send({**files, **report}, draft, self.last_step)

    @cached_property
    def _recorded(self) -> store.Curves | None:
        """The curves of the finished training; None, with a log line, if they are invalid."""
        try:
            return self.curves.published()
        except Exception as error:  # a script may have reported anything; the model is fine
            self.terminal.say(f"curves: not published: {_told(error)}")
            return None

    def _known(self, dataset: Dataset) -> Known:
        """Facts for the report."""
        from trainserve.models.report import provenance
        from trainserve.models.report.facts import Known, Tested

        tested = None
        if self.answers is not None:
            by = "the trained network in PyTorch, in fp32, before it was exported"
            tested = Tested(dataset.test_images, dataset.test_targets, self.answers, by)
        return Known(provenance.provenance(self.config.dataset, dataset), tested)

    def _report(
        self, draft: store.ManifestDraft, made: Made, known: Callable[[], Known], scratch: Path
    ) -> dict[str, Path]:
        """Write report.html into `scratch` and return it by name; empty, with a log line, if it fails."""
        assert self.config.output is not None
        scores = Scores(draft.metrics.accuracy, draft.metrics.loss)
        exported = Scores(draft.metrics.exported_accuracy, draft.metrics.exported_loss)
        held = gates.held(self.config.gates, scores, None if exported.loss is None else exported)
        if self.drawing_loading is not None:
            self.drawing_loading.join()
        try:
            from trainserve.models.report import writing

            job, model = self.config.job, self.config.output.model
            content = writing.content(job.namespace, model, draft, made, held, known())
        except Exception as error:  # whatever a library raises; the model is fine
            self.terminal.say(f"report: not published: {_told(error)}")
            return {}
        with written_to(scratch / store.REPORT):
            (scratch / store.REPORT).write_bytes(content)
        return {store.REPORT: scratch / store.REPORT}


def _told(error: Exception) -> str:
    """The error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")


def _describe(on: torch.device) -> str:
    import torch

    if on.type == "cuda":
        return torch.cuda.get_device_name(on)
    return f"the CPU, {torch.get_num_threads()} thread(s)"


def _load(gpus: tuple[str, ...]) -> dict[str, Any]:
    """The State's fields on GPUs; empty if the driver does not report them."""
    try:
        loads = [nvml.load(uuid) for uuid in gpus]
    except nvml.Unreadable:
        return {}
    if not loads:
        return {}
    return {
        "gpu_utilization": round(sum(load.utilization for load in loads) / len(loads), 3),
        "gpu_memory_bytes": sum(load.memory_used for load in loads),
    }
