"""What is predicted from what: a named layer's features and a recording's responses, or made-up ones."""

import argparse
from dataclasses import dataclass

import numpy as np
import pandas as pd
from machine import planted_responses, power_law_features

from itprobe.benchmarks import load_benchmark
from itprobe.metrics import SPLITS, Gram, Mapping, Split, predict_held_out
from itprobe.metrics.crossvalidate import SplitResult
from itprobe.models import load_candidate, parse_candidate, record_activations


@dataclass(frozen=True)
class Task:
    """Features (n, p) and responses (n, q), rows of both in the order of `ids`."""

    features: np.ndarray
    responses: np.ndarray
    ids: np.ndarray
    strata: np.ndarray
    splits: list[Split]
    description: str

    def predict(self, gram: Gram, mapping: Mapping) -> list[SplitResult]:
        """Our held-out predictions of all splits."""
        return list(
            predict_held_out(gram, self.ids, self.responses, self.ids, mapping, self.splits, self.strata)
        )

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Rows of stimuli."""
        return pd.Index(self.ids).get_indexer(ids)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What a user may choose about the task."""
    parser.add_argument("--recording", default="simulated")
    parser.add_argument("--candidate", default="efficientnet_lite0:_blocks.8")
    parser.add_argument("--quick", action="store_true", help="small made-up features: does the script run?")


def load_task(options: argparse.Namespace) -> Task:
    """Load what the arguments ask for."""
    return _made_up() if options.quick else _recorded(options.recording, options.candidate)


def _made_up(n: int = 160, p: int = 600, q: int = 6) -> Task:
    features = power_law_features(n, p)
    ids = np.array([f"im{i:04d}" for i in range(n)])
    strata = np.resize([f"object{k}" for k in range(8)], n)
    plan = SPLITS["brainscore"](pd.DataFrame({"stimulus_id": ids, "object_name": strata}), 1)
    return Task(features, planted_responses(features, q), ids, strata, plan.splits, "made-up features")


def _recorded(recording: str, candidate: str) -> Task:
    benchmark = load_benchmark(f"{recording}.IT-ridge")
    target, layer = benchmark.target, parse_candidate(candidate).layer
    with record_activations(load_candidate(candidate), target.stimulus_set, [layer]) as activations:
        rows = pd.Index(activations.stimulus_ids).get_indexer(target.stimuli["stimulus_id"])
        features = activations[layer][rows]
    return Task(
        features,
        target.responses,
        target.stimuli["stimulus_id"].to_numpy(),
        target.strata,
        benchmark.plan().splits,
        f"{recording}, {candidate}",
    )
