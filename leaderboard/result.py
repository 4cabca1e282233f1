"""What a result file says: one per candidate, benchmark and seed, validated when written and when read."""

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict

from itprobe.files import file_name_of, sha256_values
from itprobe.leaderboard.quantities import (
    Correlation,
    Count,
    Digest,
    Id,
    Interval,
    Positive,
    Seed,
    Share,
    ShortId,
    Time,
)
from itprobe.metrics import MAPPINGS, WHOLE_SET_MAPPINGS

SCHEMA_VERSION: Literal[2] = 2
"""Goes up with the fields; `itprobe.leaderboard.board.migrations` brings older files along."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class LayerChoice(_Strict):
    """The layer of each split, chosen `among` the candidates on inner folds of the split's training stimuli.

    naive: median r of the layer that scores best on the test stimuli, which is too high by the bias (naive minus
    the result's own median r).
    """

    among: list[str]
    chosen: list[str]
    inner_folds: Count
    naive_layer: str
    naive: Correlation
    naive_ci95: Interval
    bias: float
    bias_ci95: Interval


class CandidateInfo(_Strict):
    """Which layer of which model; `weights` is None for controls, unknown for a user's own.

    `effective_dimensionality` is the participation ratio of the features' variances over the stimuli;
    null where they have none, and for mappings from several feature spaces. Both it and `n_features` are
    null for candidates that are fitted to the responses; `weights` are then those of their backbone. Where
    the layer is `auto`, `choice` says which it was, and the features are those of the one chosen most often.
    """

    id: Id
    layer: Id | None
    track: Literal["frozen", "fitted", "control"]
    weights: Literal["trained", "random", "unknown"] | None
    weights_sha256: Digest | None
    n_features: Count | None
    effective_dimensionality: Positive | None
    choice: LayerChoice | None = None


class BenchmarkInfo(_Strict):
    """Which benchmark, in which version."""

    id: Id
    version: Count


class RecordingInfo(_Strict):
    """What the responses were."""

    id: Id
    sha256: Digest
    region: ShortId
    n_stimuli: Count
    n_neuroids: Count
    repetitions_median: Positive
    simulated: bool
    stimulus_set_sha256: Digest
    citation: str


class MappingInfo(_Strict):
    """How features were mapped to responses, and the names of the feature spaces (more than one: banded)."""

    name: ShortId
    params: dict[str, object]
    spaces: list[Id]


class SplitInfo(_Strict):
    """Which stimuli trained and which tested."""

    name: ShortId
    n_splits: Count
    seed: Seed
    coord: ShortId | None


class Primary(_Strict):
    """The figure that candidates are ranked by; null for a layer without variance."""

    name: ShortId
    value: float | None
    ci95: Interval | None


class PearsonR(_Strict):
    """Correlation between predicted and measured responses; ci95 of the median unless named otherwise."""

    median: Correlation | None
    median_of_means: Correlation | None
    mean: Correlation | None
    ci95: Interval | None
    ci95_neuroids: Interval | None
    ci95_stimuli: Interval | None
    ci95_mean: Interval | None
    per_split: list[Correlation | None]
    by_animal: dict[str, Correlation | None] | None
    by_array: dict[str, Correlation | None] | None


class ExplainedVariance(_Strict):
    """1 - Var(residual) / Var(response)."""

    median: Share | None
    mean: Share | None
    ci95: Interval | None
    ci95_neuroids: Interval | None
    ci95_stimuli: Interval | None
    ci95_mean: Interval | None


class Similarity(_Strict):
    """Score of a mapping without neuroids (RSA, CKA); null for a layer without variance."""

    value: Correlation | None
    ci95: Interval | None


class ReliabilityInfo(_Strict):
    """Reliability of the averaged responses; it caps r² and explained variance."""

    median: Share
    mean: Share
    kind: ShortId
    ci95: Interval
    n_halves: Count
    seed: Seed
    n_below_0_3: Count
    n_undefined: Count


class InterAnimal(_Strict):
    """Correlation of each neuroid with its prediction from other animals, through the benchmark's mapping.

    Noise in the source's responses makes it a lower bound. Aggregated as `PearsonR`; the same for all layers.
    """

    median: Correlation | None
    mean: Correlation | None
    by_animal: dict[str, Correlation | None]
    mapping: ShortId
    n_neuroids: Count


class Ceiled(_Strict):
    """Share of the explainable variance, by the formula given."""

    value: float | None
    ci95: Interval | None
    formula: str


class CeiledPerNeuroid(_Strict):
    """The same share, taken per neuroid before aggregating."""

    value: float | None
    formula: str
    n_neuroids: Count


class Corrected(_Strict):
    """A score freed of the noise of trials, not clipped.

    `median` and its `ci95` are over all neuroids in which it is defined; `n_undefined` of them vary no
    more than their noise in one test part at least, and do not count in such parts. `mean_reliable` and
    `ci95_mean_reliable` are over the reliable neuroids only: in others single values mean nothing, and
    there would be no mean without them.
    """

    median: float | None
    mean_reliable: float | None
    ci95: Interval | None
    ci95_mean_reliable: Interval | None
    n_undefined: Count


class NoiseCorrected(_Strict):
    """What r² and explained variance would be without noise in the responses.

    r2_er: squared correlation with the noiseless response (Pospisil & Bair 2021). feve: fraction of the
    explainable variance explained. `n_reliable` neuroids have a reliability of `least_reliability` or more.
    Intervals: bootstrap over neuroids and stimuli, each with its responses, prediction and noise.
    """

    r2_er: Corrected
    feve: Corrected
    n_reliable: Count
    least_reliability: float


class Scores(_Strict):
    """All aggregates of one result."""

    primary: Primary
    pearson_r: PearsonR | None
    explained_variance: ExplainedVariance | None
    similarity: Similarity | None
    reliability: ReliabilityInfo | None
    inter_animal: InterAnimal | None
    ceiled: Ceiled | None
    ceiled_per_neuroid: CeiledPerNeuroid | None
    noise_corrected: NoiseCorrected | None


class Neuroid(_Strict):
    """One neuroid's scores, means over splits; undefined ones are null.

    r2_er and feve are null where one split at least leaves them undefined.
    alpha is the geometric mean of the finite lambdas; `mean_predictor_splits` counts the splits in
    which no lambda beat the mean response; `shares` are those of the feature spaces in its kernel, for
    mappings from several.
    """

    neuroid_id: ShortId
    pearson_r: Correlation | None
    explained_variance: Share | None
    r2_er: float | None
    feve: float | None
    reliability: Share | None
    alpha: Positive | None
    mean_predictor_splits: Count
    shares: dict[str, float | None] | None


class Predictions(_Strict):
    """The netCDF with held-out predictions, beside the JSON."""

    file: ShortId
    sha256: Digest
    split_ids: list[Count]


class TrainingInfo(_Strict):
    """How a fitted candidate was trained on one split's training stimuli.

    `weights_sha256` is the digest of all that was fitted. One of `epochs` was chosen on the validation part: its
    loss and mean r are given. `seconds` are those of the training itself, wherever and whenever it ran.
    """

    weights_sha256: Digest
    n_parameters: Count
    n_train: Count
    n_validation: Count
    batch_size: Count
    epochs: Count
    best_epoch: Count
    train_loss: float
    validation_loss: float | None
    validation_r: Correlation | None
    seconds: Positive


class Provenance(_Strict):
    """What produced the result.

    `seconds` is this layer's own time; the forward pass, shared by all layers of a run, counts for the
    first. `peak_memory_mb` is the process's peak until then. `precision` is that of the forward pass,
    `features` the type in which features were kept until their inner products were taken.
    """

    itprobe: str
    brainscore_vision: str
    torch: str
    numpy: str
    python: str
    device: str
    precision: str
    features: str
    seed: Seed
    started: Time
    seconds: Positive
    peak_memory_mb: Positive


class Result(_Strict):
    """One candidate layer's score on one benchmark."""

    schema_version: Literal[2] = SCHEMA_VERSION
    candidate: CandidateInfo
    benchmark: BenchmarkInfo
    recording: RecordingInfo
    mapping: MappingInfo
    split: SplitInfo
    scores: Scores
    per_neuroid: list[Neuroid] | None
    predictions: Predictions | None
    training: list[TrainingInfo] | None = None
    warnings: list[str]
    provenance: Provenance

    @property
    def name(self) -> str:
        """File name without ending: candidate, benchmark and seed, percent-encoded.

        Parameters of the mapping other than the benchmark's own, and another precision, add their digest;
        those of a fitted candidate always do.
        """
        parts = [self.candidate.id, self.benchmark.id, f"seed{self.split.seed}"]
        if self.candidate.track == "fitted":
            parts.append(sha256_values(json.dumps(self.mapping.params, sort_keys=True))[:8])
            return file_name_of(*parts)
        default = MAPPINGS.get(self.mapping.name) or WHOLE_SET_MAPPINGS.get(self.mapping.name)
        computed = (self.provenance.precision, self.provenance.features)
        if (default and default().parameters() != self.mapping.params) or computed != ("full", "float32"):
            parts.append(sha256_values(sorted(self.mapping.params.items()), *computed)[:8])
        return file_name_of(*parts)
