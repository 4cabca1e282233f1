"""The command that gives a result again."""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import asdict

from itprobe.benchmarks import parse_benchmark
from itprobe.benchmarks.identifiers import FITTED
from itprobe.errors import InputError
from itprobe.leaderboard.result import Result
from itprobe.metrics import MAPPINGS, WHOLE_SET_MAPPINGS, Mapping, WholeSetMapping, with_options
from itprobe.models.fitted.networks import NETWORKS
from itprobe.models.fitted.registry import DEFAULTS, FromImages
from itprobe.models.identifiers import parse_fitted

LONGEST_COMMAND = 4000


def reproduce_command(result: Result) -> str | None:
    """The ``itprobe score`` command that computes a result, quoted for a shell; None where there is none.

    There is none for results of `itprobe table` over several seeds, for parameters that the command line cannot set,
    and for ids with characters that do not belong in a command.
    """
    candidate, benchmark = result.candidate.id, result.benchmark.id
    if not (candidate.isprintable() and benchmark.isprintable()) or _several_seeds(result):
        return None
    try:
        if parse_benchmark(benchmark).mapping != result.mapping.name:
            return None
        options = list(_mapping_options(result))
    except (InputError, ValueError, TypeError):
        return None
    parts = [f"--benchmark={benchmark}"] if benchmark.startswith("-") else ["--benchmark", benchmark]
    parts += ["--seed", str(result.split.seed)]
    if result.mapping.name != FITTED:
        parts += _computing(result)
    for option in options:
        parts += ["--set", option]
    named = [*parts, "--", candidate] if candidate.startswith("-") else [candidate, *parts]
    command = shlex.join(["itprobe", "score", *named])
    return command if len(command) <= LONGEST_COMMAND else None


def _several_seeds(result: Result) -> bool:
    return any(warning.startswith("splits drawn with seeds") for warning in result.warnings)


def _computing(result: Result) -> list[str]:
    parts = []
    if result.provenance.precision != "full":
        parts += ["--precision", result.provenance.precision]
    if result.provenance.features != "float32":
        parts += ["--features", result.provenance.features]
    return parts


def _first_number(text: object) -> str:
    found = re.search(r"[0-9]+", str(text))
    if found is None:
        raise ValueError(f"no number in {text!r}")
    return found.group()


_OPTIONS: dict[str, tuple[str, Callable[[object], str]]] = {
    "lambda_grid": ("lambdas", lambda value: json.dumps(value)[1:-1].replace(" ", "")),
    "lambda_selection": ("folds", _first_number),
    "lambda_per_neuroid": ("per_neuroid", json.dumps),
    "n_components": ("n_components", str),
    "distance": ("distance", str),
    "comparison": ("comparison", str),
    "interval": ("n_draws", _first_number),
    "estimator": ("unbiased", lambda value: json.dumps(value == "unbiased")),
}
"""What a parameter in a result file is called on the command line, and the text of its value."""


def _mapping_options(result: Result) -> Iterator[str]:
    """Parameters other than the default ones as ``NAME=VALUE``.

    Raises
    ------
    InputError
        If they do not give the result's own.
    """
    if result.mapping.name == FITTED:
        yield from _fitted_options(result)
        return
    kinds: dict[str, Callable[[], Mapping | WholeSetMapping]] = {**MAPPINGS, **WHOLE_SET_MAPPINGS}
    kind = kinds[result.mapping.name]
    usual, given = kind().parameters(), result.mapping.params
    options = {}
    for name, value in given.items():
        if name in _OPTIONS and value != usual.get(name):
            option, text = _OPTIONS[name]
            options[option] = text(value)
    if with_options(kind, options).parameters() != given:
        raise InputError("the command line cannot set these parameters")
    yield from (f"{name}={value}" for name, value in options.items())


def _fitted_options(result: Result) -> Iterator[str]:
    """Parameters of a fitted candidate that differ from its own defaults; its seed is that of the splits."""
    given = dict(result.mapping.params)
    usual = _fitted_defaults(result.candidate.id)
    for name, value in given.items():
        if usual is not None and name not in ("seed", "layer") and value != usual.get(name):
            yield f"{name}={_fitted_text(value)}"


def _fitted_defaults(candidate: str) -> dict[str, object] | None:
    """Parameters of a fitted candidate as it comes; None for one's own, which has them in its file."""
    parsed = parse_fitted(candidate)
    if parsed is None:
        return None
    parts = (FromImages(), NETWORKS[parsed.kind](), DEFAULTS[parsed.kind])
    as_read: list[dict[str, object]] = json.loads(json.dumps([asdict(part) for part in parts]))
    return {name: value for part in as_read for name, value in part.items()}


def _fitted_text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(_fitted_text, value))
    return str(value) if isinstance(value, str) else json.dumps(value).replace("null", "none")
