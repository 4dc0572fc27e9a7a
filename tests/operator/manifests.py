"""Base manifests of both kinds, for tests to vary."""

from typing import Any

ZOO = {"model": {"name": "convnet"}, "dataset": {"name": "digits"}, "output": {"model": "digits"}}


def trainjob(name: str = "digits", **changes: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {**ZOO, **changes}}


def modelserve(name: str = "digits", **changes: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"model": {"name": "digits"}, **changes}}
