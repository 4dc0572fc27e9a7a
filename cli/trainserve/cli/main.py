"""The command `trainserve`: its groups, and how errors are told: one line, exit 2 for bad input, 1 for a failure."""

from __future__ import annotations

import os
import runpy
import sys

import click

from trainserve.cli.bench import bench
from trainserve.cli.config import config
from trainserve.cli.models import models
from trainserve.cli.predict import predict
from trainserve.cli.rollback import rollback
from trainserve.cli.serve import serve
from trainserve.cli.sign import sign
from trainserve.cli.top import top
from trainserve.cli.tune import tune
from trainserve.cli.verify import verify
from trainserve.client import BadInput, RequestFailed
from trainserve.serving.protocol.triton_types import UnservableModel
from trainserve.serving.repository.settings import InvalidSettings
from trainserve.store import InvalidAddress, ModelNotFound, StoreError, VersionNotFound
from trainserve.store.signing import InvalidKey


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="trainserve")
def cli() -> None:
    """Train CNNs and serve them on Triton, from kubectl apply to verified answers."""


@cli.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
    epilog="Example: trainserve dev up",
    short_help="The development cluster: up, down, status, env.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def dev(arguments: tuple[str, ...]) -> None:
    """The development cluster; the arguments are those of python -m trainserve.dev."""
    sys.argv = ["trainserve dev", *arguments]
    # By name, because nobody imports dev: a plain installation does not have it.
    runpy.run_module("trainserve.dev", run_name="__main__", alter_sys=True)


cli.add_command(predict)
cli.add_command(rollback)
cli.add_command(serve)
cli.add_command(sign)
cli.add_command(models)
cli.add_command(verify)
cli.add_command(config)
cli.add_command(top)
cli.add_command(bench)
cli.add_command(tune)


def main() -> None:
    """The console script."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its library logs to stderr what the one line of an error says
    try:
        status = cli.main(prog_name="trainserve", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        status = 2
    except click.UsageError as error:
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        status = _complain(f"{error.format_message()}{hint}", 2)
    except (
        *(BadInput, InvalidAddress, InvalidKey, InvalidSettings),
        *(ModelNotFound, UnservableModel, VersionNotFound),
    ) as error:
        status = _complain(str(error), 2)
    except click.ClickException as error:
        status = _complain(error.format_message(), 1)
    except (RequestFailed, StoreError) as error:
        status = _complain(str(error), 1)
    except (click.Abort, KeyboardInterrupt):
        status = 130
    sys.exit(status if isinstance(status, int) else 0)


def _complain(message: str, status: int) -> int:
    click.echo(f"trainserve: {' '.join(message.split())}", err=True)
    return status
