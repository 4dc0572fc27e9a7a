"""Messages about a pod contain no value of a Secret that the pod was given."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainserve.store import masking

KEY = 'wJalr/XUtnFEMI"K7MDENG+bPxRfiCY'


@pytest.fixture
def given_to_the_pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """A function that creates the files of a mounted Secret, by name."""

    def give(**files: str) -> None:
        folder = tmp_path / "trainserve"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_text(content)
        known = masking.values({}, tmp_path)
        monkeypatch.setattr(masking, "_here", lambda: known)

    return give


@pytest.mark.parametrize("form", [str, repr, json.dumps, lambda value: quote(value, safe="")])
def test_a_value_is_masked_in_every_form_in_which_programs_print_it(
    given_to_the_pod: Callable[..., None], form: Callable[[str], str]
) -> None:
    given_to_the_pod(AWS_SECRET_ACCESS_KEY=KEY + "\n")
    told = masking.masked({"message": f"environ({{'A': {form(KEY)}}})", "result": {"notes": [form(KEY)], "loss": 0.5}})
    assert KEY not in str(told)
    assert "wJalr" not in str(told)
    assert "<AWS_SECRET_ACCESS_KEY>" in told["message"]
    assert "<AWS_SECRET_ACCESS_KEY>" in told["result"]["notes"][0]
    assert told["result"]["loss"] == 0.5


def test_a_file_of_credentials_is_masked_line_by_line_and_what_stands_in_it(
    given_to_the_pod: Callable[..., None],
) -> None:
    given_to_the_pod(
        netrc="machine models.example.org login robot-seven password opensesame\n",
        pem="-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n",
        settings='{"client_secret": "hush-hush-hush"}',
    )
    told = masking.masked("opensesame robot-seven, MC4CAQAwBQYDK2VwBCIEIA hush-hush-hush at models.example.org")
    assert told == "<netrc> <netrc>, <pem> <settings> at models.example.org"


@given(value=st.text("abc", max_size=masking.SHORTEST - 1), text=st.text("abc \n"))
def test_a_short_value_masks_nothing(value: str, text: str) -> None:
    known = masking.values({"TOKEN": value}, Path("/nonexistent"))
    assert known == {}


@given(st.text(min_size=12).filter(lambda text: len(" ".join(text.split())) >= 12), st.text(), st.text())
def test_whatever_stands_around_a_value_it_is_masked(value: str, before: str, after: str) -> None:
    known = masking.values({"HUB_TOKEN": value}, Path("/nonexistent"))
    assert value.strip() not in masking.without(before + value + after, known).replace("<HUB_TOKEN>", "")


def test_a_variable_is_known_for_a_credential_by_its_name_and_a_place_is_none() -> None:
    environment = {
        "HUB_TOKEN": "sesame-sesame",
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SHARED_CREDENTIALS_FILE": "/home/me/.aws/credentials",
        "HOME": "/home/someone",
    }
    assert set(masking.values(environment, Path("/nonexistent")).values()) == {"HUB_TOKEN", "AWS_ACCESS_KEY_ID"}
