"""The operator's environment variables, including the store's addresses."""

from __future__ import annotations

import pytest

from trainserve.operator.settings import InvalidSetting, Settings
from trainserve.operator.store import StoreRoot


def test_nothing_has_to_be_set() -> None:
    settings = Settings.from_environment({})
    assert settings.store.public == "pvc://trainserve-models"
    assert (settings.metrics_host, settings.metrics_port) == ("0.0.0.0", 9090)
    assert settings.store_credentials() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRAINSERVE_METRICS_ADDRESS", "9090"),
        ("TRAINSERVE_METRICS_ADDRESS", "host:many"),
        ("TRAINSERVE_STORE", "models"),
        ("TRAINSERVE_NODE_CACHE", "relative/folder"),
        ("TRAINSERVE_NODE_CACHE", "/"),
        ("TRAINSERVE_NODE_CACHE_SIZE", "much"),
        ("TRAINSERVE_SCRAPE_ANNOTATIONS", "yes"),
        ("TRAINSERVE_STORE", "file://relative/folder"),
        ("TRAINSERVE_STORE", "pvc://claim/folder"),
        ("TRAINSERVE_STORE", "http://models"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_named_with_its_value(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        Settings.from_environment({name: value})
    assert name in str(refused.value)
    assert value in str(refused.value)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///srv/models/default/digits/3", "default/digits/3"),
        ("file:///srv/models/default/digits", None),
        ("file:///srv/models/a/../../etc/1", None),
        ("file:///srv/models/../x/1", None),
        ("file:///srv/modelsx/default/digits/3", None),
        ("s3://srv/models/default/digits/3", None),
    ],
)
def test_only_a_versions_folder_inside_the_store_has_a_path(uri: str, path: str | None) -> None:
    assert StoreRoot.parse("file:///srv/models/").path_of(uri) == path
