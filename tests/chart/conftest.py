"""The real helm, and the chart rendered by it."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainserve.dev.helm import helm

CHART = Path(__file__).parents[2] / "charts" / "trainserve"


class _GoNumbers(yaml.CSafeLoader):
    """A loader that parses 1e-05 as a number, as Helm means it; PyYAML requires a decimal point."""


_GoNumbers.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^-?[0-9]+e[-+][0-9]+$"), list("-0123456789"))

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]
Helm = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def run_helm() -> Helm:
    """A function that runs helm with the given arguments."""
    program = helm()
    return lambda *arguments: subprocess.run([program, *arguments], capture_output=True, text=True)


@pytest.fixture(scope="session")
def render(run_helm: Helm) -> Render:
    """A function that renders the chart with settings (`name=value`, as for --set-json) for a server of these APIs.

    Results are cached: a test that changes an object changes it for every test.
    """

    @functools.cache
    def rendered(*settings: str, kubernetes: str = "1.30.0", apis: tuple[str, ...] = ()) -> list[Manifest]:
        arguments = [argument for setting in settings for argument in ("--set-json", setting)]
        arguments += [argument for api in apis for argument in ("--api-versions", api)]
        done = run_helm(
            "template", "trainserve", str(CHART), "-n", "trainserve-system", "--kube-version", kubernetes, *arguments
        )
        assert done.returncode == 0, done.stderr
        return [manifest for manifest in yaml.load_all(done.stdout, _GoNumbers) if manifest]

    return rendered


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]
