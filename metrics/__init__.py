"""Gram matrices, mappings from features to responses, splits, ceilings and inference."""

from collections.abc import Callable

from itprobe.metrics.banded import BandedRidgeMapping
from itprobe.metrics.banded_estimator import GramBandedRidgeCV
from itprobe.metrics.correlation import explained_variance, mean_over_splits, pearson_r
from itprobe.metrics.crossvalidate import predict_held_out
from itprobe.metrics.estimators import GramPCR, GramPLS, GramRidgeCV
from itprobe.metrics.gram import Gram, gram_matrix
from itprobe.metrics.inference import (
    HeldOut,
    interval,
    paired_difference,
    reliability_weighted_mean,
    resample,
    studentised_interval,
)
from itprobe.metrics.mapping import Mapping
from itprobe.metrics.options import with_options
from itprobe.metrics.pcr import PcrMapping
from itprobe.metrics.pls import PlsMapping
from itprobe.metrics.reliability import (
    Reliability,
    brainscore_ceiling,
    brainscore_reliability,
    ceiled_r2,
    split_half_reliability,
)
from itprobe.metrics.ridge import RidgeMapping
from itprobe.metrics.significance import benjamini_hochberg, holm, permutation_test
from itprobe.metrics.splits import DEFAULT_SEED, SPLITS, Split, SplitPlan
from itprobe.metrics.whole_set import CkaMapping, RsaMapping, Similarity, WholeSetMapping

MAPPINGS: dict[str, Callable[[], Mapping]] = {
    "ridge": RidgeMapping,
    "pcr": PcrMapping,
    "pls": PlsMapping,
    "banded": BandedRidgeMapping,
}
"""Mappings that are fitted on training stimuli, by the name that stands in a benchmark's id."""

WHOLE_SET_MAPPINGS: dict[str, Callable[[], WholeSetMapping]] = {"rsa": RsaMapping, "cka": CkaMapping}
"""Mappings that compare all stimuli at once."""

__all__ = [
    "DEFAULT_SEED",
    "MAPPINGS",
    "SPLITS",
    "WHOLE_SET_MAPPINGS",
    "BandedRidgeMapping",
    "CkaMapping",
    "Gram",
    "GramBandedRidgeCV",
    "GramPCR",
    "GramPLS",
    "GramRidgeCV",
    "HeldOut",
    "Mapping",
    "PcrMapping",
    "PlsMapping",
    "Reliability",
    "RidgeMapping",
    "RsaMapping",
    "Similarity",
    "Split",
    "SplitPlan",
    "WholeSetMapping",
    "benjamini_hochberg",
    "brainscore_ceiling",
    "brainscore_reliability",
    "ceiled_r2",
    "explained_variance",
    "gram_matrix",
    "holm",
    "interval",
    "mean_over_splits",
    "paired_difference",
    "pearson_r",
    "permutation_test",
    "predict_held_out",
    "reliability_weighted_mean",
    "resample",
    "split_half_reliability",
    "studentised_interval",
    "with_options",
]
