"""`trainserve sign`: sign a model, for `trainserve verify --key` and a ModelServe's `publicKey`."""

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
    help="PEM file of an Ed25519 private key. To create one: openssl genpkey -algorithm ed25519 -out private.pem",
)
@click.option(
    "--password",
    envvar="TRAINSERVE_KEY_PASSWORD",
    show_envvar=True,
    help="Password of an encrypted key. Other users of the machine can see command lines; prefer the environment"
    " variable.",
)
def sign(model: str, path: Path, password: str | None) -> None:
    """Check every byte of a model and sign it.

    The signature is written beside MODEL, which is a version in the store, an .onnx file or a ready Triton repository,
    given as a path or an s3:// address. At https:// addresses nothing can be written.
    """
    from trainserve.serving.sources.model_signature import sign as lay

    key = PrivateKey.load(path, password.encode() if password else None)
    click.echo(f"signed by key {key.public.fingerprint}: {lay(model, key)}")
