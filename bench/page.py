"""`python -m bench.page`: puts the figures of bench/results into docs/benchmarks.md, or with `--check` compares them.

The page's prose is written by hand. The table of bench/results/NAME.json is put between `<!-- figures: NAME -->` and
`<!-- end -->`; `<!-- figures: NAME with a goal -->` omits figures without a goal.
"""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import click

from bench.report import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
SECTION = re.compile(r"(<!-- figures: (\w+)( with a goal)? -->\n).*?(<!-- end -->)", re.DOTALL)
WIDTH = 120


def filled(page: str, results: Path = RESULTS) -> str:
    """Return the page with the tables of the newest results."""

    def section(found: re.Match[str]) -> str:
        result = json.loads((results / f"{found[2]}.json").read_text())
        return f"{found[1]}{table(result, only_goals=bool(found[3]))}{found[4]}"

    return SECTION.sub(section, page)


def table(result: dict[str, Any], *, only_goals: bool = False) -> str:
    """Return a line with the machine and the repetitions, and a row per figure: its value, its goal, `missed`."""
    machine = result["machine"]
    where = f"{machine['cores']} cores of {machine['cpu'].replace('(R)', '')}, {machine['memoryGiB']} GiB"
    n = ", ".join(f"{what} = {count:,}" for what, count in result["n"].items())
    rows = [bar for bar in result["bars"] if bar["goal"] is not None or not only_goals]
    lines = [
        f"{textwrap.fill(f'{where}; {n}.', WIDTH)}\n",
        "| figure | measured | goal |",
        "|---|---|---|",
        *(f"| {bar['name'].replace('->', '→')} | {amount(bar['value'], bar['unit'])} | {goal(bar)} |" for bar in rows),
    ]
    return "\n".join(lines) + "\n"


def amount(value: float, unit: str) -> str:
    """Format a value with its unit, to three significant digits or, if there are more, all integer digits."""
    digits = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{digits} {unit}".strip()


def goal(bar: dict[str, Any]) -> str:
    """Format the goal with its direction; empty for a figure without a goal."""
    if bar["goal"] is None:
        return ""
    below, above = ("≤ ", "≥ ") if bar["ok"] else ("≥ ", "≤ ")
    side = below if bar["value"] < bar["goal"] else above if bar["value"] > bar["goal"] else ""
    return f"{side}{amount(bar['goal'], bar['unit'])}{'' if bar['ok'] else ' (missed)'}"


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; end with status 1 if the page has other figures.")
def main(check: bool) -> None:
    """Put the figures of bench/results into docs/benchmarks.md."""
    now = PAGE.read_text()
    then = filled(now)
    if not check:
        PAGE.write_text(then)
    elif now != then:
        raise click.ClickException(f"{PAGE} has other figures than bench/results; run `make docs`")


if __name__ == "__main__":
    main()
