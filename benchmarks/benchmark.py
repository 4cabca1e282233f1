"""Benchmarks: a recording's region, a mapping and a split, usable by itprobe and by Brain-Score."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np
from brainscore_core.benchmarks import Benchmark
from brainscore_core.metrics import Score
from brainscore_vision.benchmark_helpers.screen import place_on_screen
from brainscore_vision.model_interface import BrainModel

from itprobe.benchmarks.evaluation import Evaluation, SimilarityEvaluation, compare, evaluate
from itprobe.benchmarks.fitted import evaluate_fitted
from itprobe.benchmarks.identifiers import FITTED, BenchmarkId, parse_benchmark
from itprobe.benchmarks.inter_animal import InterAnimalCeiling, inter_animal
from itprobe.benchmarks.score import brainscore_score, ceiling_score
from itprobe.benchmarks.target import Target, prepare_target
from itprobe.data import load_recording
from itprobe.errors import InputError
from itprobe.metrics import (
    DEFAULT_SEED,
    MAPPINGS,
    SPLITS,
    WHOLE_SET_MAPPINGS,
    Gram,
    Mapping,
    SplitPlan,
    WholeSetMapping,
)
from itprobe.metrics.brainscore_metric import assembly_grams

if TYPE_CHECKING:
    from itprobe.models.fitted import FittedCandidate

VERSION = 1
"""Goes up whenever scores change for the same features and recording."""

TIME_BIN = (70, 170)
"""Window in ms that Brain-Score models are asked to record, as in Majaj & Hong et al. 2015."""


class PredictivityBenchmark(Benchmark):
    """How well features predict the responses of one region of a recording.

    Parameters
    ----------
    benchmark_id : BenchmarkId
    identifier : str, optional
        The name it goes by; the native Brain-Score plugins put ``itprobe.`` in front.
    mapping : Mapping, optional
        The benchmark's mapping with other parameters, e.g. ``RidgeMapping(per_neuroid=False)``.

    Raises
    ------
    InputError
        If `mapping` is another one than the benchmark's.

    Notes
    -----
    The recording is loaded when it is first needed.
    """

    def __init__(
        self,
        benchmark_id: BenchmarkId,
        identifier: str | None = None,
        mapping: Mapping | WholeSetMapping | None = None,
    ) -> None:
        self.benchmark_id = benchmark_id
        if mapping is not None and mapping.name != benchmark_id.mapping:
            raise InputError(
                f"benchmark {benchmark_id} has the mapping {benchmark_id.mapping}, not {mapping.name}"
            )
        name = benchmark_id.mapping
        self.whole_set: WholeSetMapping | None = None
        self.fitted: Mapping | None = None
        if name in WHOLE_SET_MAPPINGS:
            self.whole_set = cast(WholeSetMapping, mapping or WHOLE_SET_MAPPINGS[name]())
        elif name in MAPPINGS:
            self.fitted = cast(Mapping, mapping or MAPPINGS[name]())
        self._identifier = identifier or str(benchmark_id)
        self._inter_animal: dict[int, InterAnimalCeiling | None] = {}

    @property
    def parameters(self) -> dict[str, object]:
        """Of the mapping, as they stand in a result file; none where the candidate itself is fitted."""
        mapping = self.fitted or self.whole_set
        return mapping.parameters() if mapping else {}

    @cached_property
    def target(self) -> Target:
        """Averaged responses, stimuli and reliability."""
        return prepare_target(load_recording(self.benchmark_id.recording), self.benchmark_id.region)

    def plan(self, seed: int = DEFAULT_SEED) -> SplitPlan:
        """Draw the splits."""
        return SPLITS[self.benchmark_id.split](self.target.stimuli, seed)

    def inter_animal(self, seed: int = DEFAULT_SEED) -> InterAnimalCeiling | None:
        """How well the animals predict each other; None for one animal, or a mapping without neuroids."""
        if seed not in self._inter_animal:
            ceiling = inter_animal(self.target, self.fitted, self.plan(seed)) if self.fitted else None
            self._inter_animal[seed] = ceiling
        return self._inter_animal[seed]

    def evaluate_gram(
        self,
        grams: Gram | Sequence[Gram],
        stimulus_ids: np.ndarray,
        seed: int = DEFAULT_SEED,
        label: str = "features",
    ) -> Evaluation | SimilarityEvaluation:
        """Score a layer from its Gram matrix, or several for banded ridge; rows are joined by stimulus id.

        Raises
        ------
        InputError
            If the benchmark is for fitted candidates, which have no layer to map.
        """
        self._check_maps_layers(f"{label} is a layer")
        if self.whole_set:
            (gram,) = [grams] if isinstance(grams, Gram) else grams
            return compare(gram, stimulus_ids, self.target, self.whole_set, seed, label)
        assert self.fitted
        return evaluate(
            grams,
            stimulus_ids,
            self.target,
            self.fitted,
            self.plan(seed),
            seed,
            label,
            self.inter_animal(seed),
        )

    def _check_maps_layers(self, given: str) -> None:
        if self.benchmark_id.mapping == FITTED:
            raise InputError(
                f"{self.identifier} is for candidates that are fitted to responses (convnet, ...); {given}: score it "
                f"with a mapping, e.g. {replace(self.benchmark_id, mapping='ridge')}"
            )

    def evaluate_fitted(self, candidate: "FittedCandidate", seed: int = DEFAULT_SEED) -> Evaluation:
        """Fit a candidate to each split's training stimuli and score its predictions of the test stimuli.

        Raises
        ------
        InputError
            If the benchmark is for mappings from features, or the candidate cannot be fitted.
        """
        if self.benchmark_id.mapping != FITTED:
            raise InputError(
                f"{candidate.identifier} predicts responses itself, without the mapping {self.benchmark_id.mapping}: "
                f"score it on {replace(self.benchmark_id, mapping=FITTED)}"
            )
        return evaluate_fitted(candidate, self.target, self.plan(seed), self.benchmark_id.split, seed)

    def __call__(self, candidate: BrainModel) -> Score:
        """Score a Brain-Score model.

        Raises
        ------
        InputError
            If the model returns several time bins, or the benchmark is for fitted candidates.
        """
        self._check_maps_layers("a Brain-Score model has layers")
        target = self.target
        candidate.start_recording(target.region, time_bins=[TIME_BIN])
        stimuli = place_on_screen(
            target.stimulus_set,
            target_visual_degrees=candidate.visual_degrees(),
            source_visual_degrees=target.recording["visual_degrees"],
        )
        recorded = candidate.look_at(stimuli, number_of_trials=max(1, round(target.repetitions_median)))
        if "time_bin" in recorded.dims:
            if recorded.sizes["time_bin"] > 1:
                raise InputError(
                    f"{self.identifier}: the model returned {recorded.sizes['time_bin']} time bins"
                )
            recorded = recorded.squeeze("time_bin")
        recorded = recorded.transpose("presentation", "neuroid")
        grams = assembly_grams(recorded, self.benchmark_id.mapping)
        evaluation = self.evaluate_gram(grams, recorded["stimulus_id"].values, label="model")
        return brainscore_score(evaluation)

    @property
    def identifier(self) -> str:
        """Id under which the benchmark was asked for."""
        return self._identifier

    @property
    def version(self) -> int:
        """Number that goes up whenever scores change."""
        return VERSION

    @property
    def parent(self) -> str:
        """The region."""
        return self.benchmark_id.region

    @property
    def bibtex(self) -> str:
        """Citation of the recording."""
        return str(self.target.recording["citation"])

    @cached_property
    def ceiling(self) -> Score | None:
        """Median reliability, with the neuroids' own as raw values; None where there are no repetitions."""
        return ceiling_score(self.target)


def load_benchmark(
    identifier: str, mapping: Mapping | WholeSetMapping | None = None
) -> PredictivityBenchmark:
    """Make the benchmark of an id, e.g. ``simulated_small.IT-ridge`` or ``path/to/r.nc#V4-ridge.course``.

    Raises
    ------
    InputError
        If the id is malformed or names something that does not exist, or `mapping` is of another name.
    """
    return PredictivityBenchmark(parse_benchmark(identifier), identifier, mapping)
