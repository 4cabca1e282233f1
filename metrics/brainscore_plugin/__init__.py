from brainscore_vision import metric_registry

from itprobe.metrics.brainscore_metric import CrossValidatedPredictivity

metric_registry["itprobe-ridge"] = CrossValidatedPredictivity
