"""`python -m trainserve.dev.reference`: writes docs/reference.md and the tables of docs/contracts.md.

With `--check` it writes nothing, and fails if a page differs from what it would write.
"""

from __future__ import annotations

import click

from trainserve.dev.reference import contracts, page


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--check", is_flag=True, help="Write nothing; end with status 1 if a page is not what would be written.")
def main(check: bool) -> None:
    """Write docs/reference.md and the tables of docs/contracts.md from the types and constants in the code."""
    kept = contracts.PATH.read_text()
    for path, text in ((page.PATH, page.page()), (contracts.PATH, contracts.filled(kept))):
        if not check:
            path.write_text(text)
            click.echo(path)
        elif not path.exists() or path.read_text() != text:
            raise click.ClickException(f"{path} is not what the code makes; run `make docs`")


if __name__ == "__main__":
    main()
