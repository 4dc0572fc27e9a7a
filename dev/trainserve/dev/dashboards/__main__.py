"""`python -m trainserve.dev.dashboards [FOLDER]`: writes the boards, or with `--check` reports which differ."""

from __future__ import annotations

from pathlib import Path

import click

from trainserve.dev.dashboards import build


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=build.FOLDER)
@click.option("--check", is_flag=True, help="Write nothing; end with status 1 if a file is not what would be written.")
def main(folder: Path, check: bool) -> None:
    """Write the Grafana dashboards into FOLDER, the chart's by default."""
    if not check:
        for path in build.write(folder):
            click.echo(path)
        return
    if stale := build.stale(folder):
        raise click.ClickException(f"not what the code makes: {', '.join(map(str, stale))}; run `make dashboards`")


if __name__ == "__main__":
    main()
