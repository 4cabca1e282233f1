"""What a benchmark asks a candidate to predict: one region's averaged responses, joined to stimuli by id."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly, walk_coords
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

from itprobe.data import average_repetitions, select_region
from itprobe.errors import InputError
from itprobe.metrics import Reliability, split_half_reliability
from itprobe.metrics.ceilings import TrialNoise, trial_noise
from itprobe.metrics.splits import STRATIFY_BY

LEAST_REPEATED = 3
"""Fewest stimuli with repetitions that a correlation between halves can be taken over."""


@dataclass(frozen=True)
class Target:
    """Responses to predict.

    Attributes
    ----------
    region : str
    stimuli : DataFrame (n rows)
        stimulus_id and stimulus columns, in Brain-Score's averaged order.
    stimulus_set : StimulusSet (n rows)
        The images of exactly these stimuli.
    responses : ndarray (n, q), float64
        Average over repetitions, rows as `stimuli`; no NaN, no constant column.
    neuroids : DataFrame (q rows)
        neuroid_id, animal and whatever else is known.
    reliability : Reliability or None
        None where the recording holds averages only.
    noise : TrialNoise or None
        Of exactly these neuroids' trials, the missing ones left out; None where there is no reliability.
    repetitions_median : float
    recording : dict
        identifier, sha256, citation, simulated, visual_degrees.
    warnings : list of str
        Neuroids kept out and why; why there is no ceiling.
    """

    region: str
    stimuli: pd.DataFrame
    stimulus_set: StimulusSet
    responses: np.ndarray
    neuroids: pd.DataFrame
    reliability: Reliability | None
    noise: TrialNoise | None
    repetitions_median: float
    recording: dict[str, object]
    warnings: list[str]

    @property
    def strata(self) -> np.ndarray | None:
        """Object of each stimulus (n,), by which folds are balanced; None where it is not known."""
        return self.stimuli[STRATIFY_BY].to_numpy() if STRATIFY_BY in self.stimuli else None


def prepare_target(assembly: NeuroidAssembly, region: str) -> Target:
    """Average the repetitions of a region and keep the neuroids that can be scored.

    Parameters
    ----------
    assembly : NeuroidAssembly
        A recording as `itprobe.load_recording` gives it.
    region : str

    Raises
    ------
    InputError
        If the region does not exist or none of its neuroids can be scored.
    """
    trials = select_region(assembly, region)
    averaged = average_repetitions(trials)
    responses = np.asarray(averaged.values, dtype=np.float64)
    neuroids = _table(averaged, "neuroid")
    missing = np.isnan(responses).any(axis=0)
    constant = ~missing & (np.ptp(responses, axis=0) == 0)
    warnings = [
        *_kept_out(neuroids["neuroid_id"][missing], "have stimuli without a response"),
        *_kept_out(neuroids["neuroid_id"][constant], "respond the same to every stimulus"),
    ]
    kept = np.flatnonzero(~missing & ~constant)
    if len(kept) == 0:
        raise InputError(
            f"no neuroid of region {region} in {assembly.attrs['identifier']} can be scored: "
            f"{missing.sum()} have stimuli without a response, {constant.sum()} respond the same to every stimulus"
        )
    neuroids = neuroids.iloc[kept].reset_index(drop=True)
    trials = trials.isel(neuroid=kept)
    reliability, note = _reliability(trials)
    stimuli = _table(averaged, "presentation")
    _, counts = np.unique(trials["stimulus_id"].values, return_counts=True)
    return Target(
        region=region,
        stimuli=stimuli,
        stimulus_set=_matching_stimuli(assembly, stimuli["stimulus_id"]),
        responses=responses[:, kept],
        neuroids=neuroids,
        reliability=reliability,
        noise=None if reliability is None else trial_noise(trials.values, trials["stimulus_id"].values),
        repetitions_median=float(np.median(counts)),
        recording={
            key: assembly.attrs[key]
            for key in ("identifier", "sha256", "citation", "simulated", "visual_degrees")
        },
        warnings=warnings + note,
    )


def default_region(assembly: NeuroidAssembly) -> str:
    """The region of a recording that has only one, else IT.

    Raises
    ------
    InputError
        If there are several and IT is none of them.
    """
    regions = sorted(set(np.asarray(assembly["region"].values, dtype=str)))
    if len(regions) > 1 and "IT" not in regions:
        raise InputError(
            f"{assembly.attrs['identifier']} has the regions {', '.join(regions)}; name one of them"
        )
    return regions[0] if len(regions) == 1 else "IT"


def _table(assembly: NeuroidAssembly, dim: str) -> pd.DataFrame:
    """Coordinates of one dimension as a table."""
    return pd.DataFrame({name: values for name, dims, values in walk_coords(assembly) if dims == (dim,)})


def _kept_out(neuroid_ids: pd.Series, reason: str) -> list[str]:
    if len(neuroid_ids) == 0:
        return []
    some = ", ".join(neuroid_ids[:3]) + (", ..." if len(neuroid_ids) > 3 else "")
    return [f"neuroids kept out because they {reason}: {some} ({len(neuroid_ids)} in all)"]


def _n_repeated(assembly: NeuroidAssembly) -> int:
    """Count the stimuli that a neuroid has several responses to, in the neuroid that has most."""
    order = np.argsort(assembly["stimulus_id"].values, kind="stable")
    starts = np.unique(assembly["stimulus_id"].values[order], return_index=True)[1]
    counts = np.add.reduceat(np.isfinite(assembly.values[order]), starts, axis=0, dtype=np.int64)
    return int((counts > 1).sum(axis=0).max())


def recording_reliability(assembly: NeuroidAssembly) -> Reliability | None:
    """Split-half reliability of all neuroids of a recording; None where too little was repeated."""
    if assembly.attrs["averaged"] or _n_repeated(assembly) < LEAST_REPEATED:
        return None
    stimuli, repetitions = assembly["stimulus_id"].values, assembly["repetition"].values
    order = np.lexsort((repetitions, stimuli))  # the draws of the halves must not depend on the row order
    return split_half_reliability(assembly.values[order], stimuli[order])


def _reliability(trials: NeuroidAssembly) -> tuple[Reliability | None, list[str]]:
    """Split-half reliability, or None and the reason."""
    reliability = recording_reliability(trials)
    if reliability is None and trials.attrs["averaged"]:
        return None, ["no ceiling: the recording holds responses that were already averaged over repetitions"]
    if reliability is None:
        return None, [
            f"no ceiling: {_n_repeated(trials)} stimuli were shown more than once, {LEAST_REPEATED} are needed "
            "to compare repetitions"
        ]
    if np.isnan(reliability.rho).all():
        return None, ["no ceiling: every neuroid is constant in a half of its repetitions, every time"]
    constant = int((reliability.skipped == reliability.n_halves).sum())
    note = [f"neuroids without a reliability, constant in a half every time: {constant}"] if constant else []
    return reliability, note


def _matching_stimuli(assembly: NeuroidAssembly, stimulus_ids: pd.Series) -> StimulusSet:
    """Stimuli that have responses, in the order of the stimulus set, and how wide they were shown."""
    stimulus_set = assembly.attrs["stimulus_set"]
    subset = stimulus_set[stimulus_set["stimulus_id"].isin(set(stimulus_ids))].reset_index(drop=True)
    subset.stimulus_paths = stimulus_set.stimulus_paths
    subset.identifier = stimulus_set.identifier
    # Models with a screen place the images on it.
    subset.attrs["visual_degrees"] = float(assembly.attrs["visual_degrees"])
    return subset
