"""Why a run ends without a version: one class per reason of the contract, each with its exit code."""

from __future__ import annotations

from typing import ClassVar


class RunFailed(Exception):
    """Base: `reason` is what the TrainJob's condition will say, the message is one line."""

    reason: ClassVar[str]
    exit_code: ClassVar[int]


class UserError(RunFailed):
    """The configuration cannot be run as it is."""

    reason = "UserError"
    exit_code = 1


class GateNotMet(RunFailed):
    """The model was trained and is not good enough."""

    reason = "GateNotMet"
    exit_code = 10


class ParityFailed(RunFailed):
    """The exported graph does not compute what PyTorch does."""

    reason = "ParityFailed"
    exit_code = 11


class DataError(RunFailed):
    """The data set cannot be read, or cannot be trained on."""

    reason = "DataError"
    exit_code = 12


class PublishFailed(RunFailed):
    """The result could not be written or published."""

    reason = "StoreError"
    exit_code = 13


class Interrupted(BaseException):
    """SIGTERM. Not an Exception, so that no library's `except Exception` swallows it."""

    reason: ClassVar[str] = "Interrupted"
    exit_code: ClassVar[int] = 143
