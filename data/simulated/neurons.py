"""The simulated sites: what drives them, how reliable they are, and their spikes.

The expected count of site j to image i is ``m_ij = b_j f(1 + d_j z_ij)``: base count b, modulation
depth d, drive z (mean 0, variance 1 over the images), f a softplus that is nearly the identity. A
trial's count is ``Poisson(g m_ij)`` with a gamma gain g of mean 1 and variance v that all sites of an
animal share within the trial (Goris, Movshon & Simoncelli 2014), so its variance is ``m + v m^2``
and its Fano factor ``1 + v m > 1``.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from itprobe.data.simulated.scenes import LATENTS

GAIN_VARIANCE = 0.05
SHARPNESS = 4.0  # of the softplus: f(1) = 1.005, f(0) = 0.17
BASE_COUNT, BASE_SPREAD, BASE_RANGE = 14.0, 0.4, (7.0, 40.0)  # log-normal, in spikes per trial
# Dirichlet weights of teacher, object and pose: shares are .55 / .30 / .15 on average.
SHARE_WEIGHTS = (4.4, 2.4, 1.2)
READOUT_COMPONENTS, READOUT_HALF = 30, 5
# Quantiles of the reliability over sites, of the shape of those of the 168 IT sites of MajajHong2015:
# median .84, mean .75, 5% .23, 95% .96, 13 of 168 below .3.
RELIABILITY_QUANTILES = (
    (0.0, 0.05, 13 / 168, 0.25, 0.5, 0.75, 0.95, 1.0),
    (0.12, 0.23, 0.30, 0.705, 0.84, 0.91, 0.96, 0.975),
)
MAX_DEPTH, BISECTIONS = 4.0, 45
ANIMALS = ("Simulated1", "Simulated2")
ARRAYS, SPACING_MM = ("A", "M", "P"), 0.4


@dataclass(frozen=True)
class Sites:
    """Planted truth of the sites for n images and q sites.

    Attributes
    ----------
    signal : np.ndarray (n, q)
        Noiseless expected count per trial.
    reliability : np.ndarray (q,)
        Of the average over the trials, `planted_reliability`.
    shares : np.ndarray (3, q)
        Of the drive's variance, due to teacher, object and pose; sums to 1.
    """

    signal: np.ndarray
    reliability: np.ndarray
    shares: np.ndarray


def make_sites(
    features: np.ndarray, latents: pd.DataFrame, repetitions: np.ndarray, n_neuroids: int, seed: int
) -> Sites:
    """Plant sites on a teacher's features and the stimuli's latents.

    Parameters
    ----------
    features : np.ndarray (n, channels, rows, columns)
        The teacher's planted block.
    latents : DataFrame (n,)
    repetitions : np.ndarray (n,) int
        Number of trials of each image.
    n_neuroids : int
    seed : int
    """
    rng = np.random.default_rng([seed, 5])
    shares = rng.dirichlet(SHARE_WEIGHTS, n_neuroids).T
    by_object = _unit(object_effects(latents, n_neuroids, rng))
    by_pose = _unit(_without(pose_effects(latents, n_neuroids, rng), by_object))
    by_teacher = teacher_readout(features, n_neuroids, rng)
    by_teacher = _unit(_without(_without(by_teacher, by_object), by_pose))
    # The three are uncorrelated within each site, so the shares are exact.
    drive = sum(
        np.sqrt(share) * part for share, part in zip(shares, (by_teacher, by_object, by_pose), strict=True)
    )
    base = np.clip(BASE_COUNT * np.exp(BASE_SPREAD * rng.standard_normal(n_neuroids)), *BASE_RANGE)
    target = rng.permutation(target_reliabilities(n_neuroids))
    signal = expected_count(drive, base, solve_depth(drive, base, repetitions, target))
    return Sites(signal, planted_reliability(signal, repetitions), shares)


def teacher_readout(features: np.ndarray, n_neuroids: int, rng: np.random.Generator) -> np.ndarray:
    """Read the teacher's block linearly: (n, channels, rows, columns) -> (n, n_neuroids).

    The map is averaged over a grid of 2 x 2, each feature is standardised over the images, and the
    weights are ``w = V a s^-1 V^T g`` with g standard normal, V the 30 first principal axes, s their
    standard deviations and ``a_k = (1 + k / 5)^-1/2``: of rank 30, so that it can be learnt from 600
    images, and free of the axes' arbitrary signs.
    """
    n = len(features)
    rows, columns = (np.array_split(np.arange(extent), 2) for extent in features.shape[2:])
    cells = [features[:, :, r][:, :, :, c].mean(axis=(2, 3)) for r in rows for c in columns]
    pooled = np.concatenate(cells, axis=1).astype(np.float64)
    pooled = (pooled - pooled.mean(axis=0)) / (pooled.std(axis=0) + 1e-9)
    variance, axes = np.linalg.eigh(pooled.T @ pooled / n)
    kept = min(READOUT_COMPONENTS, n - 1, pooled.shape[1])
    variance, axes = variance[::-1][:kept], axes[:, ::-1][:, :kept]
    amplitude = (1 + np.arange(kept) / READOUT_HALF) ** -0.5
    weights = rng.standard_normal((pooled.shape[1], n_neuroids))
    return pooled @ (axes * (amplitude / np.sqrt(variance))) @ (axes.T @ weights)


def object_effects(latents: pd.DataFrame, n_neuroids: int, rng: np.random.Generator) -> np.ndarray:
    """Preferences for categories and for objects, of equal variance: (n, n_neuroids)."""
    effects = np.zeros((len(latents), n_neuroids))
    for column in ("category_name", "object_name"):
        codes, names = pd.factorize(latents[column], sort=True)
        effects += rng.standard_normal((len(names), n_neuroids))[codes]
    return effects


def pose_effects(latents: pd.DataFrame, n_neuroids: int, rng: np.random.Generator) -> np.ndarray:
    """Random linear mixtures of the standardised pose, position and size: (n, n_neuroids)."""
    values = latents[list(LATENTS)].to_numpy()
    standard = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-12)
    return standard @ rng.standard_normal((len(LATENTS), n_neuroids))


def expected_count(drive: np.ndarray, base: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Expected counts ``b f(1 + d z)`` (n, q) for drive z (n, q), base b and depth d (q,)."""
    return base * np.logaddexp(0, SHARPNESS * (1 + depth * drive)) / SHARPNESS


def planted_reliability(signal: np.ndarray, repetitions: np.ndarray) -> np.ndarray:
    """Reliability of the trial average, in closed form.

    ``rho_j = V_j / (V_j + E_i[(m_ij + v m_ij^2) / R_i])`` with ``V_j = Var_i(m_ij)``: the share of the
    signal in the variance over images of the average of R_i trials. What trials share within an image
    is signal; the gain is drawn anew in each trial, so it is noise, and its being shared by sites
    correlates their noise but leaves each site's reliability alone.

    Parameters
    ----------
    signal : np.ndarray (n, q)
        Expected counts m.
    repetitions : np.ndarray (n,)
        Trials R of each image.

    Returns
    -------
    np.ndarray (q,)
    """
    noise = ((signal + GAIN_VARIANCE * signal**2) / repetitions[:, None]).mean(axis=0)
    variance = signal.var(axis=0)
    return variance / (variance + noise)


def target_reliabilities(n_neuroids: int) -> np.ndarray:
    """The reliabilities (n_neuroids,) to plant, ascending: mid-quantiles of `RELIABILITY_QUANTILES`."""
    return np.interp((np.arange(n_neuroids) + 0.5) / n_neuroids, *RELIABILITY_QUANTILES)


def solve_depth(
    drive: np.ndarray, base: np.ndarray, repetitions: np.ndarray, target: np.ndarray
) -> np.ndarray:
    """Find by bisection the depth (q,) at which each site has its `target` reliability (q,)."""
    low, high = np.zeros_like(base), np.full_like(base, MAX_DEPTH)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        reached = planted_reliability(expected_count(drive, base, middle), repetitions)
        low = np.where(reached < target, middle, low)
        high = np.where(reached < target, high, middle)
    return (low + high) / 2


def draw_counts(
    signal: np.ndarray, repetitions: np.ndarray, animal: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw the spike counts of all trials, image after image.

    Parameters
    ----------
    signal : np.ndarray (n, q)
        Expected counts.
    repetitions : np.ndarray (n,) int
    animal : np.ndarray (q,) int
        Number of each site's animal: sites of one animal share a trial's gain.
    rng : Generator

    Returns
    -------
    np.ndarray (sum of repetitions, q) float32
    """
    counts = np.empty((int(repetitions.sum()), signal.shape[1]), dtype=np.float32)
    row = 0
    for expected, trials in zip(signal, repetitions, strict=True):
        shape = (int(trials), int(animal.max()) + 1)
        gain = rng.gamma(1 / GAIN_VARIANCE, GAIN_VARIANCE, shape)
        counts[row : row + trials] = rng.poisson(gain[:, animal] * expected)
        row += trials
    return counts


def neuroid_coordinates(n_neuroids: int) -> dict[str, np.ndarray]:
    """Coordinates of the sites: two animals with three arrays each, electrodes on a 10 x 10 grid.

    Returns
    -------
    dict of str to np.ndarray (n_neuroids,)
        ``neuroid_id``, ``region`` (IT), ``animal``, ``arr``, ``x`` and ``y`` (mm on the array).
    """
    index = np.arange(n_neuroids)
    animal = np.array(ANIMALS)[animal_numbers(n_neuroids)]
    within = index - np.searchsorted(animal, animal)
    array = np.array(ARRAYS)[within % len(ARRAYS)]
    # 37 and 100 have no common factor: electrodes scatter over the grid without a repeat.
    place = within // len(ARRAYS) * 37 % 100
    ids = [f"{a}_{b}_{p:02d}_{i:03d}" for a, b, p, i in zip(animal, array, place, index, strict=True)]
    return {
        "neuroid_id": np.array(ids),
        "region": np.full(n_neuroids, "IT"),
        "animal": animal,
        "arr": array,
        "x": place % 10 * SPACING_MM,
        "y": place // 10 * SPACING_MM,
    }


def animal_numbers(n_neuroids: int) -> np.ndarray:
    """The first half of the sites (n_neuroids,) belongs to animal 0, the second to animal 1."""
    return (np.arange(n_neuroids) >= (n_neuroids + 1) // 2).astype(int)


def _unit(values: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and variance 1; constant columns become 0."""
    values = values - values.mean(axis=0)
    return values / (values.std(axis=0) + 1e-12)


def _without(values: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Subtract from each column what the same column of `other` (mean 0) explains of it."""
    values = values - values.mean(axis=0)
    return values - other * ((values * other).sum(axis=0) / ((other * other).sum(axis=0) + 1e-12))
