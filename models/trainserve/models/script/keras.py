"""Watches Keras 3: `Model.fit` reports its progress, and `Model.evaluate` says which model counts and on what samples.

Keras runs on PyTorch here, where each of its models is an nn.Module that our exporter takes. The script needs no line
for it: the two methods are wrapped at the moment it imports keras.
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
"""The argument by which Keras's fit calls evaluate for its validation."""


@dataclass(frozen=True)
class Given:
    """A model and what it was given: arrays, or batches in `x` alone. `held_out`: to be evaluated, not to be fitted."""

    model: Any
    x: Any
    y: Any
    held_out: bool


class KerasWatch:
    """What Keras does in this process."""

    def __init__(self, running: Running, data: Watch) -> None:
        """`data` is told of data sets that are fetched for the script."""
        self._running, self._data = running, data
        self.fitted: Given | None = None
        """What fit was given last."""
        self._evaluated: Given | None = None
        self.accuracy: float | None = None
        """What Keras said of the model that was evaluated last; None where it has no such metric."""

    def install(self, home: Path) -> None:
        """Choose PyTorch as the backend, and wait for the script to import keras.

        `home` is where Keras keeps what it downloads, unless KERAS_HOME says so already.
        """
        os.environ.setdefault("KERAS_BACKEND", "torch")
        os.environ.setdefault("KERAS_HOME", str(home))
        when_imported("keras", self._imported)

    @property
    def newest(self) -> Given | None:
        """The model that was evaluated last, with those samples; else the one fitted last, with its own."""
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
    """Of an optimizer that has one; a schedule's is that of its next step."""
    rate = getattr(model.optimizer, "learning_rate", None)
    return None if rate is None else float(rate)


def _several(callbacks: Any) -> list[Any]:
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]


def _a_line_per_epoch(given: dict[str, Any]) -> None:
    """Where stdout is a log, Keras's bar, which is drawn over and over, gives way to its line per epoch."""
    if given["verbose"] == "auto" and not sys.stdout.isatty():
        given["verbose"] = 2
