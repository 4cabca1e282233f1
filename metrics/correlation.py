"""How well predicted responses match measured ones, per neuroid."""

import numpy as np


def pearson_r(responses: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Pearson correlation per neuroid.

    Parameters
    ----------
    responses, predictions : ndarray (n, q)

    Returns
    -------
    ndarray (q,)
        0 where the prediction is constant (the mean predictor explains nothing); NaN where the
        response is.
    """
    y = responses - responses.mean(axis=0)
    z = predictions - predictions.mean(axis=0)
    # A mean predictor's values differ by rounding only; that is no variance.
    flat = np.abs(z).max(axis=0) <= 1e-12 * np.maximum(np.abs(predictions).max(axis=0), 1e-300)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (y * z).sum(axis=0) / np.sqrt((y**2).sum(axis=0) * (z**2).sum(axis=0))
    r[flat] = 0.0
    r[np.ptp(responses, axis=0) == 0] = np.nan
    return np.clip(r, -1, 1)


def explained_variance(responses: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Explained variance per neuroid, 1 - Var(y - ŷ) / Var(y), as scikit-learn's function of that name.

    Parameters
    ----------
    responses, predictions : ndarray (n, q)

    Returns
    -------
    ndarray (q,)
        NaN where the response is constant.
    """
    variance = responses.var(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(variance > 0, 1 - (responses - predictions).var(axis=0) / variance, np.nan)


def mean_over_splits(values: np.ndarray) -> np.ndarray:
    """Mean (q,) of values (splits, q) over the splits in which they are finite; NaN where none is."""
    defined = np.isfinite(values)
    total = np.where(defined, values, 0).sum(axis=0)
    return np.divide(total, defined.sum(axis=0), out=np.full_like(total, np.nan), where=defined.any(axis=0))
