"""Scores freed of the noise in the responses, and what one animal predicts of another.

Repetitions of a stimulus tell how much of a neuroid's variance over stimuli is noise of the trials. r²
and explained variance of a model can be corrected for it. Nothing is clipped: an estimate of a model
that predicts the noiseless response perfectly scatters about 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from itprobe.errors import InputError
from itprobe.metrics.correlation import mean_over_splits, pearson_r
from itprobe.metrics.crossvalidate import predict_held_out
from itprobe.metrics.gram import gram_matrix
from itprobe.metrics.mapping import Mapping
from itprobe.metrics.moments import weighted_moments
from itprobe.metrics.splits import Split


@dataclass(frozen=True)
class TrialNoise:
    """Average responses and the variance that the noise of single trials leaves in them.

    Attributes
    ----------
    stimulus_ids : ndarray (m,)
        Sorted.
    means : ndarray (m, q)
        Over the repetitions that a neuroid has; NaN where it has none.
    variances : ndarray (m, q)
        Estimated variance of `means`, σ²_i / R_i for a stimulus with R_i repetitions.
    """

    stimulus_ids: np.ndarray
    means: np.ndarray
    variances: np.ndarray

    def of(self, stimulus_ids: np.ndarray) -> np.ndarray:
        """Mean variance (q,) over the given stimuli; raises as `at`."""
        return np.asarray(self.at(stimulus_ids).mean(axis=0))

    def at(self, stimulus_ids: np.ndarray) -> np.ndarray:
        """Variance (k, q) at each of k stimuli.

        Raises
        ------
        InputError
            If a stimulus is not in the recording.
        """
        rows = pd.Index(self.stimulus_ids).get_indexer(stimulus_ids)
        if (rows < 0).any():
            some = ", ".join(map(str, np.asarray(stimulus_ids)[rows < 0][:3]))
            raise InputError(f"no trials of {int((rows < 0).sum())} stimuli ({some}) to estimate noise from")
        return self.variances[rows]


def trial_noise(values: np.ndarray, stimuli: np.ndarray) -> TrialNoise:
    """Estimate the noise of averaged responses from the spread of repetitions within each stimulus.

    Parameters
    ----------
    values : ndarray (presentations, q)
        Single-trial responses; NaN = missing. Repetitions may be unequal.
    stimuli : ndarray (presentations,)
        Stimulus id of each presentation.

    Returns
    -------
    TrialNoise
        σ²_i is the unbiased variance of the stimulus's own repetitions, so that its mean over stimuli is
        right for noise that grows with the response; a stimulus with a single repetition takes the
        variance pooled within all stimuli, Σ_i SS_i / Σ_i (R_i - 1). NaN for a neuroid without any
        repeated stimulus.

    Raises
    ------
    InputError
        If no neuroid has two repetitions of any stimulus.
    """
    ids, code = np.unique(stimuli, return_inverse=True)
    gather = csr_matrix((np.ones(len(code)), (code, np.arange(len(code)))), shape=(len(ids), len(code)))
    present = np.isfinite(values)
    counts = gather @ present.astype(np.float64)
    if not (counts >= 2).any():
        raise InputError("no ceiling: the recording has no stimuli with two or more repetitions")
    filled = np.where(present, values, 0).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (gather @ filled) / counts
        squares = gather @ np.where(present, filled - means[code], 0) ** 2
        pooled = squares.sum(axis=0) / np.maximum(counts - 1, 0).sum(axis=0)
        return TrialNoise(ids, means, np.where(counts >= 2, squares / (counts - 1), pooled) / counts)


def r2_er(responses: np.ndarray, predictions: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Squared correlation between predictions and noiseless responses, from noisy ones.

    With centred average responses y and predictions z of m stimuli, and v the mean over stimuli of
    σ²_i / R_i::

        r²_ER = ((y·z)² - v z·z) / (z·z (y·y - (m - 1) v))

    numerator and denominator of which are unbiased (Pospisil & Bair 2021, PLoS Comput. Biol.
    17:e1009212; there with equal repetitions, v = σ²/R). Their ratio is biased by
    O(1/m). It corrects r² only: the square of a negative correlation is positive too.

    Parameters
    ----------
    responses, predictions : ndarray (m, q)
        Averages over repetitions, and what was predicted without having seen them.
    noise : ndarray (q,)
        v, e.g. ``TrialNoise.of(ids)`` for the same stimuli.

    Returns
    -------
    ndarray (q,)
        0 where the prediction is constant; NaN where the responses vary no more than their noise.
    """
    return weighted_moments(np.ones((1, len(responses))), responses, predictions).r2_er(noise)[0]


def feve(responses: np.ndarray, predictions: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Fraction of the explainable variance explained, ``1 - (MSE - v) / (Var - v (m - 1) / m)``.

    v is the mean over stimuli of σ²_i / R_i and Var the variance over the m stimuli, of which the noise
    makes up v (m - 1) / m: numerator and denominator are unbiased for what they would be without noise,
    and without noise this is R². Their ratio is biased by O(1/m). Unlike a correlation it also counts
    errors of scale and offset.

    Parameters
    ----------
    responses, predictions : ndarray (m, q)
        Averages over repetitions, and what was predicted without having seen them.
    noise : ndarray (q,)
        v, e.g. ``TrialNoise.of(ids)`` for the same stimuli.

    Returns
    -------
    ndarray (q,)
        NaN where the responses vary no more than their noise.
    """
    return weighted_moments(np.ones((1, len(responses))), responses, predictions).feve(noise)[0]


@dataclass(frozen=True)
class InterAnimal:
    """How well the neuroids of one animal are predicted from those of another.

    Attributes
    ----------
    source, target : str
        The animal predicted from, and the one predicted.
    neuroids : ndarray (q_target,) of int
        Columns of the target's neuroids.
    pearson_r : ndarray (splits, q_target)
    """

    source: str
    target: str
    neuroids: np.ndarray
    pearson_r: np.ndarray


def inter_animal_pairs(
    responses: np.ndarray,
    stimulus_ids: np.ndarray,
    animals: np.ndarray,
    mapping: Mapping,
    splits: list[Split],
    strata: np.ndarray | None = None,
) -> Iterator[InterAnimal]:
    """Predict each animal's neuroids from each other animal's, through the mapping that models use.

    Where brains of the same kind predict each other no better than this, no more should be asked of a
    model; noise in the source's responses makes it a lower bound.

    Parameters
    ----------
    responses : ndarray (n, q)
        Averages over repetitions; no missing values.
    stimulus_ids : ndarray (n,)
    animals : ndarray (q,)
        Animal of each neuroid.
    mapping : Mapping
    splits : list of Split
    strata : ndarray (n,), optional
        Labels that inner folds are balanced by.

    Yields
    ------
    InterAnimal
        For each ordered pair of animals, by name.

    Raises
    ------
    InputError
        If there are fewer than two animals or responses are missing.
    """
    names = np.unique(animals)
    if len(names) < 2:
        raise InputError(f"an inter-animal ceiling needs two animals, all neuroids are of {names[0]}")
    missing = int((~np.isfinite(responses)).any(axis=0).sum())
    if missing:
        raise InputError(
            f"an inter-animal ceiling needs every response: {missing} of {len(animals)} neuroids have missing "
            "values; leave them out"
        )
    responses = np.asarray(responses, dtype=np.float64)
    for source in names:
        gram = gram_matrix(responses[:, animals == source])
        for target in names[names != source]:
            columns = np.flatnonzero(animals == target)
            results = predict_held_out(
                gram, stimulus_ids, responses[:, columns], stimulus_ids, mapping, splits, strata
            )
            r = np.array([pearson_r(result.responses, result.predictions) for result in results])
            yield InterAnimal(str(source), str(target), columns, r)


def inter_animal_ceiling(
    responses: np.ndarray,
    stimulus_ids: np.ndarray,
    animals: np.ndarray,
    mapping: Mapping,
    splits: list[Split],
    strata: np.ndarray | None = None,
) -> np.ndarray:
    """Correlation of each neuroid with its prediction from other animals, see `inter_animal_pairs`.

    Noise in the source animal's responses, and how few of its neuroids were recorded, make it a lower
    bound of what animals share.

    Returns
    -------
    ndarray (splits, q)
        With more than two animals, mean over the source animals.
    """
    names = np.unique(animals)
    r = np.full((len(names), len(splits), len(animals)), np.nan)
    for pair in inter_animal_pairs(responses, stimulus_ids, animals, mapping, splits, strata):
        r[int(np.flatnonzero(names == pair.source)[0])][:, pair.neuroids] = pair.pearson_r
    return mean_over_splits(r)
