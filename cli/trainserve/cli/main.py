"""The command `trainserve`: its subcommands, and its errors: one line, and exit 2 for bad input or 1 for a failure."""

from __future__ import annotations

import importlib
import os
import runpy
import sys
from typing import Any

import click
from typing_extensions import override

from trainserve.serving.protocol.triton_types import UnservableModel
from trainserve.serving.repository.settings import InvalidSettings
from trainserve.store import InvalidAddress, ModelNotFound, StoreError, VersionNotFound
from trainserve.store.signing import InvalidKey

COMMANDS = ("bench", "config", "models", "predict", "rollback", "serve", "sign", "top", "tune", "verify")
"""Each in the module of its name."""


class Commands(click.Group):
    """Imports a command when it is asked for; one that needs what is not installed names the extra that brings it."""

    @override
    def list_commands(self, context: click.Context) -> list[str]:
        return sorted([*super().list_commands(context), *COMMANDS])

    @override
    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return super().get_command(context, name)
        try:
            found: click.Command = getattr(importlib.import_module(f"trainserve.cli.{name}"), name)
        except ModuleNotFoundError as error:
            return _without(name, error)
        return found

    @override
    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except ModuleNotFoundError as error:  # of what a command imports once it runs
            raise click.ClickException(_missing(context.invoked_subcommand or "", error)) from error


def _missing(command: str, error: ModuleNotFoundError) -> str:
    """Name the extra that `command` needs. Raises `error` where the module is one of our own."""
    if (error.name or "").partition(".")[0] == "trainserve":
        raise error
    extra = "dev" if command == "dev" else "serve"
    return f"{command} needs an extra that is not installed: pip install 'trainserve[{extra}]' ({error})"


def _without(name: str, error: ModuleNotFoundError) -> click.Command:
    """A command that says what `name` needs, whatever it is given."""
    words = _missing(name, error)

    def fail(arguments: tuple[str, ...]) -> None:
        raise click.ClickException(words)

    return click.Command(
        name,
        callback=fail,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True},
        add_help_option=False,
        short_help="Needs an extra: pip install 'trainserve[serve]'.",
    )


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="trainserve")
def cli() -> None:
    """Train CNNs and serve them on Triton, from kubectl apply to verified answers."""


@cli.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
    epilog="Example: trainserve dev up",
    short_help="Manage the development cluster: up, down, status, env.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def dev(arguments: tuple[str, ...]) -> None:
    """Manage the development cluster; the arguments are those of python -m trainserve.dev."""
    sys.argv = ["trainserve dev", *arguments]
    # Run by name instead of imported: a plain installation does not have dev.
    runpy.run_module("trainserve.dev", run_name="__main__", alter_sys=True)


def main() -> None:
    """Run the command line; entry point of the console script."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # or its library logs errors, which are printed below
    try:
        status = cli.main(prog_name="trainserve", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        status = 2
    except click.UsageError as error:
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        status = _complain(f"{error.format_message()}{hint}", 2)
    except (InvalidAddress, InvalidKey, InvalidSettings, ModelNotFound, UnservableModel, VersionNotFound) as error:
        status = _complain(str(error), 2)
    except click.ClickException as error:
        status = _complain(error.format_message(), 1)
    except StoreError as error:
        status = _complain(str(error), 1)
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except Exception as error:
        status = _told_of_a_request(error)
    sys.exit(status if isinstance(status, int) else 0)


def _told_of_a_request(error: Exception) -> int:
    """Tell an error of the client's; raises any other."""
    try:
        from trainserve.client import BadInput, RequestFailed
    except ModuleNotFoundError:  # it needs numpy: without, nobody has asked a server
        raise error from None
    if not isinstance(error, (BadInput, RequestFailed)):
        raise error
    return _complain(str(error), 2 if isinstance(error, BadInput) else 1)


def _complain(message: str, status: int) -> int:
    click.echo(f"trainserve: {' '.join(message.split())}", err=True)
    return status
