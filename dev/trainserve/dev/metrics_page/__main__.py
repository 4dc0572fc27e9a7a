"""`python -m trainserve.dev.metrics_page`: writes docs/metrics.md, or with `--check` reports whether it differs."""

from __future__ import annotations

from pathlib import Path

import click

from trainserve.dev.metrics_page.page import PATH, page


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), default=PATH)
@click.option(
    "--check", is_flag=True, help="Write nothing; end with status 1 if the file is not what would be written."
)
def main(path: Path, check: bool) -> None:
    """Write the page that explains every metric to PATH, docs/metrics.md by default."""
    if not check:
        path.write_text(page())
        click.echo(path)
    elif not path.exists() or path.read_text() != page():
        raise click.ClickException(f"{path} is not what the code makes; run `make docs`")


if __name__ == "__main__":
    main()
