"""Why a run ends without a version: one class per reason of the contract, each with its exit code."""

from __future__ import annotations

from typing import ClassVar


class RunFailed(Exception):
    """Base: `reason` is what the TrainJob's condition will say, the message is one line."""

    reason: str
    exit_code: int


class UserError(RunFailed):
    """The configuration cannot be run as it is."""

    reason = "UserError"
    exit_code = 1


class WrongGraph(UserError):
    """What was exported cannot be loaded, or cannot be run as it must be."""


class GateNotMet(RunFailed):
    """The model was trained and is not good enough."""

    reason = "GateNotMet"
    exit_code = 10


class ParityFailed(RunFailed):
    """The exported graph does not compute what PyTorch does."""

    reason = "ParityFailed"
    exit_code = 11
    layer: str | None = None
    """The one that makes the difference, where it was found."""


class DataError(RunFailed):
    """The data set cannot be read, or cannot be trained on."""

    reason = "DataError"
    exit_code = 12


class PublishFailed(RunFailed):
    """The result could not be written or published."""

    reason = "StoreError"
    exit_code = 13


class CheckpointFailed(RunFailed):
    """The state of the run could not be saved; earlier checkpoints are as they were."""

    reason = "StoreError"
    exit_code = 13


class RankLost(RunFailed):
    """Another process of the run is gone, or never came; trying again may help."""

    reason = "RankLost"
    exit_code = 14


class PeerFailed(RunFailed):
    """Another process of the run failed, with its reason and its exit code."""

    def __init__(self, message: str, reason: str, exit_code: int) -> None:
        super().__init__(message)
        self.reason, self.exit_code = reason, exit_code


class Interrupted(BaseException):
    """SIGTERM. Not an Exception, so that no library's `except Exception` swallows it."""

    reason: ClassVar[str] = "Interrupted"
    exit_code: ClassVar[int] = 143
