"""Ridge for many splits from one inverse of all stimuli's Gram matrix.

With Q(λ) the inverse of K + λ on the space orthogonal to ones, over all stimuli, the solution of a split
with training rows T and all other rows F (the test rows among them) is a Schur complement of it. For the
training responses y_T:

    ŷ_F = -Q_FF⁻¹ Q_FT y_T                      predictions, intercept included
    P   = Q_TT - Q_TF Q_FF⁻¹ Q_FT               what Q would be without the test stimuli
    α   = P y_T = (Q y)_T - Q_TF Q_FF⁻¹ (Q y)_F      whatever stands in y_F: it cancels
    r_i = α_i / P_ii                            nested leave-one-out residuals

(the inverse of a block of an inverse). So a lambda costs one inversion of an n x n matrix for all splits and
neuroids together, and little per split. Up to some thirty lambdas that is less than an eigendecomposition.
Predictions are computed from y_T alone.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
from scipy.linalg import blas, cho_factor, cho_solve, cholesky, lapack, solve_triangular

from itprobe.metrics.blas import product
from itprobe.metrics.dual import ridge_dual
from itprobe.metrics.held_out_errors import held_out_errors, mean_predictor_errors
from itprobe.metrics.lambda_search import Frame, LambdaChoice, LambdaSearch, Wanted, run_search
from itprobe.metrics.mapping import Prediction, SplitRows
from itprobe.metrics.spectrum import Spectrum, thin_spectrum

SMALLEST = 1e-8
"""Lambdas below this multiple of the largest eigenvalue lose too much to cancellation in the complement."""

DECOMPOSITION, INVERSION, PER_SPLIT = 6.0, 0.7, 2.5
"""Cost of an eigendecomposition with vectors and of an inversion of a positive definite matrix, relative to n³
multiply-adds of a matrix product, and of what is left per split relative to its own; measured."""

_BLOCK = 64

EXPECTED_LAMBDAS = 20
"""How many lambdas a search is taken to ask for when the cost is estimated."""


class LambdaRule(Protocol):
    """How lambdas are searched and judged."""

    @property
    def per_neuroid(self) -> bool:
        """Whether each neuroid has its own lambda."""
        ...

    def search(self, q: int, frame: Frame) -> LambdaSearch:
        """Search for the lambdas of q neuroids."""
        ...

    def inner_folds(self, strata: np.ndarray | None, n: int) -> tuple[list[np.ndarray] | None, str]:
        """Rows held out together among n training stimuli (None: one by one), and a note on them."""
        ...


def together_is_cheaper(n: int, q: int, splits: Sequence[SplitRows]) -> bool:
    """Estimate whether n stimuli and q neuroids cost less for all splits together than decomposed one by one."""
    apart = together = 0.0
    for split in splits:
        m = len(split.train)
        f = n - m
        apart += DECOMPOSITION * m**3 + EXPECTED_LAMBDAS * m**2 * q
        together += EXPECTED_LAMBDAS * PER_SPLIT * (f**2 * m / 2 + 2 * f * m * q)
    together += EXPECTED_LAMBDAS * (INVERSION * n**3 + n**2 * q)
    return together < apart


def predict_together(
    rule: LambdaRule,
    kernel: np.ndarray,
    responses: np.ndarray,
    splits: Sequence[SplitRows],
    strata: np.ndarray | None,
    frame: Frame,
    predict_apart: Callable[[SplitRows], Prediction],
) -> Iterator[Prediction]:
    """Predict every split's test stimuli from inverses over all stimuli.

    Parameters
    ----------
    rule : LambdaRule
    kernel : ndarray (n, n)
        Of all n stimuli, centred.
    responses : ndarray (n, q)
    splits : sequence of SplitRows
    strata : ndarray (n,), optional
        Labels that inner folds are balanced by.
    frame : Frame
        Where automatic grids lie; the same for all splits, so that they ask for the same lambdas.
    predict_apart : callable
        Serves a split whose search asks for a lambda too small for the complement.
    """
    offset = responses.mean(axis=0)  # only for the rounding of large responses: Q knows no constant
    responses = responses - offset
    states = [_Split(rule, responses, split, strata, frame, SMALLEST * frame.top) for split in splits]
    while asking := [state for state in states if state.asks]:
        for value in sorted({float(value) for state in asking for value in state.lambdas}):
            resolvent = _resolvent(kernel, value, frame.scale)
            if resolvent is None:
                for state in asking:
                    state.abandoned = True
                break
            dual = product(resolvent, responses)
            for state in asking:
                if value in state.lambdas:
                    state.judge(value, resolvent, dual)
        for state in asking:
            if not state.abandoned:
                state.advance()
    for state in states:
        yield predict_apart(state.rows) if state.abandoned else state.prediction(offset)


def predict_from_few_features(
    rule: LambdaRule,
    spectrum: Spectrum,
    responses: np.ndarray,
    splits: Sequence[SplitRows],
    strata: np.ndarray | None,
    frame: Frame,
) -> Iterator[Prediction]:
    """Predict split by split from the principal components of all stimuli, which hold all that K holds.

    Cheap where their number is small; a rotation of the features says nothing of the responses.
    Parameters as in `predict_together`.
    """
    components = spectrum.leading(len(spectrum.eigenvalues))
    features = components.vectors * np.sqrt(components.eigenvalues)
    for split in splits:
        y, x = responses[split.train], features[split.train]
        thin = thin_spectrum(x, spectrum.floor)
        folds, note = rule.inner_folds(None if strata is None else strata[split.train], len(y))
        choice = run_search(rule.search(y.shape[1], frame), held_out_errors(thin, y, folds))
        weights = (x - x.mean(axis=0)).T @ ridge_dual(thin, y, choice.lambdas)
        predictions = (features[split.test] - x.mean(axis=0)) @ weights + y.mean(axis=0)
        yield Prediction(predictions, choice.lambdas, choice.at_edge, [note] if note else [], choice)


def _resolvent(kernel: np.ndarray, value: float, scale: float) -> np.ndarray | None:
    """Q of a lambda, (n, n), from a centred kernel; None where rounding makes K + λ indefinite."""
    n = len(kernel)
    # K has no part along ones: one of the size of its mean eigenvalue, taken away below, keeps 1/λ out of it.
    matrix = (kernel + scale / n).T  # symmetric, and LAPACK wants column-major
    matrix[np.diag_indices(n)] += value
    matrix, failed = lapack.dpotrf(matrix, lower=0, overwrite_a=1, clean=0)
    if failed:
        return None
    matrix, _ = lapack.dpotri(matrix, lower=0, overwrite_c=1)
    matrix -= 1 / (n * (scale + value))
    for start in range(0, len(matrix), _BLOCK):  # only the upper triangle is filled
        rows = slice(start, start + _BLOCK)
        matrix[rows, :start] = matrix[:start, rows].T
        corner = matrix[rows, rows]
        matrix[rows, rows] = np.triu(corner) + np.triu(corner, 1).T
    return matrix


class _Split:
    """One split on its way through a search for its lambdas.

    Attributes
    ----------
    rows : SplitRows
    lambdas : set of float
        Finite lambdas whose errors the search asks for now.
    abandoned : bool
        It asked for a lambda below the smallest.
    """

    def __init__(
        self,
        rule: LambdaRule,
        responses: np.ndarray,
        rows: SplitRows,
        strata: np.ndarray | None,
        frame: Frame,
        smallest: float,
    ) -> None:
        self.rows = rows
        self._out = np.setdiff1d(np.arange(len(responses)), rows.train)
        self._test_in_out = np.searchsorted(self._out, rows.test)
        self._smallest = smallest
        self._shared = not rule.per_neuroid
        self._responses = responses
        self._mean = responses[rows.train].mean(axis=0)
        within = None if strata is None else strata[rows.train]
        self._folds, note = rule.inner_folds(within, len(rows.train))
        self._notes = [note] if note else []
        q = responses.shape[1]
        self._best = np.full((2, q), np.inf)  # error, lambda
        self._predictions = np.tile(self._mean, (len(rows.test), 1))
        self._choice: LambdaChoice | None = None
        self._search = rule.search(q, frame)
        self._ask(next(self._search))

    @property
    def asks(self) -> bool:
        """Whether the search goes on."""
        return self._choice is None and not self.abandoned

    def _ask(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._errors: dict[float, np.ndarray] = {}
        self.lambdas = {float(value) for value in wanted[0] if np.isfinite(value)}
        self.abandoned = min(self.lambdas, default=np.inf) < self._smallest

    def advance(self) -> None:
        """Send the search what it asked for."""
        lambdas, columns = self._wanted
        if np.isinf(lambdas).any():
            self._errors[np.inf] = mean_predictor_errors(
                self._responses[self.rows.train][:, columns], self._folds
            )
        try:
            self._ask(self._search.send(np.array([self._errors[float(value)] for value in lambdas])))
        except StopIteration as stop:
            self._choice = stop.value

    def judge(self, value: float, resolvent: np.ndarray, dual: np.ndarray) -> None:
        """Compute held-out errors and predictions of a lambda from Q (n, n) and Q y (n, q)."""
        out, columns = self._out, self._wanted[1]
        rows = resolvent.T[out]  # symmetric, and its columns are contiguous
        factor = cholesky(rows[:, out], lower=True, check_finite=False)
        rows[:, out] = 0  # what is left is Q_FT, and no response but the training ones counts below
        across = product(rows, self._responses)
        predicted = -cho_solve((factor, True), across, check_finite=False)[self._test_in_out]
        # Q_TF L⁻ᵀ for Q_FF = L Lᵀ, with rows of 0 for F, in place of the transposed rows.
        reduced = blas.dtrsm(1.0, factor, rows.T, side=1, lower=1, trans_a=1, overwrite_b=1)
        dual_out = solve_triangular(factor, dual[out], lower=True, check_finite=False)[:, columns]
        alpha = dual[:, columns] if len(columns) < dual.shape[1] else dual
        errors = self._held_out(resolvent, reduced, alpha - product(reduced, dual_out))
        self._errors[value] = errors
        self._keep_if_better(value, errors, predicted)

    def _held_out(self, resolvent: np.ndarray, reduced: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """Mean squared held-out errors of the training stimuli, from arrays with rows for all stimuli."""
        train = self.rows.train
        if self._folds is None:
            diagonal = resolvent.diagonal() - np.einsum("ij,ij->j", reduced.T, reduced.T)
            diagonal[self._out] = np.inf  # not part of the mean
            alpha /= diagonal[:, None]
            return np.einsum("ij,ij->j", alpha, alpha) / len(train)
        errors = np.zeros(alpha.shape[1])
        for fold in self._folds:
            rows = train[fold]
            block = resolvent[np.ix_(rows, rows)] - product(reduced[rows], reduced[rows].T)
            residuals = cho_solve(cho_factor(block, check_finite=False), alpha[rows], check_finite=False)
            errors += np.mean(residuals**2, axis=0) / len(self._folds)
        return errors

    def _keep_if_better(self, value: float, errors: np.ndarray, predictions: np.ndarray) -> None:
        columns = self._wanted[1]
        judged = np.full(len(columns), errors.mean()) if self._shared else errors
        error, smallest = self._best[:, columns]
        better = columns[(judged < error) | ((judged == error) & (value < smallest))]
        self._best[0, columns] = np.minimum(judged, error)
        self._best[1, better] = value
        self._predictions[:, better] = predictions[:, better]

    def prediction(self, offset: np.ndarray) -> Prediction:
        """What came out of a search that ended; `offset` (q,) had been taken from the responses."""
        assert self._choice is not None
        lambdas = self._choice.lambdas
        predictions = np.where(np.isinf(lambdas), self._mean, self._predictions) + offset
        return Prediction(predictions, lambdas, self._choice.at_edge, self._notes, self._choice)
