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
    """Reads 1e-05 as the number that Helm means; PyYAML wants a point in it."""


_GoNumbers.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^-?[0-9]+e[-+][0-9]+$"), list("-0123456789"))

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]
Helm = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def run_helm() -> Helm:
    """Runs helm with these arguments and answers what it printed."""
    program = helm()
    return lambda *arguments: subprocess.run([program, *arguments], capture_output=True, text=True)


@pytest.fixture(scope="session")
def render(run_helm: Helm) -> Render:
    """The chart's manifests for these settings, as `name=value` strings of --set-json, where these APIs are served.

    Asked for again, they are the same objects: a test that changes one changes it for all.
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
