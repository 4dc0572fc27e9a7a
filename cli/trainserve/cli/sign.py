"""`trainserve sign`: a signature beside a model, for `trainserve verify --key` and a ModelServe's publicKey."""

from __future__ import annotations

from pathlib import Path

import click

from trainserve.store.signing import PrivateKey


@click.command(epilog="Example: trainserve sign .dev/store/default/digits/3 --key private.pem")
@click.argument("model")
@click.option(
    "--key",
    "path",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="Ed25519 private key in PEM form: openssl genpkey -algorithm ed25519 -out private.pem",
)
@click.option(
    "--password",
    envvar="TRAINSERVE_KEY_PASSWORD",
    show_envvar=True,
    help="Of the key, where it is encrypted; others see what is given on a command line.",
)
def sign(model: str, path: Path, password: str | None) -> None:
    """Read every byte of MODEL and, if it is what it says it is, lay a signature beside it.

    MODEL is a version's folder or URL, a lone .onnx file, or a ready Triton repository; not on https, where nothing
    can be laid beside it.
    """
    from trainserve.serving.sources.signature import sign as lay

    key = PrivateKey.load(path, password.encode() if password else None)
    click.echo(f"signed by key {key.public.fingerprint}: {lay(model, key)}")
