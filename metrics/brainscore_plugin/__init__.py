from brainscore_vision import metric_registry

from itprobe.metrics import MAPPINGS, WHOLE_SET_MAPPINGS
from itprobe.metrics.brainscore_metric import CrossValidatedPredictivity, WholeSetSimilarity

metric_registry["itprobe-ridge"] = lambda: CrossValidatedPredictivity(MAPPINGS["ridge"]())
metric_registry["itprobe-pcr"] = lambda: CrossValidatedPredictivity(MAPPINGS["pcr"]())
metric_registry["itprobe-pls"] = lambda: CrossValidatedPredictivity(MAPPINGS["pls"]())
metric_registry["itprobe-banded"] = lambda: CrossValidatedPredictivity(MAPPINGS["banded"]())
metric_registry["itprobe-rsa"] = lambda: WholeSetSimilarity(WHOLE_SET_MAPPINGS["rsa"]())
metric_registry["itprobe-cka"] = lambda: WholeSetSimilarity(WHOLE_SET_MAPPINGS["cka"]())
