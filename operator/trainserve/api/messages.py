"""Messages from pods to the operator: termination messages, and answers to its requests.

Each message is a frozen model. A reader ignores unknown fields, since a newer release may write more. It refuses a
message with a later `formatVersion` than FORMAT, because its fields may have another meaning.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, WrapValidator

from trainserve.api.pod import PodPath, Variable
from trainserve.api.reasons import Reason
from trainserve.api.reported import Artifact, Progress, Result, Said
from trainserve.api.scalars.address import Digest
from trainserve.api.scalars.duration import ReportedDelay
from trainserve.api.scalars.values import MAX_COUNT, Count

FORMAT = 1
"""`formatVersion` of what this release writes. A message that names none is of format 1, as earlier releases wrote."""
LIMIT = 4096
"""Bytes of a termination message; the kubelet cuts off what is beyond (terminationMessagePath, Kubernetes API)."""
GAP = " ... "
"""What stands for the middle of a text that did not fit."""
_HEAD = 400
"""Bytes that are kept of the beginning of such a text, at most; the rest is its end, where the cause stands."""
_LISTED = 8
"""Items of a list of texts that are written, at most."""


def _or_nothing(value: Any, read: Callable[[Any], Any]) -> Any:
    try:
        return read(value)
    except ValidationError:
        return None


def _texts(value: Any) -> Any:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else None


_T = TypeVar("_T")
IfReadable = Annotated[_T | None, WrapValidator(_or_nothing)]
"""A field without which the rest of the message is worth reading: what is not of its form is none."""
PassedOver = Annotated[list[str] | None, BeforeValidator(_texts)]
"""What lies in the store beside the version and is none, each with why."""


class Message(Said):
    """Base of the termination messages."""

    format_version: int = Field(FORMAT, ge=1, le=FORMAT)

    def wire(self) -> dict[str, Any]:
        """Return the JSON form, with the format's version and the outcome first."""
        return {"formatVersion": self.format_version, "outcome": getattr(self, "outcome", None), **super().wire()}


class Trained(Message):
    """A run trained and measured, and was not asked to publish."""

    outcome: Literal["Trained"] = "Trained"
    progress: IfReadable[Progress] = None
    result: IfReadable[Result] = None
    message: IfReadable[str] = Field(None, description="Names the figures that are not numbers, and therefore null.")


class Published(Message):
    """A run published a version."""

    outcome: Literal["Published"] = "Published"
    progress: IfReadable[Progress] = None
    result: IfReadable[Result] = None
    message: IfReadable[str] = Field(None, description="Names the figures that are not numbers, and therefore null.")
    artifact: Artifact | None = Field(None, description="The version that was published.")
    passed_over: PassedOver = Field(None, description="Entries of the store that are not versions, each with why.")


class Failed(Message):
    """A container of any kind did not do what it was asked to."""

    outcome: Literal["Failed"] = "Failed"
    reason: IfReadable[str] = Field(None, description="Why, in one word; see the table of reasons.")
    message: IfReadable[str] = Field(None, description="Why, in a sentence.")
    progress: IfReadable[Progress] = Field(None, description="Progress of the run so far.")
    result: IfReadable[Result] = Field(None, description="Measurements of the run so far.")


class Fetched(Message):
    """A serving pod has the model that it was told to fetch."""

    outcome: Literal["Fetched"] = "Fetched"
    version: int | None = Field(None, ge=1, le=MAX_COUNT, description="Number of the version; absent for a lone graph.")
    digest: Digest = Field(description="Digest of the version, or of the lone graph.")


class Resolved(Message):
    """The version that the store holds."""

    outcome: Literal["Resolved"] = "Resolved"
    uri: str = Field(min_length=1, description="Public address of the version.")
    version: int = Field(ge=1, le=MAX_COUNT, description="Number of the version.")
    digest: Digest = Field(description="Digest of the version.")
    passed_over: PassedOver = Field(None, description="Entries of the store that are not versions, each with why.")


class Tuned(Message):
    """Result of the tuner: the settings that meet the objective, or what would be needed."""

    outcome: Literal["Tuned"] = "Tuned"
    held: bool = Field(description="Whether settings were found that hold the objective.")
    message: str = Field(min_length=1, description="The choice, or what would be needed to hold the objective.")
    instances: int | None = Field(None, ge=1, le=64, description="Chosen instances.")
    threads: int | None = Field(None, ge=1, le=256, description="Chosen threads.")
    max_batch: int | None = Field(None, ge=1, le=4096, description="Chosen dynamicBatching.maxBatch.")
    max_queue_delay: ReportedDelay | None = Field(
        None,
        description="Chosen dynamicBatching.maxQueueDelay; absent if requests do not wait.",
    )
    p99_ms: float | None = Field(
        None, ge=0, description="99th percentile of the latency with these settings, in milliseconds."
    )
    requests_per_second: float | None = Field(None, ge=0, description="Load at which that latency was measured.")


class Batching(Said):
    """Whether a server joins requests along the first axis, and why."""

    axis: Literal["first", "none"] = Field(
        description="first: requests are joined along the first axis. none: each is run alone."
    )
    reason: IfReadable[str] = Field(None, description="Why.")


class Report(Said):
    """Findings of the probe of a server; its answer to `/report`."""

    format_version: int = Field(FORMAT, ge=1, le=FORMAT)
    verified: IfReadable[bool] = Field(
        None, description="Whether the server's answers are correct; null until there is a verdict."
    )
    reason: IfReadable[str] = Field(None, description="Why, in one word; see the table of reasons.")
    message: IfReadable[str] = Field(None, description="Why, in a sentence.")
    samples: IfReadable[Count] = Field(
        None, description="Number of recorded samples that were compared; 0 if there are none."
    )
    batching: IfReadable[Batching] = Field(None, description="Whether requests are joined, and why.")
    max_abs: IfReadable[float] = Field(None, description="Largest absolute difference from the recorded outputs.")
    max_rel: IfReadable[float] = Field(None, description="Largest relative difference from the recorded outputs.")
    p50_ms: IfReadable[float] = Field(None, description="Median latency of single inferences, in milliseconds.")
    p99_ms: IfReadable[float] = Field(
        None, description="99th percentile of the latency of single inferences, in milliseconds."
    )


Outcome = Annotated[Trained | Published | Failed | Fetched | Resolved | Tuned, Field(discriminator="outcome")]
_OUTCOMES: TypeAdapter[Outcome] = TypeAdapter(Outcome)
_KNOWN = ("Trained", "Published", "Failed", "Fetched", "Resolved", "Tuned")
_Kind = TypeVar("_Kind", bound=Said)


class Unreadable(ValueError):
    """A message of one of our pods that this release cannot read; says which field, or which format."""


def of(content: Mapping[str, Any]) -> Outcome | None:
    """Parse a termination message from its JSON object; None if it is not one of these messages. Raises Unreadable."""
    if content.get("outcome") not in _KNOWN:
        if "outcome" in content and (newer := _newer(content)):
            raise Unreadable(newer)
        return None
    if newer := _newer(content):
        raise Unreadable(newer)
    try:
        return _OUTCOMES.validate_python(content)
    except ValidationError as error:
        _, *place = error.errors(include_url=False, include_input=False)[0]["loc"]
        named = ".".join(map(str, place))
        raise Unreadable(f"the pod's termination message cannot be read: {named}") from None


def answered(kind: type[_Kind], content: Any) -> _Kind | None:
    """Parse a pod's answer as `kind`; None if it has another form or a later format."""
    if not isinstance(content, Mapping) or _newer(content):
        return None
    try:
        return kind.model_validate(content)
    except ValidationError:
        return None


def _newer(content: Mapping[str, Any]) -> str | None:
    version = content.get("formatVersion", FORMAT)
    if isinstance(version, int) and version > FORMAT:
        return (
            f"the pod's message is of formatVersion {version}, and this release reads up to {FORMAT}: its image is of a"
            " later release than the operator"
        )
    return None


def encoded(message: Message, mask: Callable[[Any], Any]) -> str:
    """Return the message as one line of JSON under LIMIT bytes; `mask` removes the values of Secrets from it.

    Texts that are too long lose their middle, and lists of texts their end. An address is never shortened: a message
    whose address leaves no room becomes Failed.
    """
    content = mask(message.wire())
    line = json.dumps(content, allow_nan=False)
    if len(line) < LIMIT:
        return line
    content = _listed(content)
    room = LIMIT - 1 - len(json.dumps(_with(content, lambda text: "")))
    texts = list(_prose(content))
    if room < len(texts) * 2 * len(GAP):
        words = f"an address or a name in the message is too long for a termination message of {LIMIT} bytes"
        return json.dumps(Failed(reason=Reason.STORE_ERROR, message=words).wire())
    each = _share(sorted(_size(text) for text in texts), room)
    return json.dumps(_with(content, lambda text: shortened(text, each)), allow_nan=False)


def leave(line: str) -> None:
    """Write a termination message to Kubernetes' file; do nothing outside of a pod. Raises OSError."""
    path = termination_log()
    if path is not None:
        path.write_text(line)


def termination_log() -> Path | None:
    """Return the path of the file for the termination message; None outside of a pod."""
    if given := os.environ.get(Variable.TERMINATION_LOG):
        return Path(given)
    default = Path(PodPath.TERMINATION_LOG)
    return default if default.is_file() else None


def shortened(text: str, room: int) -> str:
    """Return `text`, or its beginning and end, in at most `room` bytes of ASCII JSON."""
    if _size(text) <= room:
        return text
    sizes = [_size(character) for character in text]
    room -= len(GAP)
    head = _fitting(sizes, min(_HEAD, room // 2))
    tail = _fitting(sizes[::-1], room - sum(sizes[:head]))
    return text[:head] + GAP + text[len(text) - tail :]


def _fitting(sizes: list[int], room: int) -> int:
    """Return how many of the first `sizes` fit into `room` together."""
    for count, size in enumerate(sizes):
        room -= size
        if room < 0:
            return count
    return len(sizes)


def _size(text: str) -> int:
    """Return the bytes that `text` takes within a JSON string."""
    return len(json.dumps(text)) - 2


def _share(sizes: list[int], room: int) -> int:
    """Return the maximum number of bytes per text with which all fit into `room`; `sizes` are in ascending order."""
    for number, size in enumerate(sizes):
        left = len(sizes) - number
        if size * left > room:
            return room // left
        room -= size
    return room


def _listed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content with long lists cut to _LISTED items, the last of which counts those left out."""
    cut = dict(content)
    for name, value in content.items():
        if isinstance(value, list) and len(value) > _LISTED:
            cut[name] = [*value[: _LISTED - 1], f"and {len(value) - _LISTED + 1} more"]
    return cut


_WHOLE = ("outcome", "reason", "uri", "digest")
"""Names of the fields of a message whose texts mean nothing in part."""


def _with(content: Any, change: Callable[[str], str], depth: int = 0) -> Any:
    """Return the content with `change` applied to every text, except for those that must not be shortened."""
    if isinstance(content, str):
        return change(content)
    if isinstance(content, list):
        return [_with(each, change, depth + 1) for each in content]
    if isinstance(content, dict):
        return {
            name: value if name in _WHOLE and not (name == "reason" and depth) else _with(value, change, depth + 1)
            for name, value in content.items()
        }
    return content


def _prose(content: Any) -> Iterator[str]:
    texts: list[str] = []
    _with(content, lambda text: texts.append(text) or text)  # type: ignore[func-returns-value]
    yield from texts
