"""Whether a layer says anything about the stimuli at all."""

from itprobe.metrics.gram import Gram

SINGLE_PRECISION = 2e-7
"""Relative to their size, features that differ by less than this differ by float32 rounding only."""


def is_constant(gram: Gram) -> bool:
    """Whether all stimuli have the same features, up to the rounding of float32.

    A dead layer, or one that its input does not reach. Its Gram matrix holds nothing to map or compare;
    what a mapping would make of it is a score of the rounding.
    """
    n = len(gram.values)
    spread = float(gram.values.trace() - gram.values.sum() / n)  # about the mean, wherever the origin is
    size = float(gram.values.trace() + 2 * gram.origin_products.sum() - n * gram.origin_norm)  # about zero
    return spread <= SINGLE_PRECISION**2 * size
