"""Usual names of a data set's parts, and which part is the test part.

The words are those of Hugging Face's `datasets` (SPLIT_KEYWORDS in its data_files.py), in any case.
"""

from __future__ import annotations

from typing import Literal

Part = Literal["train", "test", "validation"]
WORDS: dict[Part, tuple[str, ...]] = {
    "train": ("train", "training"),
    "test": ("test", "testing", "eval", "evaluation"),
    "validation": ("validation", "valid", "val", "dev"),
}


def part_of(word: str) -> Part | None:
    """The part that `word` names; None if it names none."""
    return next((part for part, words in WORDS.items() if word.casefold() in words), None)


def preference(word: str) -> tuple[int, str]:
    """A sort key for several names of one part, the most usual first."""
    words = [each for group in WORDS.values() for each in group]
    return words.index(word.casefold()), word


def held_out(test: tuple[str, int] | None, validation: tuple[str, int] | None) -> list[str]:
    """Notes on which part, given as (name, samples), the model is evaluated on, unless that is the test part alone."""
    if validation is None:
        return []
    if test is None:
        return [f"{validation[0]} ({validation[1]} samples) is the test part: the model is evaluated and gated on it"]
    return [
        f"{test[0]} ({test[1]} samples) is the test part: the model is evaluated and gated on it; "
        f"{validation[0]} ({validation[1]} samples) is not used"
    ]
