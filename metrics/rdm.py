"""Representational dissimilarity matrices (RDMs): how far apart any two stimuli are.

All distances follow from inner products between the features of stimuli, and so from a layer's Gram
matrix; the features themselves are not needed.
"""

from collections.abc import Callable

import numpy as np

from itprobe.errors import InputError
from itprobe.metrics.gram import Gram, gram_matrix


def squared_euclidean_rdm(gram: Gram) -> np.ndarray:
    """Squared Euclidean distances, ``K_ii + K_jj - 2 K_ij``; a sum over features, not a mean.

    Parameters
    ----------
    gram : Gram
        Of n stimuli.

    Returns
    -------
    ndarray (n, n)
    """
    # Distances do not depend on the origin, and about the mean there is less to cancel.
    squares = gram.values.diagonal()
    return _tidy(squares[:, None] + squares[None, :] - 2 * gram.values, np.inf)


def euclidean_rdm(gram: Gram) -> np.ndarray:
    """Euclidean distances (n, n)."""
    return np.sqrt(squared_euclidean_rdm(gram))


def cosine_rdm(gram: Gram) -> np.ndarray:
    """One minus the cosine of the angle between feature vectors, about zero.

    Returns
    -------
    ndarray (n, n)
        NaN in the row and column of a stimulus whose features are all zero.
    """
    return _one_minus_normalised(gram.raw(), gram)


def correlation_rdm(gram: Gram) -> np.ndarray:
    """One minus the Pearson correlation, across features, between the feature vectors of two stimuli.

    With s_i the sum of stimulus i's features and p their number, the covariance of two stimuli is
    ``x_i · x_j - s_i s_j / p``.

    Returns
    -------
    ndarray (n, n)
        NaN in the row and column of a stimulus whose features are all equal (to the accuracy of the
        Gram matrix).
    """
    sums = gram.feature_sums / np.sqrt(gram.n_features)
    return _one_minus_normalised(gram.raw() - np.outer(sums, sums), gram)


def _one_minus_normalised(products: np.ndarray, gram: Gram) -> np.ndarray:
    """``1 - P_ij / √(P_ii P_jj)``; NaN where P_ii is no more than the rounding of what it is made of."""
    squares = products.diagonal().copy()
    magnitude = gram.values.diagonal() + 2 * np.abs(gram.origin_products) + gram.origin_norm
    squares[squares <= 10 * gram.resolution * magnitude] = np.nan
    norms = np.sqrt(squares)
    return _tidy(1 - products / np.outer(norms, norms), 2.0)


def _tidy(distances: np.ndarray, largest: float) -> np.ndarray:
    """Distances without what rounding adds: symmetric, zero diagonal, nothing outside 0 .. `largest`."""
    distances = np.clip((distances + distances.T) / 2, 0, largest)
    defined = np.isfinite(distances.diagonal())
    np.fill_diagonal(distances, np.where(defined, 0.0, np.nan))
    return distances


DISTANCES: dict[str, Callable[[Gram], np.ndarray]] = {
    "correlation": correlation_rdm,
    "cosine": cosine_rdm,
    "euclidean": euclidean_rdm,
    "sqeuclidean": squared_euclidean_rdm,
}
"""RDMs by the name that scipy's ``pdist`` gives the distance."""


def rdm(gram: Gram, distance: str = "correlation") -> np.ndarray:
    """Dissimilarity of any two stimuli by the features that a Gram matrix was computed from.

    Parameters
    ----------
    gram : Gram
        Of n stimuli.
    distance : {"correlation", "cosine", "euclidean", "sqeuclidean"}

    Returns
    -------
    ndarray (n, n), float64
        Symmetric, zero on the diagonal. The whole row and column of a stimulus without a defined
        distance (see `correlation_rdm` and `cosine_rdm`) are NaN.

    Raises
    ------
    InputError
        If the distance is unknown.
    """
    if distance not in DISTANCES:
        raise InputError(f"unknown distance {distance!r}; there are {', '.join(DISTANCES)}")
    return DISTANCES[distance](gram)


def response_rdm(responses: np.ndarray, distance: str = "correlation") -> np.ndarray:
    """Dissimilarity of any two stimuli by the responses of a population.

    Parameters
    ----------
    responses : ndarray (n, q)
        Averaged responses of q neuroids; no missing values.
    distance : {"correlation", "cosine", "euclidean", "sqeuclidean"}

    Returns
    -------
    ndarray (n, n), float64
        See `rdm`.

    Raises
    ------
    InputError
        If a response is missing or the distance is unknown.
    """
    missing = int((~np.isfinite(responses)).any(axis=0).sum())
    if missing:
        raise InputError(
            f"an RDM needs every response: {missing} of {responses.shape[1]} neuroids have missing values; "
            "leave them out"
        )
    return rdm(gram_matrix(np.asarray(responses, dtype=np.float64)), distance)
