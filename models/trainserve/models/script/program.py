"""Runs a Python file as `python FILE` would, but in this process; its errors become a UserError naming the line."""

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
from trainserve.models.errors import RunFailed, UserError
from trainserve.models.where import where

FIELD = "model.script"


def run(path: Path, args: Sequence[str] = ()) -> None:
    """Run `path` as `__main__`, its folder first on sys.path, sys.argv holding it and `args`.

    Raises UserError naming the file and the line where the script failed or exited with a code but 0; its traceback
    goes to stderr. Interrupted passes through.
    """
    path = path.absolute()
    code = _compiled(path)
    main = ModuleType("__main__")
    main.__dict__.update(__file__=str(path), __builtins__=builtins, __cached__=None)
    # It stays `__main__` when it has ended: its classes are looked up there (pickle, multiprocessing's spawn).
    sys.modules["__main__"] = main
    sys.argv = [str(path), *args]
    sys.path[0] = str(path.parent)
    # A worker that the script forks is ended by SIGTERM as usual; the answer to the pod's SIGTERM is this process's.
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    try:
        exec(code, main.__dict__)  # noqa: S102 (to run the user's file is what this is for)
    except SystemExit as exit:
        if exit.code not in (None, 0):
            said = f"code {exit.code}" if isinstance(exit.code, int) else exit.code
            raise UserError(f"{FIELD}: {where(path, exit.__traceback__) or path.name}: exited with {said}") from None
    except Exception as error:
        _print(error)
        kind = type(error) if isinstance(error, RunFailed) else UserError
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
        raise UserError(f"{FIELD}: {path}: {error.strerror}") from None
    except SyntaxError as error:
        traceback.print_exception(error, limit=0)
        raise UserError(f"{FIELD}: {path.name}, line {error.lineno}: SyntaxError: {error.msg}") from None
    except ValueError as error:
        raise UserError(f"{FIELD}: {path}: not Python: {error}") from None


def _print(error: Exception) -> None:
    """The traceback as `python FILE` prints it: from the script's first frame on."""
    own = error.__traceback__
    traceback.print_exception(error.with_traceback(own.tb_next if own else None))
