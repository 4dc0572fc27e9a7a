"""Quantities: Kubernetes' grammar, the numbers that it denotes, and values that are too large to count."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainserve.api.scalars import quantity
from trainserve.api.scalars.quantity import InvalidQuantity
from trainserve.dev.kube import ApiError, Client
from trainserve.operator.specs import InvalidSpec, parse_trainjob

MEANT = {
    "1e9": "1000000000",
    "1E9": "1000000000",
    "1e+2": "100",
    "25e-1": "2.5",
    ".5": "0.5",
    "5.": "5",
    "5.Mi": "5242880",
    "1E": "1000000000000000000",
    "+1": "1",
    "+.5e1": "5",
    "007": "7",
    "0": "0",
    "0e3": "0",
    "1n": "0.000000001",
    "100u": "0.0001",
    "0.5Gi": "536870912",
    "128974848": "128974848",
    "129M": "129000000",
    "123Mi": "128974848",
    "1.5": "1.5",
    "9223372036854775807": "9223372036854775807",
}
NOT_MEANT = [
    "", ".", "+", "e9", "1e", "1e1.5", "1 Gi", " 1", "1\n", "1gi", "1K", "1mi", "1Zi", "1GB", "0x10", "1_000", "--1",
    "+-1", "NaN", "inf", "\u0661", "1e\u0663",
]  # fmt: skip
READ_AS_NOTHING = ["", ".", "+", "e9", " 1", "1K", "1mi", "1gi"]
"""Inputs that some release's server accepts against its own grammar."""
HUGE = ["1e400", "1e101", "9223372036854775808", "8Ei", "10E", "9" * 40]


@pytest.mark.parametrize(("text", "number"), MEANT.items())
def test_it_means_what_kubernetes_means(text: str, number: str) -> None:
    assert re.fullmatch(quantity.PATTERN, text)
    assert quantity.memory(text) == quantity.value(text) == Decimal(number)


@pytest.mark.parametrize("text", NOT_MEANT)
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(InvalidQuantity, match="must be a quantity as in a Pod"):
        quantity.memory(text)


@pytest.mark.parametrize("text", HUGE)
def test_more_than_kubernetes_can_count_is_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidQuantity, match=r"must be at most 9223372036854775807 bytes \(2\^63-1\)"):
        quantity.memory(text)
    spec = {"model": {"command": ["true"]}, "resources": {"memory": text}}
    with pytest.raises(InvalidSpec, match=r"^spec\.resources\.memory: .* must be at most 9223372036854775807 bytes"):
        parse_trainjob({"metadata": {"name": "huge"}, "spec": spec})


@pytest.mark.parametrize("text", ["-1", "-.5", "-1e9"])
def test_less_than_nothing_is_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidQuantity, match=r"^must not be negative$"):
        quantity.memory(text)


@pytest.mark.parametrize("text", ["1e-10", "1e-400", ".1n", "0e101"])
def test_less_than_kubernetes_can_tell_from_nothing_is_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidQuantity, match=r"^must be 0 or at least 1n"):
        quantity.cores(text)


def test_cores_are_counted_in_thousandths() -> None:
    assert quantity.cores("9223372036854775.807") == Decimal("9223372036854775.807")
    with pytest.raises(InvalidQuantity, match="thousandths"):
        quantity.cores("1E")


def written() -> st.SearchStrategy[str]:
    digits = st.text("0123456789", min_size=1, max_size=12)
    number = st.one_of(
        digits, digits.map("{}.".format), digits.map(".{}".format), st.tuples(digits, digits).map(".".join)
    )
    exponent = st.integers(-12, 20).flatmap(lambda e: st.sampled_from([f"e{e}", f"E{e}", f"e{e:+}"]))
    suffix = st.one_of(st.sampled_from(["", *"numkMGTPE", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]), exponent)
    return st.tuples(st.sampled_from(["", "+"]), number, suffix).map("".join)


@given(text=written())
def test_whatever_the_grammar_builds_is_taken_or_refused_for_its_size(text: str) -> None:
    assert re.fullmatch(quantity.PATTERN, text)
    try:
        assert quantity.memory(text) >= 0
    except InvalidQuantity as refused:
        assert str(refused).startswith(("must be at most", "must be 0 or at least"))


@pytest.fixture(scope="module")
def client(kubeconfig: Path) -> Iterator[Client]:
    """A client in a namespace of this module."""
    name = f"quantity-{os.getpid()}"
    with Client(kubeconfig, name) as client:
        client.create("Namespace", {"metadata": {"name": name}})
        yield client
        client.delete("Namespace", name)


def understood(client: Client, text: Any) -> str:
    """Return a quantity as the API server writes it after parsing. Raises ApiError."""
    quota = {"metadata": {"name": "any"}, "spec": {"hard": {"requests.memory": text}}}
    return str(client.create("ResourceQuota", quota, dry_run=True)["spec"]["hard"]["requests.memory"])


@pytest.mark.cluster
@settings(max_examples=100)
@given(text=st.one_of(written(), st.sampled_from(list(MEANT))))
def test_a_server_takes_what_we_take_as_the_same_number(client: Client, text: str) -> None:
    try:
        ours = quantity.memory(text)
    except InvalidQuantity:
        return
    theirs = quantity.value(understood(client, text))
    # It rounds fractions of a thousandth up.
    assert theirs == ours.quantize(Decimal("0.001"), ROUND_CEILING) or theirs == ours


@pytest.mark.cluster
@pytest.mark.parametrize("text", [each for each in NOT_MEANT if each not in READ_AS_NOTHING])
def test_a_server_refuses_what_we_refuse(client: Client, text: str) -> None:
    with pytest.raises(ApiError):
        understood(client, text)
