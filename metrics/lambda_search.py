"""Choosing lambda by held-out error: a fixed grid, or one that grows until no optimum lies on its edge.

A search is a generator: it yields the lambdas it wants to know the held-out errors of, and for which
neuroids; it is sent the errors and returns a `LambdaChoice`. So one loop can serve many searches at once,
one for each split, when the work for a lambda is shared between them.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np

from itprobe.metrics.spectrum import Spectrum, centred_kernel, rounding_floor

STEPS_PER_DECADE = 3
"""Density of the automatic lambda grid."""

FIRST_DECADES = (-2, 3)
"""The automatic grid starts with these decades about the mean eigenvalue and grows where needed."""

CAP_ABOVE_TOP = 1e4
"""The grid does not grow beyond this multiple of the largest eigenvalue; then comes infinity."""

HeldOutErrors = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Mean squared held-out errors (L, m) of some neuroids, given by their columns (m,), under lambdas (L,).

Infinity is the mean predictor.
"""

Wanted = tuple[np.ndarray, np.ndarray]
"""Lambdas (L,) and neuroids (m,) whose errors (L, m) a search asks for."""


@dataclass(frozen=True)
class LambdaChoice:
    """The lambda of each neuroid and how it came about.

    Attributes
    ----------
    lambdas : ndarray (q,)
        Infinity where no lambda predicted better than the mean response.
    at_edge : ndarray (q,) of bool
        The best lambda was the first or last of the grid, and the grid could not grow.
    grid : ndarray (L,)
        All finite lambdas tried, ascending.
    errors : ndarray (L, q)
        Their held-out errors; NaN where a lambda was not tried for a neuroid.
    error_of_mean : ndarray (q,)
        Held-out error of the mean predictor.
    error : ndarray (q,)
        That of what was chosen.
    """

    lambdas: np.ndarray
    at_edge: np.ndarray
    grid: np.ndarray
    errors: np.ndarray
    error_of_mean: np.ndarray
    error: np.ndarray


LambdaSearch = Generator[Wanted, np.ndarray, LambdaChoice]


@dataclass(frozen=True)
class Frame:
    """Where an automatic grid lies: it is relative to the features' own scale and sees no response.

    Attributes
    ----------
    scale : float
        Mean eigenvalue of the centred Gram matrix.
    top : float
        Its largest eigenvalue, or a bound above it.
    floor : float
        The smallest lambda that rounding errors allow.
    """

    scale: float
    top: float
    floor: float

    @property
    def constant(self) -> bool:
        """Whether the features do not differ between stimuli."""
        return self.top <= self.floor


def frame_of_kernel(kernel: np.ndarray, resolution: float = 1e-13) -> Frame:
    """Frame of a kernel (n, n) without decomposing it; the bound is the Frobenius norm."""
    centred = centred_kernel(kernel)
    top = float(np.linalg.norm(centred))
    return Frame(float(np.trace(centred)) / (len(kernel) - 1), top, rounding_floor(kernel, top, resolution))


def frame_of_spectrum(spectrum: Spectrum) -> Frame:
    """Frame of a decomposed kernel, over the directions that the spectrum holds."""
    if not len(spectrum.eigenvalues):
        return Frame(0.0, 0.0, spectrum.floor)
    return Frame(float(spectrum.eigenvalues.mean()), float(spectrum.eigenvalues[0]), spectrum.floor)


def search_grid(q: int, grid: np.ndarray, per_neuroid: bool = True) -> LambdaSearch:
    """Choose from a fixed grid.

    Parameters
    ----------
    q : int
        Number of neuroids.
    grid : ndarray (L,)
        Positive lambdas.
    per_neuroid : bool
        One lambda per neuroid, or one for all by the mean error over neuroids (as scikit-learn's
        ``RidgeCV`` with ``alpha_per_target=False``).
    """
    grid = np.sort(grid)
    errors = yield np.append(grid, np.inf), np.arange(q)
    errors, of_mean = errors[:-1], errors[-1]
    judged = errors if per_neuroid else np.repeat(errors.mean(axis=1, keepdims=True), q, axis=1)
    best = judged.argmin(axis=0)
    at_edge = ((best == 0) | (best == len(grid) - 1)) & (len(grid) > 1)
    return LambdaChoice(grid[best], at_edge, grid, errors, of_mean, errors[best, np.arange(q)])


def search_automatically(q: int, frame: Frame, per_neuroid: bool = True) -> LambdaSearch:
    """Choose from a logarithmic grid that grows where an optimum is on its edge.

    The grid lies relative to the mean eigenvalue, so the choice does not depend on the unit of the
    features. It grows for the neuroids that need it, down to the floor of rounding and up to
    `CAP_ABOVE_TOP` times the largest eigenvalue. Infinity, the mean predictor, always competes.

    Parameters
    ----------
    q : int
        Number of neuroids.
    frame : Frame
    per_neuroid : bool
        One lambda per neuroid, or one for all by the mean error over neuroids.
    """
    (of_mean,) = yield np.array([np.inf]), np.arange(q)
    if frame.constant:  # only the mean can be predicted
        nothing = np.zeros(q, dtype=bool), np.empty(0), np.empty((0, q))
        return LambdaChoice(np.full(q, np.inf), *nothing, of_mean, of_mean)
    lowest = int(np.ceil(STEPS_PER_DECADE * np.log10(frame.floor / frame.scale)))
    highest = int(np.floor(STEPS_PER_DECADE * np.log10(CAP_ABOVE_TOP * frame.top / frame.scale)))
    low, high = (int(np.clip(STEPS_PER_DECADE * d, lowest, highest)) for d in FIRST_DECADES)
    table: dict[int, np.ndarray] = {}
    wanted, todo = list(range(low, high + 1)), np.arange(q)
    while wanted and len(todo):
        for step, row in zip(wanted, (yield _lambdas(frame, wanted), todo), strict=True):
            table.setdefault(step, np.full(q, np.nan))[todo] = row
        steps = np.array(sorted(table))
        errors = np.array([table[step] for step in steps])
        judged = errors if per_neuroid else errors.mean(axis=1, keepdims=True) + 0 * errors
        best = steps[np.nanargmin(judged, axis=0)]
        wanted, todo = _next_steps(best, steps, lowest, highest, per_neuroid)
    of_best = np.nanmin(judged, axis=0)
    mean_is_best = of_mean <= of_best if per_neuroid else np.full(q, of_mean.mean() <= of_best[0])
    mean_is_best |= best == highest  # at the cap a prediction is the mean but for rounding
    lambdas = np.where(mean_is_best, np.inf, _lambdas(frame, best))
    error = np.where(mean_is_best, of_mean, errors[np.searchsorted(steps, best), np.arange(q)])
    at_edge = (best == lowest) & ~mean_is_best
    return LambdaChoice(lambdas, at_edge, _lambdas(frame, steps), errors, of_mean, error)


def run_search(search: LambdaSearch, errors_of: HeldOutErrors) -> LambdaChoice:
    """Drive one search with a function that computes errors."""
    wanted = next(search)
    while True:
        lambdas, columns = wanted
        try:
            wanted = search.send(errors_of(columns, lambdas))
        except StopIteration as stop:
            return stop.value


def _lambdas(frame: Frame, steps: np.ndarray | list[int]) -> np.ndarray:
    return frame.scale * 10.0 ** (np.asarray(steps) / STEPS_PER_DECADE)


def _next_steps(
    best: np.ndarray, steps: np.ndarray, lowest: int, highest: int, per_neuroid: bool
) -> tuple[list[int], np.ndarray]:
    """Grid steps to try next and the neuroids they are for: one decade beyond each edge that was hit."""
    low_hit = (best == steps[0]) & (steps[0] > lowest)
    high_hit = (best == steps[-1]) & (steps[-1] < highest)
    below = range(max(lowest, steps[0] - STEPS_PER_DECADE), steps[0]) if low_hit.any() else range(0)
    above = (
        range(steps[-1] + 1, min(highest, steps[-1] + STEPS_PER_DECADE) + 1) if high_hit.any() else range(0)
    )
    todo = np.flatnonzero(low_hit | high_hit) if per_neuroid else np.arange(len(best))
    return [int(step) for step in (*below, *above)], todo
