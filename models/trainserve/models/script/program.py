"""Run a Python file in this process as `python FILE` would; its errors become a ScriptError naming the line."""

from __future__ import annotations

import builtins
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType

from trainserve.models import telling
from trainserve.models.errors import ConfigError, RunFailed, ScriptError
from trainserve.models.location import where

FIELD = "model.script"


def run(path: Path, args: Sequence[str] = ()) -> None:
    """Run `path` as `__main__`, its folder first on sys.path, sys.argv holding it and `args`.

    Raises ScriptError naming file and line if the script fails or exits with a code other than 0; the traceback
    goes to stderr. Interrupted passes through.
    """
    path = path.absolute()
    code = _compiled(path)
    main = ModuleType("__main__")
    main.__dict__.update(__file__=str(path), __builtins__=builtins, __cached__=None)
    # It stays `__main__` after its end: pickle and multiprocessing's spawn look up its classes there.
    sys.modules["__main__"] = main
    sys.argv = [str(path), *args]
    sys.path[0] = str(path.parent)
    # Workers that the script forks end at SIGTERM as usual; only this process handles the pod's SIGTERM.
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    try:
        exec(code, main.__dict__)  # noqa: S102 (running the user's file is the purpose)
    except SystemExit as exit:
        if exit.code not in (None, 0):
            said = f"code {exit.code}" if isinstance(exit.code, int) else exit.code
            raise ScriptError(f"{FIELD}: {where(path, exit.__traceback__) or path.name}: exited with {said}") from None
    except Exception as error:
        _print(error)
        kind = type(error) if isinstance(error, RunFailed) else ScriptError
        what = str(error) if isinstance(error, RunFailed) else telling.told(error)
        line = telling.place(path, str(error)) or where(path, error.__traceback__) or path.name
        raise kind(f"{FIELD}: {line}: {what}") from None
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _compiled(path: Path) -> CodeType:
    try:
        return compile(path.read_bytes(), str(path), "exec")
    except OSError as error:
        raise ConfigError(f"{FIELD}: {path}: {error.strerror}") from None
    except SyntaxError as error:
        traceback.print_exception(error, limit=0)
        raise ScriptError(f"{FIELD}: {path.name}, line {error.lineno}: SyntaxError: {error.msg}") from None
    except ValueError as error:
        raise ScriptError(f"{FIELD}: {path}: not Python: {error}") from None


def _print(error: Exception) -> None:
    """Print the traceback as `python FILE` does, from the script's first frame on."""
    own = error.__traceback__
    traceback.print_exception(error.with_traceback(own.tb_next if own else None))
