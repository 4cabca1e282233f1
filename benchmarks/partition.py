"""Which part of the responses' variance only one feature space explains, and which parts are shared."""

from collections.abc import Mapping as Table
from collections.abc import Sequence

import numpy as np
import xarray as xr

from itprobe.benchmarks.evaluation import evaluate
from itprobe.benchmarks.target import Target
from itprobe.errors import InputError
from itprobe.metrics import Gram, Mapping, SplitPlan, interval, mean_over_splits, resample
from itprobe.metrics.inference import N_BOOTSTRAP
from itprobe.metrics.partition import Spaces, all_subsets, variance_parts
from itprobe.metrics.variance import is_constant

MOST_SPACES = 4
"""More spaces than these need more joint fits (2^m - 1) than anyone can read."""


def partition_variance(
    grams: Table[str, Gram],
    stimulus_ids: np.ndarray,
    target: Target,
    mapping: Mapping,
    plan: SplitPlan,
    seed: int,
) -> xr.Dataset:
    """Partition the held-out explained variance of a target between feature spaces.

    A joint mapping is fitted from every set of spaces, on the same splits.

    Parameters
    ----------
    grams : mapping of str to Gram
        Two to four spaces by name, the same rows in all.
    stimulus_ids : ndarray (n,)
        What the rows belong to.
    target : Target
    mapping : Mapping
        One that takes several spaces: banded ridge.
    plan : SplitPlan
    seed : int
        Of the bootstrap draws, the same in every fit, so that differences are paired.

    Returns
    -------
    Dataset
        Dimensions ``spaces`` (names joined by " + "), ``neuroid``, ``bound`` (low, high). Variables:
        ``explained`` and ``part`` (spaces, neuroid), means over splits; ``explained_mean`` and
        ``part_mean`` (spaces), means over neuroids; ``explained_ci95`` and ``part_ci95`` (spaces, bound),
        stimuli and neuroids resampled together. The part of a single space is what only it explains;
        that of several is what they share and no other explains, see
        `itprobe.metrics.partition.variance_parts`. ``attrs["warnings"]``: what a reader should know, a line each.

    Raises
    ------
    InputError
        If there are not two to four spaces, or as `evaluate` does.
    """
    check_spaces(list(grams))
    subsets = all_subsets(list(grams))
    explained: dict[Spaces, np.ndarray] = {}
    draws: dict[Spaces, np.ndarray] = {}
    warnings = list(target.warnings)
    for subset in subsets:
        spaces = [gram for name, gram in grams.items() if name in subset]
        evaluation = evaluate(spaces, stimulus_ids, target, mapping, plan, seed, _label(grams, subset))
        label = _label(grams, subset)
        for note in evaluation.warnings:
            warnings.append(note if note.startswith(label) else f"{label}: {note}")
        if all(is_constant(gram) for gram in spaces):  # what does not vary explains nothing
            explained[subset], draws[subset] = np.zeros(len(target.neuroids)), np.zeros(N_BOOTSTRAP)
            continue
        explained[subset] = mean_over_splits(evaluation.explained_variance)
        draws[subset] = resample(evaluation.held_out, seed=seed).aggregate("explained_variance", "mean")
    parts, part_draws = variance_parts(explained), variance_parts(draws)
    return xr.Dataset(
        {
            "explained": (("spaces", "neuroid"), np.array([explained[subset] for subset in subsets])),
            "part": (("spaces", "neuroid"), np.array([parts[subset] for subset in subsets])),
            "explained_mean": ("spaces", [float(np.nanmean(explained[subset])) for subset in subsets]),
            "part_mean": ("spaces", [float(np.nanmean(parts[subset])) for subset in subsets]),
            "explained_ci95": (("spaces", "bound"), [interval(draws[subset]) for subset in subsets]),
            "part_ci95": (("spaces", "bound"), [interval(part_draws[subset]) for subset in subsets]),
        },
        coords={
            "spaces": [_label(grams, subset) for subset in subsets],
            "n_spaces": ("spaces", [len(subset) for subset in subsets]),
            "neuroid_id": ("neuroid", target.neuroids["neuroid_id"].to_numpy()),
            "bound": ["low", "high"],
        },
        attrs={"warnings": "\n".join(warnings)},
    )


def check_spaces(names: Sequence[str]) -> None:
    """Raise `InputError` if a partition between spaces of these names is not possible."""
    different = len(set(names))
    if different < len(names) or not 2 <= different <= MOST_SPACES:
        raise InputError(f"a partition takes 2 to {MOST_SPACES} different spaces, not {different}")


def _label(names: Table[str, Gram], subset: Spaces) -> str:
    return " + ".join(name for name in names if name in subset)
