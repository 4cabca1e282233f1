"""What every mapping from features to responses has in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from itprobe.metrics.lambda_search import LambdaChoice
from itprobe.metrics.side_by_side import side_by_side


@dataclass(frozen=True)
class SplitRows:
    """Rows of one split's training and test stimuli."""

    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Prediction:
    """What a mapping predicts for one split's test stimuli.

    Attributes
    ----------
    predictions : ndarray (n_test, q)
    lambdas : ndarray (q,)
        Penalty of each neuroid; infinity where the mean response is the prediction, NaN where the
        mapping has no penalty.
    at_edge : ndarray (q,) of bool
        The penalty is the first or last that could be tried.
    notes : list of str
        What a user should know about this fit, e.g. that there were fewer components than asked for.
    choice : LambdaChoice or None
        How the penalty was chosen; None where there is none.
    weights : ndarray (spaces, q) or None
        Share of each feature space in the kernel of each neuroid, for mappings from several spaces.
    """

    predictions: np.ndarray
    lambdas: np.ndarray
    at_edge: np.ndarray
    notes: list[str]
    choice: LambdaChoice | None = None
    weights: np.ndarray | None = None


class FittedMapping(Protocol):
    """A mapping fitted to n training stimuli and q neuroids; see `Prediction` for what it tells."""

    @property
    def lambdas(self) -> np.ndarray: ...  # noqa: D102

    @property
    def at_edge(self) -> np.ndarray: ...  # noqa: D102

    @property
    def notes(self) -> list[str]: ...  # noqa: D102

    @property
    def choice(self) -> LambdaChoice | None: ...  # noqa: D102

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

    def predict_splits(
        self,
        kernels: Sequence[np.ndarray],
        responses: np.ndarray,
        splits: Sequence[SplitRows],
        resolution: float = 1e-13,
        strata: np.ndarray | None = None,
        n_features: int | None = None,
    ) -> Iterator[Prediction]:
        """Fit to each split's training stimuli only and predict its test stimuli.

        Parameters
        ----------
        kernels : sequence of ndarray (n, n)
            Inner products about any origin, one matrix per feature space; all mappings but banded ridge
            take exactly one.
        responses : ndarray (n, q)
        splits : sequence of SplitRows
        resolution : float
            Relative accuracy of the kernels, see `Gram`.
        strata : ndarray (n,), optional
            Labels (objects) that inner folds are balanced by.
        n_features : int, optional
            Of all spaces together: where they are few, there is a cheaper way.
        """
        ...


MATRICES_OF_A_FIT = 5
"""Matrices of the size of the training kernel that a fit has in memory at once, at most."""


class FittedPerSplit(ABC):
    """Mappings that know nothing better than to fit each split by itself, several at the same time."""

    @abstractmethod
    def fit(
        self,
        kernel: np.ndarray,
        responses: np.ndarray,
        resolution: float = 1e-13,
        strata: np.ndarray | None = None,
    ) -> FittedMapping:
        """Fit to training stimuli: kernel (n, n), responses (n, q), strata (n,)."""

    def predict_splits(
        self,
        kernels: Sequence[np.ndarray],
        responses: np.ndarray,
        splits: Sequence[SplitRows],
        resolution: float = 1e-13,
        strata: np.ndarray | None = None,
        n_features: int | None = None,
    ) -> Iterator[Prediction]:
        """Fit to each split's training stimuli and predict its test stimuli, see `Mapping.predict_splits`."""
        (kernel,) = kernels

        def predict(split: SplitRows) -> Prediction:
            fitted = self.fit(
                kernel[np.ix_(split.train, split.train)],
                responses[split.train],
                resolution,
                None if strata is None else strata[split.train],
            )
            predictions = fitted.predict(kernel[np.ix_(split.test, split.train)])
            return Prediction(predictions, fitted.lambdas, fitted.at_edge, fitted.notes, fitted.choice)

        largest = max((len(split.train) for split in splits), default=0)
        yield from side_by_side(predict, splits, MATRICES_OF_A_FIT * largest**2 * kernel.itemsize)
