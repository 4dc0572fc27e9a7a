from __future__ import annotations

from pathlib import Path

import pytest

from trainserve.api.scalars.duration import microseconds
from trainserve.serving.repository.settings import InvalidSettings, Settings, cautions


def test_a_file_and_a_pods_argument_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(
        "instances: 2\n"
        "dynamicBatching: {maxBatch: 16, preferredBatchSizes: [4, 8], maxQueueDelay: 1.5ms, queue: {timeout: 50ms}}\n"
        "tensorRT: {precision: fp16}\n"
        "versionPolicy: [1, 3]\n"
    )
    settings = Settings.of_file(tmp_path / "settings.yaml")
    assert Settings.of_json(settings.model_dump_json(by_alias=True)) == settings
    assert settings.dynamic_batching.queue.timeout == "50ms"
    assert settings.version_policy == [1, 3]


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("")
    assert Settings.of_file(tmp_path / "settings.yaml") == Settings()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '{"dynamicBatching": {"maxBatchSize": 8}}',
            "settings.dynamicBatching.maxBatchSize: unknown field; did you mean 'maxBa",
        ),
        ('{"instances": 0}', "settings.instances: 0 is not allowed; must be >= 1"),
        ('{"instances": "2"}', 'settings.instances: "2" is not allowed; must be a valid integer'),
        (
            '{"dynamicBatching": {"maxQueueDelay": "5"}}',
            'settings.dynamicBatching.maxQueueDelay: "5" is not allowed; must be a number and one of us, ms, s, m or '
            "h, such as 20ms",
        ),
        (
            '{"dynamicBatching": {"maxQueueDelay": "2s"}}',
            "settings.dynamicBatching: maxQueueDelay must be at most 1s",
        ),
        (
            '{"dynamicBatching": {"maxBatch": 4, "preferredBatchSizes": [8]}}',
            "preferredBatchSizes must not be greater than maxBatch",
        ),
        ('{"priorities": {"levels": 2, "default": 3}}', "settings.priorities: default must not be greater than levels"),
        ("[]", r"settings: \[\] is not allowed; must be an object"),
        ("{", "settings: Invalid JSON"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_field(text: str, words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        Settings.of_json(text)


def test_a_file_that_is_no_yaml_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("{")
    with pytest.raises(InvalidSettings, match=r"settings\.yaml: while parsing"):
        Settings.of_file(tmp_path / "settings.yaml")


@pytest.mark.parametrize(("text", "expected"), [("500us", 500), ("1.5ms", 1500), ("0.1us", 1), ("1s", 1_000_000)])
def test_a_part_of_a_microsecond_counts_as_one(text: str, expected: int) -> None:
    assert microseconds(text) == expected


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("{}", []),
        ('{"instances": 2, "dynamicBatching": {"queue": {"timeout": "50ms"}}}', []),
        ('{"dynamicBatching": {"queue": {"timeout": "50ms"}}}', ["settings.dynamicBatching.queue"]),
        ('{"priorities": {"levels": 2}}', ["settings.priorities"]),
        ('{"instances": 3, "dynamicBatching": {"queue": {"size": 9}}}', ["settings.dynamicBatching.queue.size"]),
        (
            '{"instances": 3, "dynamicBatching": {"maxQueueDelay": "1ms", "queue": {"timeout": "50ms"}}}',
            ["settings.dynamicBatching.maxQueueDelay"],
        ),
        ('{"dynamicBatching": {"maxQueueDelay": "1ms"}}', []),
    ],
)
def test_settings_that_make_the_servers_batcher_sleep_are_told_of(text: str, fields: list[str]) -> None:
    assert [caution.partition(":")[0] for caution in cautions(Settings.of_json(text))] == fields
