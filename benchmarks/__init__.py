"""Recording x region x mapping x split, as benchmarks for itprobe and for Brain-Score."""

from itprobe.benchmarks.benchmark import PredictivityBenchmark, load_benchmark
from itprobe.benchmarks.evaluation import Evaluation, SimilarityEvaluation
from itprobe.benchmarks.identifiers import BenchmarkId, list_benchmarks, parse_benchmark
from itprobe.benchmarks.score import brainscore_score
from itprobe.benchmarks.target import Target, prepare_target, recording_reliability

__all__ = [
    "BenchmarkId",
    "Evaluation",
    "PredictivityBenchmark",
    "SimilarityEvaluation",
    "Target",
    "brainscore_score",
    "list_benchmarks",
    "load_benchmark",
    "parse_benchmark",
    "prepare_target",
    "recording_reliability",
]
