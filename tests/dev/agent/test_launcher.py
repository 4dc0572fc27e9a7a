"""The launcher must survive everything: all pods of a node are its children."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from trainserve.dev.agent.launcher import Command, Container, Launcher


@pytest.fixture
def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "600"])


def test_a_command_that_has_no_process_group_of_its_own_yet_is_killed(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    launcher = Launcher(tmp_path)
    launcher.commands[sleeper.pid] = Command(request=7, output=-1)
    launcher._kill({"exec": 7})
    assert sleeper.wait(60) == -signal.SIGKILL


@pytest.mark.parametrize("request_", [{"op": "_signal", "signal": signal.SIGTERM}, {"op": "_kill"}])
def test_a_container_whose_process_is_gone_can_be_signalled(
    tmp_path: Path, sleeper: subprocess.Popen[bytes], request_: dict[str, object]
) -> None:
    sleeper.kill()
    sleeper.wait(60)
    launcher = Launcher(tmp_path)
    launcher.containers["here"] = Container(Path("here"), sleeper.pid)
    with pytest.raises(ProcessLookupError):
        os.kill(sleeper.pid, 0)
    getattr(launcher, str(request_["op"]))(request_ | {"folder": "here"})
