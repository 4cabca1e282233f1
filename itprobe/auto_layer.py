"""The layer ``auto``: chosen anew in each split, on inner folds of the split's training stimuli."""

from collections.abc import Sequence

import numpy as np

from itprobe.benchmarks import Evaluation, PredictivityBenchmark, SimilarityEvaluation
from itprobe.benchmarks.selection import (
    InnerScores,
    Selection,
    inner_scores,
    nested_evaluation,
    select,
)
from itprobe.errors import InputError
from itprobe.leaderboard.result import CandidateInfo, LayerChoice, MappingInfo
from itprobe.metrics import Gram
from itprobe.models import Candidate

AUTO = "auto"


def check_auto(candidate: Candidate, taken: bool) -> None:
    """Raise `InputError` if a candidate has no layers to choose between, or ``auto`` is not `taken` at all."""
    if not taken:
        raise InputError(
            f"{candidate.identifier}: only scores take {AUTO} for a layer; name layers (a sweep chooses one by itself)"
        )
    if candidate.track == "control":
        raise InputError(
            f"{candidate.identifier} has a single layer, so there is none to choose; ask for {AUTO} with the ids of "
            f"networks alone, e.g. efficientnet_lite0:{AUTO}"
        )


class LayerChooser:
    """Takes a model's layers one by one, and chooses between them.

    Parameters
    ----------
    candidate : Candidate
    bench : PredictivityBenchmark
    seed : int
        Of splits and bootstrap.

    Attributes
    ----------
    layers : list of str
        The candidate's blocks.

    Raises
    ------
    InputError
        If the benchmark has no splits to choose in.
    """

    def __init__(self, candidate: Candidate, bench: PredictivityBenchmark, seed: int) -> None:
        if bench.fitted is None:
            raise InputError(
                f"{candidate.identifier}:{AUTO}: {bench.benchmark_id.mapping} compares all stimuli at once, without "
                "splits to choose a layer in; name the layer"
            )
        self.layers = candidate.layers("blocks")
        self._candidate, self._bench, self._seed = candidate, bench, seed
        self._mapping = bench.fitted
        self._inner: dict[str, InnerScores] = {}
        self._evaluations: dict[str, Evaluation] = {}

    def take(
        self,
        layer: str,
        grams: Sequence[Gram],
        stimulus_ids: np.ndarray,
        evaluation: Evaluation | SimilarityEvaluation,
    ) -> None:
        """Score one of the layers within the training stimuli."""
        assert isinstance(evaluation, Evaluation)
        self._evaluations[layer] = evaluation
        self._inner[layer] = inner_scores(
            grams, stimulus_ids, self._bench.target, self._mapping, self._bench.plan(self._seed)
        )

    def choose(self) -> tuple[CandidateInfo, MappingInfo, Evaluation]:
        """Choose each split's layer, once all have been taken; features are those of the one chosen most often.

        Raises
        ------
        InputError
            If no layer has features that differ between stimuli.
        """
        inner = {layer: self._inner[layer] for layer in self.layers}
        outer_r = {layer: one.pearson_r for layer, one in self._evaluations.items()}
        selection = select(inner, outer_r, lambda layer: self._evaluations[layer].held_out, self._seed)
        evaluation = nested_evaluation(selection, self._evaluations)
        evaluation.warnings.extend(dict.fromkeys(note for one in inner.values() for note in one.warnings))
        candidate = self._candidate
        info = CandidateInfo(
            id=f"{candidate.identifier}:{AUTO}",
            layer=AUTO,
            track=candidate.track,
            weights=candidate.weights_kind,
            weights_sha256=candidate.weights_sha256,
            n_features=evaluation.n_features,
            effective_dimensionality=evaluation.effective_dimensionality,
            choice=_described(selection),
        )
        name = self._bench.benchmark_id.mapping
        mapping = MappingInfo(name=name, params=self._bench.parameters, spaces=[AUTO])
        return info, mapping, evaluation


def _described(selection: Selection) -> LayerChoice:
    return LayerChoice(
        among=selection.layers,
        chosen=selection.chosen,
        inner_folds=selection.n_folds,
        naive_layer=selection.naive_layer,
        naive=selection.naive.value,
        naive_ci95=selection.naive.ci95,
        bias=selection.bias.value,
        bias_ci95=selection.bias.ci95,
    )
