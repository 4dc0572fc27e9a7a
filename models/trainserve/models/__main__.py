"""`python -m trainserve.models CONFIG.json`: one training run, from the data to a published version.

docs/contracts.md describes CONFIG.json; its default is $TRAINSERVE_CONFIG. `torchrun -m trainserve.models CONFIG.json`
trains with several processes.
"""

from __future__ import annotations

import time

_STARTED = time.perf_counter()

import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import traceback  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any, NoReturn  # noqa: E402

from trainserve.api.pod import ExitCode, Variable  # noqa: E402
from trainserve.models import rank, result, server, telling, torchvision, workplace  # noqa: E402
from trainserve.models.errors import ConfigError, Interrupted, RunFailed, UserError  # noqa: E402
from trainserve.models.interrupt import Interrupt  # noqa: E402
from trainserve.models.progress import Progress  # noqa: E402
from trainserve.models.rank import Rank  # noqa: E402

if TYPE_CHECKING:
    from trainserve.api.messages import Message


def main(arguments: list[str]) -> NoReturn:
    """Run the config, write the termination message and exit."""
    if arguments in (["-h"], ["--help"]):
        print(__doc__, "Exit codes:", *(f"{code:>5}  {code.sentence}" for code in ExitCode), sep="\n")
        sys.exit(0)
    interrupt, progress = Interrupt(), Progress()
    measured: dict[str, Any] = {}
    message: Message
    interrupt.install()
    torchvision.declare_at_import()
    own = Rank()
    try:
        own = rank.of(os.environ)
        if own.size > 1:
            interrupt.hold()  # until the gang can tell whether torchrun sent it because another process failed
        if own.first:
            server.serve(progress)  # before importing pydantic and torch, so that the pod answers at once
        else:
            sys.stdout = Path(os.devnull).open("w")  # only rank 0 logs  # noqa: SIM115
        message, code = _run(arguments, progress, interrupt, measured, own), 0
    except (RunFailed, Interrupted) as error:
        message, code = result.failure(error.reason, str(error), progress, measured), error.exit_code
    except Exception as error:
        traceback.print_exc()
        text = f"unexpected {telling.told(error)}"
        message, code = result.failure(UserError.reason, text, progress, measured), UserError(text).exit_code
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    result.write(message, own)
    sys.stderr.flush()
    # Not sys.exit: the warm-up thread may be in the middle of an import, and nothing needs cleaning up.
    os._exit(code)


def _run(
    arguments: list[str], progress: Progress, interrupt: Interrupt, measured: dict[str, Any], own: Rank
) -> Message:
    path = _config_path(arguments)
    from trainserve.models import config
    from trainserve.models.run import Run
    from trainserve.models.script.config import is_whole, parse
    from trainserve.models.terminal import Terminal

    content, folder = config.read(path), path.parent.absolute()
    work = os.environ.get(Variable.WORK)
    workplace.settle(os.environ, Path(work) if work else None)
    if is_whole(content):
        from trainserve.models.script.run import ScriptRun

        script = parse(content, folder)
        interrupt.release()
        with Terminal(_STARTED, script.log.format) as terminal:
            return ScriptRun(script, progress, terminal, interrupt, measured, own).execute()
    loaded = config.parse(content, folder)
    with Terminal(_STARTED, loaded.log.format) as terminal:
        return Run(loaded, progress, terminal, interrupt, measured, own).execute()


def _config_path(arguments: list[str]) -> Path:
    given = arguments or [path for path in [os.environ.get(Variable.CONFIG)] if path]
    if len(given) != 1:
        raise ConfigError(f"usage: python -m trainserve.models CONFIG.json ({len(given)} arguments were given)")
    return Path(given[0])


if __name__ == "__main__":
    main(sys.argv[1:])
