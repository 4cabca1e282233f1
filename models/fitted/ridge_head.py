"""A linear layer on a whole map that begins where ridge regression from the untouched features ends."""

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from torch import Tensor, nn

from itprobe.models.fitted.blocks import MapShape

PENALTIES = np.logspace(-6, 4, 31)
"""In units of the mean eigenvalue of the features' inner products."""

CHUNK = 10_000
"""Features that are copied to float64 at a time."""

ROUNDING = 1e-7
"""Directions whose share of the largest eigenvalue is smaller are rounding of float32 features."""


class RidgeHead(nn.Module):
    """All positions and channels to responses: (b, c, h, w) -> (b, q), 0 until `fit`.

    Fitting the head first and the network after it keeps the first gradients, which come through a head
    of random numbers otherwise, from spoiling what the network has learned (Kumar et al. 2022,
    "Fine-tuning can distort pretrained features and underperform out-of-distribution", ICLR).

    Parameters
    ----------
    shape : tuple of int
        (channels, height, width) of the map.
    n_neuroids : int
    """

    def __init__(self, shape: MapShape, n_neuroids: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.positions = height * width
        self.linear = nn.Linear(channels * self.positions, n_neuroids)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("scale", torch.ones(()))

    mean: Tensor
    scale: Tensor

    def forward(self, features: Tensor) -> Tensor:  # noqa: D102
        return self.linear(((features - self.mean) * self.scale).flatten(1))

    @torch.no_grad()
    def fit(self, features: Tensor, responses: Tensor) -> Tensor:
        """Set the weights to ridge regression's, with the penalty of least leave-one-out error per neuroid.

        Parameters
        ----------
        features : torch.Tensor (n, c, h, w)
            Of the training stimuli. Centred, and divided by one number for all, so that learning rates mean
            the same for every layer.
        responses : torch.Tensor (n, q)

        Returns
        -------
        torch.Tensor (n, q)
            What the layer gives for them.
        """
        self.mean.copy_(features.mean((0, 2, 3))[:, None, None])
        self.scale.copy_(1 / (features - self.mean).std().clamp_min(torch.finfo(features.dtype).tiny))
        rows = ((features - self.mean) * self.scale).flatten(1)
        weights, bias = _ridge(rows.cpu().numpy(), responses.double().cpu().numpy())
        self.linear.weight.copy_(torch.from_numpy(weights))
        self.linear.bias.copy_(torch.from_numpy(bias))
        return self.linear(rows)


def _ridge(features: np.ndarray, responses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (q, p) and bias (q,) from features (n, p) and responses (n, q).

    scikit-learn sees n coordinates per stimulus, X turned so that it fits into them: the solution is the same.
    """
    mean = features.mean(axis=0, dtype=np.float64).astype(features.dtype)
    centred = features - mean
    values, vectors = np.linalg.eigh((centred @ centred.T).astype(np.float64))
    kept = values > ROUNDING * values[-1]
    if not kept.any():  # the layer answers the same to all stimuli
        return np.zeros((responses.shape[1], len(mean))), responses.mean(axis=0)
    lengths = np.sqrt(values[kept])
    ridge = RidgeCV(PENALTIES * float(np.mean(values[kept])), alpha_per_target=True)
    ridge.fit(vectors[:, kept] * lengths, responses)
    dual = (ridge.coef_ / lengths) @ vectors[:, kept].T
    parts = (centred[:, start : start + CHUNK] for start in range(0, len(mean), CHUNK))
    weights = np.hstack([dual @ part for part in parts])  # a float64 copy of a part, not of all features
    return weights, ridge.intercept_ - weights @ mean
