"""Which version a ModelServe rolls back to."""

from __future__ import annotations

from typing import Any

import pytest

from trainserve.cli.rollback import target
from trainserve.client import BadInput


def serve(*history: int | None, serving: int | None = None, reason: str = "UpToDate", **model: Any) -> dict[str, Any]:
    """Return a ModelServe whose versions took traffic in this order."""
    progressing = {"type": "Progressing", "reason": reason}
    status = {"history": [{"version": number} for number in history], "conditions": [progressing]}
    return {"spec": {"model": model or {"name": "digits"}}, "status": status | {"version": serving or history[-1]}}


@pytest.mark.parametrize(
    ("found", "to", "version"),
    [
        (serve(1, 2, 5), None, 2),
        (serve(1, 2, 5), 1, 1),
        (serve(2, 5, 2), None, 5),
        (serve(2, 5, 5), None, 2),
        (serve(1, 2, serving=2, reason="DigestMismatch"), None, 2),
        (serve(1, 2, serving=2, reason="RollingOut"), None, 2),
        ({"spec": {"model": {"name": "digits"}}}, 7, 7),
    ],
)
def test_it_goes_back_to_what_served_before_or_to_what_is_named(found: Any, to: int | None, version: int) -> None:
    assert target(found, to) == ("digits", version)


@pytest.mark.parametrize("found", [serve(3), serve(None, 3), {"spec": {"model": {"name": "digits"}}}])
def test_without_another_version_one_has_to_be_named(found: Any) -> None:
    with pytest.raises(BadInput, match="--to"):
        target(found, None)


@pytest.mark.parametrize("model", [{"trainJob": "digits"}, {"uri": "s3://a/b.onnx", "digest": "sha256:0"}])
def test_what_follows_no_name_has_no_versions_to_choose_from(model: Any) -> None:
    with pytest.raises(BadInput, match=r"change spec\.model itself"):
        target(serve(1, 2, **model), 1)
