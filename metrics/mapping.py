"""What every mapping from features to responses has in common."""

from typing import Protocol

import numpy as np


class FittedMapping(Protocol):
    """A mapping fitted to n training stimuli and q neuroids.

    Attributes
    ----------
    lambdas : ndarray (q,)
        Penalty of each neuroid; infinity where the mean response is the prediction, NaN where the
        mapping has no penalty.
    at_edge : ndarray (q,) of bool
        The penalty is the first or last that could be tried.
    notes : list of str
        What a user should know about this fit, e.g. that there were fewer components than asked for.
    """

    @property
    def lambdas(self) -> np.ndarray: ...  # noqa: D102

    @property
    def at_edge(self) -> np.ndarray: ...  # noqa: D102

    @property
    def notes(self) -> list[str]: ...  # noqa: D102

    def predict(self, kernel: np.ndarray) -> np.ndarray:
        """Predict responses (m, q) from the kernel between m stimuli and the n training ones, (m, n)."""
        ...


class Mapping(Protocol):
    """A way to predict responses from inner products of features."""

    @property
    def name(self) -> str:
        """Name in benchmark ids."""
        ...

    def parameters(self) -> dict[str, object]:
        """Parameters as they stand in a result file."""
        ...

    def fit(
        self,
        kernel: np.ndarray,
        responses: np.ndarray,
        resolution: float = 1e-13,
        strata: np.ndarray | None = None,
    ) -> FittedMapping:
        """Fit to training stimuli only.

        Parameters
        ----------
        kernel : ndarray (n, n)
            Inner products about any origin.
        responses : ndarray (n, q)
        resolution : float
            Relative accuracy of the kernel, see `Gram`.
        strata : ndarray (n,), optional
            Labels (objects) that inner folds are balanced by.
        """
        ...
