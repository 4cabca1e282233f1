from brainscore_vision import metric_registry

from itprobe.metrics import MAPPINGS
from itprobe.metrics.brainscore_metric import CrossValidatedPredictivity

metric_registry["itprobe-ridge"] = lambda: CrossValidatedPredictivity(MAPPINGS["ridge"]())
metric_registry["itprobe-pcr"] = lambda: CrossValidatedPredictivity(MAPPINGS["pcr"]())
metric_registry["itprobe-pls"] = lambda: CrossValidatedPredictivity(MAPPINGS["pls"]())
