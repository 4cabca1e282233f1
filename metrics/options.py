"""Mappings with other parameters than a benchmark's own, given as text on the command line."""

from collections.abc import Callable, Sequence
from collections.abc import Mapping as Table
from dataclasses import fields
from typing import Any

from itprobe.errors import InputError, unknown_name


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _numbers(text: str) -> tuple[float, ...]:
    numbers = tuple(float(part) for part in text.split(","))
    if not all(0 < number < float("inf") for number in numbers):
        raise ValueError
    return numbers


PARSERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "distance": (str, "a name"),
    "comparison": (str, "a name"),
    "folds": (int, "a whole number"),
    "lambdas": (_numbers, "positive numbers with commas between them"),
    "n_components": (int, "a whole number"),
    "n_draws": (int, "a whole number"),
    "per_neuroid": (_truth, "true or false"),
    "tolerance": (float, "a number"),
    "unbiased": (_truth, "true or false"),
}
"""How the text of each parameter is read, and what it should be."""


def read_options(texts: Sequence[str]) -> dict[str, str]:
    """Read parameters written as ``NAME=VALUE``.

    Raises
    ------
    InputError
        If one is written in another way.
    """
    options = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            raise InputError(f"--set {text}: write NAME=VALUE, e.g. n_components=50")
        options[name] = value
    return options


def parameters_of(kind: Callable[..., Any]) -> list[str]:
    """Names of the parameters of a mapping's class that can be given as text."""
    return [field.name for field in fields(kind) if field.name in PARSERS]  # type: ignore[arg-type]


def with_options(kind: Callable[..., Any], options: Table[str, str]) -> Any:
    """Make a mapping with some of its parameters set.

    Parameters
    ----------
    kind : callable
        The mapping's class.
    options : mapping of str to str
        E.g. ``{"n_components": "50"}`` for PLS; what is not given keeps its default.

    Raises
    ------
    InputError
        If the mapping has no such parameter, or the text is no value of it.
    """
    known = parameters_of(kind)
    values = {}
    for name, text in options.items():
        if name not in known:
            raise unknown_name(f"parameter of {kind.name}", name, known)  # type: ignore[attr-defined]
        parse, form = PARSERS[name]
        try:
            values[name] = parse(text)
        except (ValueError, KeyError):
            raise InputError(f"parameter {name} of {kind.name} must be {form}, not {text!r}") from None  # type: ignore[attr-defined]
    return kind(**values)


def with_shared_options(kinds: Sequence[Callable[..., Any]], options: Table[str, str]) -> list[Any]:
    """Make several mappings, each with those of the parameters that it has.

    Raises
    ------
    InputError
        If none of the mappings has a parameter, or the text is no value of it.
    """
    known = [parameters_of(kind) for kind in kinds]
    every = list(dict.fromkeys(name for names in known for name in names))
    for name in options:
        if name not in every:
            of = ", ".join(kind.name for kind in kinds)  # type: ignore[attr-defined]
            raise unknown_name(f"parameter of {of}", name, every)
    return [
        with_options(kind, {name: text for name, text in options.items() if name in names})
        for kind, names in zip(kinds, known, strict=True)
    ]
