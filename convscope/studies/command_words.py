"""The words of a study's command: an option's value, and the words without some options."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def option(words: Sequence[str], name: str) -> str:
    """The value of an option; "" where it is not given."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == name:
            return following
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return ""


def without(words: Sequence[str], names: Sequence[str]) -> list[str]:
    """The words without these options and their values."""
    return list(kept_words(words, names))


def kept_words(words: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    skip = False
    for word in words:
        if skip or word in names:
            skip = not skip
        elif not word.startswith(tuple(f"{name}=" for name in names)):
            yield word
