"""Why a run ends without a version: one class per reason, each with the exit code that the reason has."""

from __future__ import annotations

from typing import ClassVar

from trainserve.api.pod import ExitCode
from trainserve.api.reasons import Reason


class RunFailed(Exception):
    """Base: `reason` is what the TrainJob's condition will say, the message is one line."""

    reason: Reason

    @property
    def exit_code(self) -> int:
        """Exit code of the process."""
        assert self.reason.exit_code is not None
        return self.reason.exit_code


class UserError(RunFailed):
    """The run ended with an error of what the user gave it; which kind is not known."""

    reason = Reason.USER_ERROR


class ConfigError(UserError):
    """The configuration cannot be run as it is; it is not tried again."""

    reason = Reason.CONFIG_ERROR


class ScriptError(UserError):
    """The user's script raised an error, or what it left is no model that can be published."""

    reason = Reason.SCRIPT_ERROR


class WrongGraph(UserError):
    """What was exported cannot be loaded, or cannot be run as it must be."""


class GateNotMet(RunFailed):
    """The model was trained and is not good enough."""

    reason = Reason.GATE_NOT_MET


class ParityFailed(RunFailed):
    """The exported graph does not compute what PyTorch does."""

    reason = Reason.PARITY_FAILED
    layer: str | None = None
    """The one that makes the difference, where it was found."""


class DataError(RunFailed):
    """The data set cannot be read, or cannot be trained on."""

    reason = Reason.DATA_ERROR


class PublishFailed(RunFailed):
    """The result could not be written or published."""

    reason = Reason.STORE_ERROR


class CheckpointFailed(RunFailed):
    """The state of the run could not be saved; earlier checkpoints are as they were."""

    reason = Reason.STORE_ERROR


class RankLost(RunFailed):
    """Another process of the run is gone, or never came; trying again may help."""

    reason = Reason.RANK_LOST


class PortTaken(RunFailed):
    """The port where the processes of the run were to meet is somebody else's on this machine."""

    reason = Reason.PORT_TAKEN


class PeerFailed(RunFailed):
    """Another process of the run failed, with its reason."""

    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message)
        self.reason = reason


class Interrupted(BaseException):
    """SIGTERM. Not an Exception, so that no library's `except Exception` swallows it."""

    reason: ClassVar[Reason] = Reason.INTERRUPTED
    exit_code: ClassVar[int] = ExitCode.INTERRUPTED
