"""The typed views of statuses name the fields of the API types, and no others."""

from __future__ import annotations

import pytest

from trainserve.api import base, modelserve_status, trainjob_status
from trainserve.operator import statuses

VIEWS: list[tuple[type, type[base.StatusType]]] = [
    (statuses.Condition, base.Condition),
    (statuses.Attempt, trainjob_status.Attempt),
    (statuses.TrainJobStatus, trainjob_status.TrainJobStatus),
    (statuses.Entry, modelserve_status.HistoryEntry),
    (statuses.ModelServeStatus, modelserve_status.ModelServeStatus),
]


@pytest.mark.parametrize(("view", "form"), VIEWS)
def test_a_view_has_the_fields_of_its_api_type(view: type, form: type[base.StatusType]) -> None:
    fields = [str(field.alias) for field in form.model_fields.values()] + list(form.model_computed_fields)
    assert sorted(view.__annotations__) == sorted(fields)
