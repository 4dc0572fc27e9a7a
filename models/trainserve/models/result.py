"""The run's one result: the termination message, to Kubernetes and as the last line of stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

from trainserve.models.finite import finite, no_numbers
from trainserve.models.progress import Progress
from trainserve.models.rank import Rank
from trainserve.store.masking import masked

if TYPE_CHECKING:
    from trainserve.api.messages import Failed, Message, Published, Trained

_Kind = TypeVar("_Kind", bound="Message")

# trainserve.api.messages is imported by who needs it: pydantic is, once the run is asked for its progress already.


def trained(progress: Progress, measured: dict[str, Any]) -> Trained:
    """The message of a run that did what was asked, which was not to publish."""
    from trainserve.api.messages import Trained

    return _message(Trained, progress, measured)


def published(progress: Progress, measured: dict[str, Any], **more: Any) -> Published:
    """The message of a run that published a version; `more` are its `artifact` and what it has passed over."""
    from trainserve.api.messages import Published

    return _message(Published, progress, measured, **more)


def failure(reason: str, text: str, progress: Progress, measured: dict[str, Any]) -> Failed:
    """The message of a run that failed, with what it had measured by then."""
    from trainserve.api.messages import Failed

    return _message(Failed, progress, measured, reason=reason, message=" ".join(text.split()))


def _message(kind: type[_Kind], progress: Progress, measured: dict[str, Any], **more: Any) -> _Kind:
    """What is no finite number is null, and the message says which figures are none."""
    figures = {"progress": progress.figures(), "result": measured}
    if none := ", ".join(no_numbers(figures)):
        said = [text for text in (more.get("message"), f"no number, and null here: {none}") if text]
        more["message"] = "; ".join(said)
    return kind.model_validate({**finite(figures), **more})


def write(message: Message, rank: Rank | None = None) -> None:
    """To the pod's termination log, where there is one, and to stdout.

    Of several processes rank 0 has the word; another one leaves only what it failed with, where there is nothing yet.
    """
    from trainserve.api import messages

    rank = rank or Rank()
    failed = message if isinstance(message, messages.Failed) else None
    if not rank.first and failed is None:
        return
    line, path = encode(message), messages.termination_log()
    try:
        if rank.first or path is None or not path.is_file() or not path.stat().st_size:
            messages.leave(line)
    except OSError as error:
        print(f"cannot write the termination message to {path}: {error.strerror}", file=sys.stderr)
    if rank.first:
        print(line, flush=True)
    elif failed is not None:
        print(f"rank {rank.rank}: {failed.reason}: {failed.message}", file=sys.stderr)


def encode(message: Message) -> str:
    """One line of JSON that Kubernetes takes as a whole, without values of Secrets."""
    from trainserve.api.messages import encoded

    return encoded(message, masked)
