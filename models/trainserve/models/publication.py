"""Publishing the version of a run, and what its termination message says of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainserve import store
from trainserve.api import reported
from trainserve.api.messages import Message
from trainserve.models import checkpoint, result
from trainserve.models.config import Config
from trainserve.models.errors import PublishFailed
from trainserve.models.interrupt import Interrupt
from trainserve.models.progress import Progress
from trainserve.models.rank import Rank
from trainserve.models.terminal import Terminal


class Publication:
    """The version that a run publishes, once."""

    def __init__(
        self,
        config: Config,
        progress: Progress,
        terminal: Terminal,
        interrupt: Interrupt,
        measured: dict[str, Any],
        rank: Rank,
    ) -> None:
        """`measured`: the status field `result` of the run, which an earlier version's metrics are added to."""
        self.config, self.progress, self.terminal, self.interrupt = config, progress, terminal, interrupt
        self.measured, self.rank = measured, rank

    def earlier(self) -> Message | None:
        """Return the termination message if an earlier attempt published and its message was lost, else None."""
        config = self.config
        if config.output is None or config.store is None or config.job.uid is None:
            return None
        root, job, public = config.store.root, config.job, config.store.public_root
        try:
            published = store.published_by(root, job.namespace, config.output.model, config.job.uid, public)
        except store.StoreError as error:
            raise PublishFailed(str(error)) from error
        if published is None:
            return None
        metrics = published.manifest.metrics
        self.measured.update(accuracy=metrics.accuracy, loss=metrics.loss)
        self.terminal.say(
            f"published before: {published.uri} {published.digest}, by an earlier attempt of this TrainJob"
        )
        return self._message(published)

    def expect_writable(self) -> None:
        """Raise PublishFailed, before training, if the version could not be published."""
        if self.config.output is None or self.config.store is None:
            return
        try:
            store.expect_writable(self.config.store.root, self.config.job.namespace, self.config.output.model)
        except store.StoreError as error:
            raise PublishFailed(str(error)) from error

    def send(self, files: Mapping[str, Path], draft: store.ManifestDraft, last_step: float) -> Message:
        """Publish `files` as the next version and return the termination message.

        `last_step` is the end of the last training step, by `time.perf_counter`. Raises PublishFailed.
        """
        config = self.config
        assert config.output is not None and config.store is not None
        self.interrupt.too_late()
        job, root, public = config.job, config.store.root, config.store.public_root
        try:
            published = store.publish(root, job.namespace, config.output.model, files, draft, public)
        except store.StoreError as error:
            raise PublishFailed(str(error)) from error
        after = time.perf_counter() - last_step
        self.terminal.say(f"published: {published.uri} {published.digest}, {after:.2f} s after the last training step")
        return self._message(published)

    def _message(self, published: store.Published) -> Message:
        self.progress.update(percent=100)
        if self.config.checkpoint is not None and self.rank.first:
            checkpoint.discard(Path(self.config.checkpoint.folder))
        manifest = published.manifest
        for each in published.passed_over:
            self.terminal.say(f"passed over: {each}")
        told: dict[str, Any] = {}
        if manifest.parity.max_abs is not None and manifest.parity.max_rel is not None:
            told["parity"] = reported.MeasuredParity(max_abs=manifest.parity.max_abs, max_rel=manifest.parity.max_rel)
        artifact = reported.Artifact(
            uri=published.uri,
            version=published.version,
            digest=published.digest,
            bytes=published.bytes,
            opset=manifest.opset,
            precision=manifest.precision,
            **told,
        )
        passed = {"passed_over": [*published.passed_over]} if published.passed_over else {}
        return result.published(self.progress, self.measured, artifact=artifact, **passed)
