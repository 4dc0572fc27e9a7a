"""What pods say: as their termination messages, and in answer to the operator. Written there, read by the operator.

Each is a frozen model. A reader passes over fields that it does not know, for a newer release may say more; a message
of a later `formatVersion` than FORMAT it does not read at all, because its fields may mean something else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, WrapValidator

from trainserve.api.base import StatusType
from trainserve.api.pod import PodPath, Variable
from trainserve.api.reasons import Reason
from trainserve.api.scalars.address import Digest
from trainserve.api.scalars.duration import ReportedDelay
from trainserve.api.scalars.values import MAX_COUNT, Count, Figure, Text, Timestamp

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


class Said(StatusType):
    """Base of what pods say, with fields in the wire's camelCase."""

    model_config = ConfigDict(frozen=True)

    def wire(self) -> dict[str, Any]:
        """As JSON has it: the fields that were set, null where nothing is known of one."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class Progress(Said):
    """Where the run is, as the pod's rank 0 says."""

    epoch: Count | None = None
    epochs: Count | None = None
    step: Count | None = None
    percent: int | None = Field(None, ge=0, le=100)
    samples_per_second: Figure = None
    eta_seconds: Figure = None
    loss: Figure = None
    accuracy: Figure = None
    gpu_utilization: Figure = Field(None, description="Share of the time in which the GPUs worked, 0 to 1.")
    gpu_memory_bytes: Count | None = Field(None, description="In use on the GPUs.")
    updated_time: Timestamp | None = None


class MeasuredEnergy(Said):
    """Energy of the training, from counters alone; what no counter gave is absent, and `reason` says why."""

    joules: Figure = Field(None, description="Of the GPUs that trained; in a run on the CPU, of the node's processors.")
    source: Text = Field(None, description="nvml, rapl, or none.")
    reason: Text = Field(None, description="Why a reading is missing.")
    joules_per_epoch: Figure = None
    joules_per_image: Figure = None
    cpu_joules: Figure = Field(None, description="Of the node's processors and memory, whatever ran there.")
    grams_co2e: Figure = Field(
        None, alias="gramsCO2e", description="Of joules, where energy.gridIntensity is given: grams of CO2 equivalent."
    )


class Result(Said):
    """What the finished run measured, on the test split where it concerns the model."""

    accuracy: Figure = None
    loss: Figure = None
    samples_per_second: Figure = None
    seconds_lost: Figure = Field(None, description="Seconds of work lost to restarts.")
    precision: Text = Field(None, description="Arithmetic of the training step: fp32, tf32 or bf16.")
    exported_accuracy: Figure = Field(None, description="Of the exported file, where it was measured.")
    exported_loss: Figure = Field(None, description="Of the exported file, where it was measured.")
    energy: MeasuredEnergy | None = None
    energy_joules: Figure = Field(None, description="Absent where no energy counter exists.")
    gpu_seconds: Figure = None


class MeasuredParity(Said):
    """Largest differences seen between onnxruntime's outputs and PyTorch's."""

    max_abs: float
    max_rel: float


class Artifact(Said):
    """The published version."""

    uri: str = Field(min_length=1)
    version: int = Field(ge=1, le=MAX_COUNT)
    digest: Digest
    bytes: Count
    opset: Count
    precision: Text = Field(None, description="Number format of the weights: fp32, fp16 or int8.")
    parity: MeasuredParity | None = Field(
        None, description="Absent where a script wrote the file itself and recorded nothing to compare it with."
    )


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
        """As JSON has it, with the format's version and the outcome first."""
        return {"formatVersion": self.format_version, "outcome": getattr(self, "outcome", None), **super().wire()}


class Trained(Message):
    """A run trained and measured, and was not asked to publish."""

    outcome: Literal["Trained"] = "Trained"
    progress: IfReadable[Progress] = None
    result: IfReadable[Result] = None
    message: IfReadable[str] = Field(None, description="Names the figures that are no number, and so null.")


class Published(Message):
    """A run published a version."""

    outcome: Literal["Published"] = "Published"
    progress: IfReadable[Progress] = None
    result: IfReadable[Result] = None
    message: IfReadable[str] = Field(None, description="Names the figures that are no number, and so null.")
    artifact: Artifact | None = None
    passed_over: PassedOver = None


class Failed(Message):
    """A container of any kind did not do what it was asked to."""

    outcome: Literal["Failed"] = "Failed"
    reason: IfReadable[str] = None
    message: IfReadable[str] = None
    progress: IfReadable[Progress] = Field(None, description="Of a run: where it was.")
    result: IfReadable[Result] = Field(None, description="Of a run: what it had measured.")


class Fetched(Message):
    """A serving pod has the model that it was told to fetch."""

    outcome: Literal["Fetched"] = "Fetched"
    version: int | None = Field(None, ge=1, le=MAX_COUNT, description="Absent of a lone graph.")
    digest: Digest


class Resolved(Message):
    """The version that the store holds."""

    outcome: Literal["Resolved"] = "Resolved"
    uri: str = Field(min_length=1)
    version: int = Field(ge=1, le=MAX_COUNT)
    digest: Digest
    passed_over: PassedOver = None


class Tuned(Message):
    """What the tuner measured: the settings that hold the objective, or what would be needed."""

    outcome: Literal["Tuned"] = "Tuned"
    held: bool
    message: str = Field(min_length=1)
    instances: int | None = Field(None, ge=1, le=64)
    threads: int | None = Field(None, ge=1, le=256)
    max_batch: int | None = Field(None, ge=1, le=4096)
    max_queue_delay: ReportedDelay | None = None
    p99_ms: float | None = Field(None, ge=0)
    requests_per_second: float | None = Field(None, ge=0)


class Batching(Said):
    """Whether a server joins requests along the first axis, and why."""

    axis: Literal["first", "none"]
    reason: IfReadable[str] = None


class Report(Said):
    """What the probe beside a server has found; its answer to `/report`."""

    format_version: int = Field(FORMAT, ge=1, le=FORMAT)
    verified: IfReadable[bool] = Field(None, description="Null until there is a verdict.")
    reason: IfReadable[str] = None
    message: IfReadable[str] = None
    samples: IfReadable[Count] = Field(None, description="Recorded samples that were compared; 0 where none are.")
    batching: IfReadable[Batching] = None
    max_abs: IfReadable[float] = None
    max_rel: IfReadable[float] = None
    p50_ms: IfReadable[float] = None
    p99_ms: IfReadable[float] = None


Outcome = Annotated[Trained | Published | Failed | Fetched | Resolved | Tuned, Field(discriminator="outcome")]
_OUTCOMES: TypeAdapter[Outcome] = TypeAdapter(Outcome)
_KNOWN = ("Trained", "Published", "Failed", "Fetched", "Resolved", "Tuned")
_Kind = TypeVar("_Kind", bound=Said)


class Unreadable(ValueError):
    """A message of one of our pods that this release cannot read; says which field, or which format."""


def of(content: Mapping[str, Any]) -> Outcome | None:
    """A termination message from its JSON; None where it is none of ours. Raises Unreadable."""
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
    """A pod's answer as what it has to be; None where it is of another form or of a later format."""
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
    """One line of JSON under LIMIT bytes, whatever the message's texts; `mask` takes the values of Secrets from it.

    Texts that are too long lose their middle, a list of texts its end. An address is whole or not there: a message
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
    """Hand a termination message to Kubernetes, where there is one to take it. Raises OSError."""
    path = termination_log()
    if path is not None:
        path.write_text(line)


def termination_log() -> Path | None:
    """The file that takes the termination message; None outside of a pod."""
    if given := os.environ.get(Variable.TERMINATION_LOG):
        return Path(given)
    default = Path(PodPath.TERMINATION_LOG)
    return default if default.is_file() else None


def shortened(text: str, room: int) -> str:
    """`text`, or its beginning and its end, in at most `room` bytes as ASCII JSON writes them."""
    if _size(text) <= room:
        return text
    sizes = [_size(character) for character in text]
    room -= len(GAP)
    head = _fitting(sizes, min(_HEAD, room // 2))
    tail = _fitting(sizes[::-1], room - sum(sizes[:head]))
    return text[:head] + GAP + text[len(text) - tail :]


def _fitting(sizes: list[int], room: int) -> int:
    """How many of the first fit."""
    for count, size in enumerate(sizes):
        room -= size
        if room < 0:
            return count
    return len(sizes)


def _size(text: str) -> int:
    """Bytes of it within a string of JSON."""
    return len(json.dumps(text)) - 2


def _share(sizes: list[int], room: int) -> int:
    """The most bytes that each of the texts may have, so that all have room; `sizes` ascend."""
    for number, size in enumerate(sizes):
        left = len(sizes) - number
        if size * left > room:
            return room // left
        room -= size
    return room


def _listed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Lists of texts without what is beyond the first of them, which is counted."""
    cut = dict(content)
    for name, value in content.items():
        if isinstance(value, list) and len(value) > _LISTED:
            cut[name] = [*value[: _LISTED - 1], f"and {len(value) - _LISTED + 1} more"]
    return cut


_WHOLE = ("outcome", "reason", "uri", "digest")
"""Names of the fields of a message whose texts mean nothing in part."""


def _with(content: Any, change: Callable[[str], str], depth: int = 0) -> Any:
    """The content with every text changed but for those that are whole or not there."""
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
