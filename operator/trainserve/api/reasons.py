"""Reasons for which something in a pod ended or was refused, each with one sentence for people and its retry rule.

To add a reason, add a line here: its writers and its readers all use this table.
"""

from __future__ import annotations

from enum import Flag, StrEnum, auto
from typing import Self

from trainserve.api.pod import ExitCode


class Retry(StrEnum):
    """Consequence for a TrainJob whose attempt ended for a reason."""

    NEVER = "never"
    """No further attempt: it would end the same way."""
    COUNTED = "counted"
    """Another attempt, which uses up one of `policy.retries`."""
    FREE = "free"
    """Another attempt, which uses up none. Containers of a ModelServe are always started anew."""


class By(Flag):
    """Sources of a reason."""

    RUN = auto()
    """A training pod, of itself."""
    ATTEMPT = auto()
    """The operator, of an attempt."""
    FETCH = auto()
    """A serving pod's init container `fetch`."""
    RESOLVE = auto()
    """The pod that asks the store."""
    TUNE = auto()
    """The pod that measures."""
    PROBE = auto()
    """A serving pod's probe."""


NEVER, COUNTED, FREE = Retry
RUN, ATTEMPT, FETCH, RESOLVE, TUNE, PROBE = By
DONE, ERROR, GATE, PARITY, DATA, STORE, LOST, PORT, STOPPED = ExitCode


class Reason(StrEnum):
    """The word for it in messages, conditions, events and metrics."""

    retry: Retry
    by: By
    sentence: str
    exit_code: ExitCode | None
    """Exit code of a training pod that reports it."""

    def __new__(cls, word: str, retry: Retry, by: By, sentence: str, exit_code: ExitCode | None = None) -> Self:
        """Make a member from one row of the table."""
        reason = str.__new__(cls, word)
        reason._value_ = word
        reason.retry, reason.by, reason.sentence, reason.exit_code = retry, by, sentence, exit_code
        return reason

    USER_ERROR = "UserError", COUNTED, RUN | ATTEMPT, "The run, or the user's own command, ended with an error.", ERROR
    CONFIG_ERROR = "ConfigError", NEVER, RUN, "The run's configuration cannot be run as it is.", ERROR
    SCRIPT_ERROR = "ScriptError", COUNTED, RUN, "The user's script raised an error, or left no model to publish.", ERROR
    GATE_NOT_MET = "GateNotMet", NEVER, RUN, "The model was trained and is not good enough to be published.", GATE
    PARITY_FAILED = "ParityFailed", NEVER, RUN, "The exported graph does not compute what PyTorch does.", PARITY
    DATA_ERROR = "DataError", NEVER, RUN, "The data set cannot be read, or cannot be trained on.", DATA
    STORE_ERROR = "StoreError", COUNTED, RUN | FETCH | RESOLVE, "The model store cannot be read or written.", STORE
    RANK_LOST = "RankLost", COUNTED, RUN, "Another process of the run ended without a word, or never came.", LOST
    PORT_TAKEN = "PortTaken", FREE, RUN | ATTEMPT, "Somebody else listens on the port where the gang was to meet.", PORT
    INTERRUPTED = "Interrupted", FREE, RUN | ATTEMPT, "The pod was told to stop before the run had ended.", STOPPED
    SUCCEEDED = "Succeeded", NEVER, ATTEMPT, "The attempt did what was asked.", DONE
    PREEMPTED = "Preempted", FREE, ATTEMPT, "The pod had to make room, was evicted, or was deleted."
    NODE_LOST = "NodeLost", FREE, ATTEMPT, "The node, or its account of the container, was lost."
    NODE_REFUSED = "NodeRefused", FREE, ATTEMPT, "The node did not take the pod that was scheduled to it."
    OUT_OF_MEMORY = "OutOfMemory", COUNTED, ATTEMPT, "The container used more memory than its limit."
    INVALID_IMAGE = "InvalidImage", NEVER, ATTEMPT, "The name of the container's image is invalid."
    INVALID_RESULT = "InvalidResult", NEVER, ATTEMPT, "The run's message cannot be read, or claims what cannot be."
    NOTHING_PUBLISHED = "NothingPublished", NEVER, ATTEMPT, "The run ended well and published no version."
    MODEL_NOT_FOUND = "ModelNotFound", FREE, RESOLVE, "Nothing is published under that name."
    VERSION_NOT_FOUND = "VersionNotFound", FREE, FETCH | RESOLVE, "The model has no such version."
    VERSION_MISMATCH = "VersionMismatch", FREE, FETCH, "The folder's manifest is of another version."
    DIGEST_MISMATCH = "DigestMismatch", FREE, FETCH, "The bytes are not those that are pinned."
    SIGNATURE_REFUSED = "SignatureRefused", FREE, FETCH, "The required key has not signed the model."
    INVALID_ADDRESS = "InvalidAddress", FREE, FETCH | RESOLVE, "No store can have that address or name."
    UNSERVABLE_MODEL = "UnservableModel", FREE, FETCH, "The server cannot load that graph."
    INVALID_SETTINGS = "InvalidSettings", FREE, FETCH, "The settings do not go with the model or the machine."
    INVALID_SAMPLES = "InvalidSamples", FREE, FETCH, "The given samples do not go with the model."
    CACHE_FULL = "CacheFull", FREE, FETCH, "The node's cache has no room for the model."
    TUNING_FAILED = "TuningFailed", NEVER, TUNE, "Nothing could be measured."
    SAMPLES_MATCH = "SamplesMatch", FREE, PROBE, "The server answers the samples as it should."
    OUTPUT_MISMATCH = "OutputMismatch", FREE, PROBE, "The server answers the samples with something else."
    NOTHING_RECORDED = "NothingRecorded", FREE, PROBE, "The server answers; no samples say what is right."
    INFERENCE_FAILED = "InferenceFailed", FREE, PROBE, "The server does not answer the samples."


def said_by(who: By) -> frozenset[Reason]:
    """Return the reasons that any of `who` reports."""
    return frozenset(reason for reason in Reason if reason.by & who)


OF_ATTEMPTS = said_by(RUN | ATTEMPT)
"""Every reason with which an attempt of a TrainJob ends."""


def of(word: str) -> Reason | None:
    """Return the reason named `word`; None if it is not in the table."""
    return next((reason for reason in Reason if reason == word), None)


def retry_after(word: str | None) -> Retry:
    """Return the retry rule for an attempt that ended with this reason; COUNTED for an unknown one."""
    return next((reason.retry for reason in OF_ATTEMPTS if reason == word), COUNTED)
