"""Held-out errors of ridge regression within the training stimuli, without refitting.

With Q = (1/λ)(1 - 11ᵀ/n) - V diag(1/λ - 1/(s + λ)) Vᵀ, the inverse of K + λ on the space orthogonal to
ones, the dual solution of all n stimuli is α = Q y, and the residuals that a group H of stimuli would
have if the fit had not seen them are ``Q_HH⁻¹ α_H``, intercept included: for a single stimulus α_i / Q_ii
(Rifkin & Lippert 2007, "Notes on regularized least squares"), for a group the same by blocks.
"""

import numpy as np

from itprobe.metrics.blas import product
from itprobe.metrics.lambda_search import HeldOutErrors
from itprobe.metrics.lapack import add_products, solve_positive_definite
from itprobe.metrics.spectrum import Spectrum


def held_out_errors(
    spectrum: Spectrum, responses: np.ndarray, folds: list[np.ndarray] | None = None
) -> HeldOutErrors:
    """Give a function of neuroids and lambdas that computes held-out errors.

    Parameters
    ----------
    spectrum : Spectrum
        Of the n training stimuli; directions that it leaves out count as null.
    responses : ndarray (n, q)
    folds : list of ndarray, optional
        Rows that are held out together; each stimulus by itself if not given.
    """
    if folds is None:
        return lambda columns, lambdas: leave_one_out_errors(spectrum, responses[:, columns], lambdas)
    return lambda columns, lambdas: k_fold_errors(spectrum, responses[:, columns], lambdas, folds)


def leave_one_out_errors(spectrum: Spectrum, responses: np.ndarray, lambdas: np.ndarray) -> np.ndarray:
    """Mean squared leave-one-out error for each lambda and neuroid.

    Parameters
    ----------
    spectrum : Spectrum
        Of the n training stimuli.
    responses : ndarray (n, q)
    lambdas : ndarray (L,)
        Positive; infinity stands for the mean predictor.

    Returns
    -------
    ndarray (L, q)
    """
    n = len(responses)
    centred = responses - responses.mean(axis=0)
    loadings = product(spectrum.vectors.T, responses)
    squares = spectrum.vectors**2
    full = spectrum.vectors.shape[1] == n - 1
    rest = 0 if full else centred - product(spectrum.vectors, loadings)
    rest_diagonal = 0 if full else 1 - 1 / n - squares.sum(axis=1)
    errors = np.empty((len(lambdas), responses.shape[1]))
    for index, value in enumerate(lambdas):
        if np.isinf(value):
            errors[index] = mean_predictor_errors(responses)
            continue
        inverse = 1 / (spectrum.eigenvalues + value)
        dual = product(spectrum.vectors, loadings * inverse[:, None]) + rest / value
        residuals = dual / (product(squares, inverse[:, None])[:, 0] + rest_diagonal / value)[:, None]
        errors[index] = np.mean(residuals**2, axis=0)
    return errors


def k_fold_errors(
    spectrum: Spectrum, responses: np.ndarray, lambdas: np.ndarray, folds: list[np.ndarray]
) -> np.ndarray:
    """Mean squared error of held-out folds for each lambda and neuroid, averaged over the folds.

    Parameters
    ----------
    spectrum : Spectrum
    responses : ndarray (n, q)
    lambdas : ndarray (L,)
        Positive; infinity stands for the mean predictor.
    folds : list of ndarray
        Rows held out together.

    Returns
    -------
    ndarray (L, q)
        As scikit-learn's ``GridSearchCV`` with ``scoring="neg_mean_squared_error"``: every fold has
        the same weight.
    """
    n = len(responses)
    centred = responses - responses.mean(axis=0)
    loadings = product(spectrum.vectors.T, responses)
    full = spectrum.vectors.shape[1] == n - 1
    rest = 0 * centred if full else centred - product(spectrum.vectors, loadings)
    parts = [(np.ascontiguousarray(spectrum.vectors[fold]), rest[fold]) for fold in folds]
    scaled = np.empty((max(map(len, folds)), spectrum.vectors.shape[1]))
    errors = np.zeros((len(lambdas), responses.shape[1]))
    for index, value in enumerate(lambdas):
        if np.isinf(value):
            errors[index] = mean_predictor_errors(responses, folds)
            continue
        inverse = 1 / (spectrum.eigenvalues + value)
        weighted = loadings * inverse[:, None]
        weights = np.sqrt(inverse if full else 1 / value - inverse)
        for vectors, left in parts:
            dual = product(vectors, weighted) + left / value
            size = len(vectors)
            block = np.full((size, size), 0.0 if full else -1 / (n * value), order="F")
            block[np.diag_indices(size)] += 0.0 if full else 1 / value
            if len(weights):
                np.multiply(vectors, weights, out=scaled[:size])
                add_products(block, 1.0 if full else -1.0, scaled[:size].T)
            residuals = solve_positive_definite(block, dual)
            errors[index] += np.mean(residuals**2, axis=0) / len(folds)
    return errors


def mean_predictor_errors(responses: np.ndarray, folds: list[np.ndarray] | None = None) -> np.ndarray:
    """Mean squared held-out error (q,) of predicting the mean of the other responses (n, q)."""
    n = len(responses)
    if folds is None:
        return responses.var(axis=0) * (n / (n - 1)) ** 2
    total, errors = responses.sum(axis=0), np.zeros(responses.shape[1])
    for fold in folds:
        mean = (total - responses[fold].sum(axis=0)) / (n - len(fold))
        errors += np.mean((responses[fold] - mean) ** 2, axis=0) / len(folds)
    return errors
