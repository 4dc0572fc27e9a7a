"""Drawings of a manifest's training curves."""

from __future__ import annotations

from collections.abc import Sequence

from trainserve import store
from trainserve.models.report import figures
from trainserve.models.report.figures import Line


def drawn(curves: store.Curves | None, metrics: store.Metrics) -> list[str]:
    """SVGs of loss, accuracy, speed and learning rate, as far as known; the test split's scores are marked at the end.

    A constant learning rate is left out: it is in the configuration.
    """
    if curves is None:
        return []
    where = along(curves)
    found = []
    for name, training, validation, tested in (
        ("loss", curves.loss, curves.validation_loss, metrics.loss),
        ("accuracy", curves.accuracy, curves.validation_accuracy, metrics.accuracy),
        ("samples/s", curves.samples_per_second, None, None),
        ("learning rate", curves.learning_rate, None, None),
    ):
        lines = [
            Line(told, where, column)
            for told, column in (("training", training), ("validation", validation))
            if column is not None
        ]
        if lines and not (name == "learning rate" and len({*lines[0].y}) == 1):
            mark = None if tested is None else (where[-1], tested, "test split, at the end")
            found.append(figures.lines(name, lines, "epochs", mark, from_zero=name in ("samples/s", "learning rate")))
    return found


def along(curves: store.Curves) -> Sequence[float]:
    """The x position of each point in epochs, fractional if steps are known."""
    steps = curves.step
    if steps is None or not steps[-1]:
        return curves.epoch
    return [step / steps[-1] * curves.epoch[-1] for step in steps]


def note(curves: store.Curves | None) -> str:
    """A note that explains the curves."""
    if curves is None:
        return ""
    return (
        f"{len(curves.epoch)} points over {curves.seconds[-1]:.1f} s of training. Its loss and accuracy are means over "
        "the running epoch so far; manifest.json has the numbers."
    )
