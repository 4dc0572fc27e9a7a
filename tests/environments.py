"""Virtual environments with exactly what some of the project's extras install.

Their packages are links to those of the environment that runs the tests: no network is needed, and a program that a
test starts there finds what a fresh installation would.
"""

from __future__ import annotations

import re
import tomllib
import venv
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
BLOCK = 4096
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def closure(*extras: str) -> dict[str, Distribution]:
    """Return the packages of an installation with `extras` by name; without extras, those of every installation."""
    project = PROJECT["project"]
    found: dict[str, Distribution] = {}
    done: set[tuple[str, str]] = set()
    waiting = [Requirement(each) for each in project["dependencies"]]
    waiting.append(Requirement(f"{project['name']}[{','.join(extras)}]"))
    while waiting:
        requirement = waiting.pop()
        name = _normal(requirement.name)
        if name == project["name"]:  # from pyproject.toml: the installed metadata may be of an older version
            waiting += [Requirement(each) for extra in requirement.extras for each in _extra(extra)]
            continue
        found[name] = distribution(name)
        for extra in ("", *requirement.extras):
            if (name, extra) not in done:
                done.add((name, extra))
                asked = map(Requirement, found[name].requires or ())
                waiting += [each for each in asked if not each.marker or each.marker.evaluate({"extra": extra})]
    return found


def size(packages: Iterable[Distribution]) -> int:
    """Return the bytes that the packages occupy on disk, with bytecode, which is 1.3 times as large as its source."""
    files = {Path(str(each.locate_file(path))) for each in packages for path in each.files or ()}
    lengths = [(file.suffix, file.stat().st_size) for file in files if file.suffix != ".pyc" and file.exists()]
    lengths += [(".pyc", int(length * 1.3)) for suffix, length in lengths if suffix == ".py"]
    return sum(-(-length // BLOCK) * BLOCK for _, length in lengths)


def environment(folder: Path, *extras: str) -> Path:
    """Create an environment in `folder`, including this project; return its Python."""
    venv.create(folder, symlinks=True, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    shared = Counter(name for each in distributions() for name in _tops(each))
    for each in closure(*extras).values():
        here = Path(str(each.locate_file("")))
        for name in _tops(each):
            deeper = [name] if shared[name] == 1 else sorted(_below(each, name))
            for path in deeper:
                target = site / path
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    target.symlink_to(here / path)
    portions = PROJECT["tool"]["hatch"]["build"]["dev-mode-dirs"]
    (site / "project.pth").write_text("".join(f"{ROOT / portion}\n" for portion in portions))
    return folder / "bin" / "python"


def _extra(name: str) -> list[str]:
    return list(PROJECT["project"]["optional-dependencies"][name])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _tops(package: Distribution) -> Iterator[str]:
    """Return the package's top-level names in site-packages."""
    return iter({path.parts[0] for path in package.files or ()} - {"..", "__pycache__"})


def _below(package: Distribution, name: str) -> set[str]:
    """Return the package's own files and folders in a folder that it shares with other packages."""
    return {str(Path(*path.parts[:2])) for path in package.files or () if path.parts[0] == name}
