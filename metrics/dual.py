"""Linear predictions in dual form: as weights of the training stimuli."""

from dataclasses import dataclass

import numpy as np

from itprobe.metrics.blas import product
from itprobe.metrics.spectrum import Spectrum


@dataclass(frozen=True)
class DualSolution:
    """A fitted linear mapping in its dual form.

    Attributes
    ----------
    dual : ndarray (n, q)
        α; each column sums to 0.
    intercept : ndarray (q,)
        For predictions ``kernel(test, train) @ dual + intercept``, kernel about the training origin.
    lambdas : ndarray (q,)
        NaN where there is no penalty.
    """

    dual: np.ndarray
    intercept: np.ndarray
    lambdas: np.ndarray

    def predict(self, kernel: np.ndarray) -> np.ndarray:
        """Predict responses, shape (m, q), from the kernel between m stimuli and the training ones (m, n)."""
        return product(kernel, self.dual) + self.intercept


def ridge_dual(spectrum: Spectrum, responses: np.ndarray, lambdas: np.ndarray) -> np.ndarray:
    """Dual coefficients (n, q) of responses (n, q) within the directions of a spectrum, lambdas (q,)."""
    loadings = product(spectrum.vectors.T, responses)
    return product(spectrum.vectors, loadings / (spectrum.eigenvalues[:, None] + lambdas[None, :]))


def solve_ridge(
    kernel: np.ndarray, spectrum: Spectrum, responses: np.ndarray, lambdas: np.ndarray
) -> DualSolution:
    """Solve ridge regression for given lambdas.

    Parameters
    ----------
    kernel : ndarray (n, n)
        Of the training stimuli, about any origin.
    spectrum : Spectrum
        ``centred_spectrum(kernel)``, or its leading components.
    responses : ndarray (n, q)
    lambdas : ndarray (q,)
        Infinity gives the mean response as prediction.
    """
    dual = ridge_dual(spectrum, responses, lambdas)
    intercept = (responses - product(kernel, dual)).mean(axis=0)
    return DualSolution(dual, intercept, lambdas)
