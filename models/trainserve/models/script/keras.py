"""Monitoring of Keras 3: `Model.fit` reports progress, `Model.evaluate` determines the model and its test samples.

Keras runs on PyTorch, where its models are nn.Modules that can be exported. The script needs no changes: both methods
are wrapped when it imports keras.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from trainserve.models.data.watch import Watch
from trainserve.models.imports import when_imported
from trainserve.models.script.keras_data import prime
from trainserve.models.script.keras_progress import FitProgress, accuracy
from trainserve.models.script.running import Running

_INSIDE_FIT = "_use_cached_eval_dataset"
"""The argument that marks a call of evaluate by Keras's fit, for validation."""


@dataclass(frozen=True)
class Given:
    """A model with its samples: arrays, or batches in `x` only. `held_out`: from evaluate, not from fit."""

    model: Any
    x: Any
    y: Any
    held_out: bool


class KerasWatch:
    """The calls of Keras's fit and evaluate in this process."""

    def __init__(self, running: Running, data: Watch) -> None:
        """`data` logs data sets that are fetched for the script."""
        self._running, self._data = running, data
        self.fitted: Given | None = None
        """Model and samples of the last call of fit."""
        self._evaluated: Given | None = None
        self.accuracy: float | None = None
        """Keras's accuracy of the model evaluated last; None without such a metric."""

    def install(self, home: Path) -> None:
        """Select the PyTorch backend and hook the import of keras.

        `home`: Keras's folder for downloads, unless KERAS_HOME is set.
        """
        os.environ.setdefault("KERAS_BACKEND", "torch")
        os.environ.setdefault("KERAS_HOME", str(home))
        when_imported("keras", self._imported)

    @property
    def newest(self) -> Given | None:
        """The model evaluated last, with its samples, else the one fitted last."""
        return self._evaluated or self.fitted

    def _imported(self, keras: ModuleType) -> None:
        prime(keras, self._data)
        callback = keras.callbacks.LambdaCallback
        keras.Model.fit = _wrapped(keras.Model.fit, functools.partial(self._fit, callback))
        keras.Model.evaluate = _wrapped(keras.Model.evaluate, self._evaluate)

    def _fit(self, callback: Callable[..., Any], call: inspect.BoundArguments, original: Callable[..., Any]) -> Any:
        given = call.arguments
        following = FitProgress(self._running, given["batch_size"], given["x"])
        added = callback(
            on_train_begin=following.begins,
            on_epoch_begin=following.epoch_begins,
            on_train_batch_end=following.batch_ends,
            on_epoch_end=following.epoch_ends,
        )
        following.params = lambda: added.params
        following.rate = lambda: _rate(given["self"])
        given["callbacks"] = [*_several(given["callbacks"]), added]
        _a_line_per_epoch(given)
        self._evaluated, self.accuracy = None, None
        history = original(*call.args, **call.kwargs)
        self.fitted = Given(given["self"], given["x"], given["y"], held_out=False)
        return history

    def _evaluate(self, call: inspect.BoundArguments, original: Callable[..., Any]) -> Any:
        given = call.arguments
        if not given["kwargs"].get(_INSIDE_FIT):
            _a_line_per_epoch(given)
        answer = original(*call.args, **call.kwargs)
        self._evaluated = Given(given["self"], given["x"], given["y"], held_out=True)
        self.accuracy = accuracy(given["self"].get_metrics_result())
        return answer


def _wrapped(
    original: Callable[..., Any], instead: Callable[[inspect.BoundArguments, Callable[..., Any]], Any]
) -> Callable[..., Any]:
    takes = inspect.signature(original)

    @functools.wraps(original)
    def method(*arguments: Any, **named: Any) -> Any:
        call = takes.bind(*arguments, **named)
        call.apply_defaults()
        return instead(call, original)

    return method


def _rate(model: Any) -> float | None:
    """The optimizer's learning rate, with a schedule that of the next step; None if it has none."""
    rate = getattr(model.optimizer, "learning_rate", None)
    return None if rate is None else float(rate)


def _several(callbacks: Any) -> list[Any]:
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]


def _a_line_per_epoch(given: dict[str, Any]) -> None:
    """If stdout is not a terminal, replace Keras's progress bar by a line per epoch."""
    if given["verbose"] == "auto" and not sys.stdout.isatty():
        given["verbose"] = 2
