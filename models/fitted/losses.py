"""What the fitted networks minimise, in units in which an untrained prediction costs about 1."""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


def weighted_mse(predictions: Tensor, responses: Tensor, neuroid_weights: Tensor | None = None) -> Tensor:
    """Mean over stimuli and neuroids of w_q (prediction - response)², in float32.

    With standardised responses the mean predictor costs 1 where the weights have mean 1.

    Parameters
    ----------
    predictions, responses : torch.Tensor
        (b, q).
    neuroid_weights : torch.Tensor, optional
        (q,); all 1 by default.

    Returns
    -------
    torch.Tensor
        Scalar.
    """
    errors = (predictions.float() - responses.float()).square()
    if neuroid_weights is not None:
        errors = errors * neuroid_weights
    return errors.mean()


def relative_cross_entropy(logits: Tensor, objects: Tensor) -> Tensor:
    """Cross-entropy divided by log k, so that guessing evenly among k objects costs 1.

    Parameters
    ----------
    logits : torch.Tensor
        (b, k), k > 1.
    objects : torch.Tensor
        (b,) int64.

    Returns
    -------
    torch.Tensor
        Scalar.
    """
    return functional.cross_entropy(logits.float(), objects) / math.log(logits.shape[1])


def noise_weights(reliability: np.ndarray) -> Tensor:
    """Weights of neuroids in the loss, proportional to their reliability.

    The reliability is the share of a standardised response's variance that any model could explain;
    the rest is noise that a network can only memorise. A negative reliability counts as 0, an unknown
    one as the mean of the known.

    Parameters
    ----------
    reliability : np.ndarray
        (q,), of the training part alone; NaN where it is not known.

    Returns
    -------
    torch.Tensor
        (q,) float32 with mean 1; all 1 where no reliability is known or none is above 0.
    """
    clipped = np.clip(np.asarray(reliability, dtype=np.float64), 0, None)
    known = clipped[np.isfinite(clipped)]
    if not known.any():
        return torch.ones(len(clipped))
    # Scaled first by the largest: the mean of numbers near the smallest float would be 0.
    filled = np.where(np.isfinite(clipped), clipped, known.mean()) / known.max()
    return torch.from_numpy(filled / filled.mean()).float()


class FixedBalance(nn.Module):
    """Two losses added with a fixed weight: regression + weight x classification.

    Parameters
    ----------
    weight : float
        Of the classification loss.
    """

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, regression: Tensor, classification: Tensor) -> Tensor:  # noqa: D102
        return regression + self.weight * classification


class UncertaintyBalance(nn.Module):
    """Two losses added with learned weights (Kendall, Gal & Cipolla 2018, section 3.2, equation 10).

    With s² = floor + exp(log variance), both learned with the network, the sum is

        regression / (2 s1²) + classification / s2² + log s1 + log s2,

    which is smallest at s1² = regression and s2² = 2 x classification. Each task then pulls in
    proportion to the relative, not the absolute, decrease of its loss, and none drowns the other.

    Parameters
    ----------
    floor : float
        Smallest s². It ends the reward for a loss that is as good as 0: without it a task that has been
        memorised would go on gaining weight (the paper has none).

    Attributes
    ----------
    log_variances : torch.nn.Parameter
        (2,), of regression and classification; kept out of weight decay, which would draw s² to 1.
    """

    def __init__(self, floor: float = 1e-3) -> None:
        super().__init__()
        self.floor = floor
        self.log_variances = nn.Parameter(torch.zeros(2))

    def variances(self) -> Tensor:
        """(2,): s1² of the regression, s2² of the classification."""
        return self.floor + self.log_variances.exp()

    def forward(self, regression: Tensor, classification: Tensor) -> Tensor:  # noqa: D102
        variances = self.variances()
        precisions = torch.stack((0.5 * regression, classification)) / variances
        return precisions.sum() + 0.5 * variances.log().sum()
