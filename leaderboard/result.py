"""Result files: one JSON per candidate, benchmark and seed, validated when written and when read."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
from pydantic import BaseModel, ConfigDict, ValidationError

from itprobe.errors import InputError
from itprobe.files import atomic_file, file_name_of, sha256_file, sha256_values
from itprobe.metrics import MAPPINGS, HeldOut

SCHEMA_VERSION: Literal[1] = 1

Interval = tuple[float, float]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class CandidateInfo(_Strict):
    """Which layer of which model; `weights` is None for controls, unknown for a user's own."""

    id: str
    layer: str | None
    track: Literal["frozen", "fitted", "control"]
    weights: Literal["trained", "random", "unknown"] | None
    weights_sha256: str | None
    n_features: int


class BenchmarkInfo(_Strict):
    """Which benchmark, in which version."""

    id: str
    version: int


class RecordingInfo(_Strict):
    """What the responses were."""

    id: str
    sha256: str
    region: str
    n_stimuli: int
    n_neuroids: int
    repetitions_median: float
    simulated: bool
    stimulus_set_sha256: str
    citation: str


class MappingInfo(_Strict):
    """How features were mapped to responses."""

    name: str
    params: dict[str, object]


class SplitInfo(_Strict):
    """Which stimuli trained and which tested."""

    name: str
    n_splits: int
    seed: int
    coord: str | None


class Primary(_Strict):
    """The figure that candidates are ranked by."""

    name: str
    value: float
    ci95: Interval


class PearsonR(_Strict):
    """Correlation between predicted and measured responses; ci95 of the median unless named otherwise."""

    median: float
    median_of_means: float
    mean: float
    ci95: Interval
    ci95_neuroids: Interval
    ci95_stimuli: Interval
    ci95_mean: Interval
    per_split: list[float | None]
    by_animal: dict[str, float | None] | None
    by_array: dict[str, float | None] | None


class ExplainedVariance(_Strict):
    """1 - Var(residual) / Var(response)."""

    median: float
    mean: float
    ci95: Interval
    ci95_neuroids: Interval
    ci95_stimuli: Interval
    ci95_mean: Interval


class Similarity(_Strict):
    """Score of a mapping without neuroids (RSA, CKA)."""

    value: float
    ci95: Interval


class ReliabilityInfo(_Strict):
    """Reliability of the averaged responses; it caps r² and explained variance."""

    median: float
    mean: float
    kind: str
    ci95: Interval
    n_halves: int
    seed: int
    n_below_0_3: int
    n_undefined: int


class Ceiled(_Strict):
    """Share of the explainable variance, by the formula given."""

    value: float
    ci95: Interval
    formula: str


class CeiledPerNeuroid(_Strict):
    """The same share, taken per neuroid before aggregating."""

    value: float | None
    formula: str
    n_neuroids: int


class Scores(_Strict):
    """All aggregates of one result."""

    primary: Primary
    pearson_r: PearsonR | None
    explained_variance: ExplainedVariance | None
    similarity: Similarity | None
    reliability: ReliabilityInfo | None
    ceiled: Ceiled | None
    ceiled_per_neuroid: CeiledPerNeuroid | None


class Neuroid(_Strict):
    """One neuroid's scores, means over splits; undefined ones are null.

    alpha is the geometric mean of the finite lambdas; `mean_predictor_splits` counts the splits in
    which no lambda beat the mean response.
    """

    neuroid_id: str
    pearson_r: float | None
    explained_variance: float | None
    reliability: float | None
    alpha: float | None
    mean_predictor_splits: int


class Predictions(_Strict):
    """The netCDF with held-out predictions, beside the JSON."""

    file: str
    sha256: str
    split_ids: list[int]


class Provenance(_Strict):
    """What produced the result.

    `seconds` is this layer's own time; the forward pass, shared by all layers of a run, counts for the
    first. `peak_memory_mb` is the process's peak until then.
    """

    itprobe: str
    brainscore_vision: str
    torch: str
    numpy: str
    python: str
    device: str
    seed: int
    started: str
    seconds: float
    peak_memory_mb: float


class Result(_Strict):
    """One candidate layer's score on one benchmark."""

    schema_version: Literal[1] = SCHEMA_VERSION
    candidate: CandidateInfo
    benchmark: BenchmarkInfo
    recording: RecordingInfo
    mapping: MappingInfo
    split: SplitInfo
    scores: Scores
    per_neuroid: list[Neuroid] | None
    predictions: Predictions | None
    warnings: list[str]
    provenance: Provenance

    @property
    def name(self) -> str:
        """File name without ending: candidate, benchmark and seed, percent-encoded.

        Parameters of the mapping other than the benchmark's own add their digest.
        """
        parts = [self.candidate.id, self.benchmark.id, f"seed{self.split.seed}"]
        default = MAPPINGS.get(self.mapping.name)
        if default and default().parameters() != self.mapping.params:
            parts.append(sha256_values(sorted(self.mapping.params.items()))[:8])
        return file_name_of(*parts)


def save_result(result: Result, held_out: HeldOut | None, folder: str | Path) -> tuple[Path, Result]:
    """Write a result and its held-out predictions, if there are any; each file appears whole or not at all.

    Returns
    -------
    Path
        Of the JSON file.
    Result
        As written: with the digest of its predictions.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    folder = Path(folder)
    if held_out is not None:
        described = _save_predictions(held_out, folder / f"{result.name}.predictions.nc")
        result = result.model_copy(update={"predictions": described})
    path = folder / f"{result.name}.json"
    with atomic_file(path) as temporary:
        temporary.write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return path, result


def _save_predictions(held_out: HeldOut, path: Path) -> Predictions:
    with atomic_file(path) as temporary:
        _predictions_dataset(held_out).to_netcdf(
            temporary, engine="netcdf4", encoding={"prediction": {"zlib": True}, "response": {"zlib": True}}
        )
    return Predictions(
        file=path.name, sha256=sha256_file(path), split_ids=list(range(len(held_out.stimulus_ids)))
    )


def _predictions_dataset(held_out: HeldOut) -> xr.Dataset:
    """Held-out pairs as one table: a row per split and test stimulus, float32."""
    split = np.repeat(np.arange(len(held_out.stimulus_ids)), [len(ids) for ids in held_out.stimulus_ids])
    return xr.Dataset(
        {
            "prediction": (("row", "neuroid"), np.concatenate(held_out.predictions).astype(np.float32)),
            "response": (("row", "neuroid"), np.concatenate(held_out.responses).astype(np.float32)),
        },
        coords={
            "split": ("row", split),
            "stimulus_id": ("row", np.concatenate(held_out.stimulus_ids).astype(str)),
            "neuroid_id": ("neuroid", held_out.neuroid_ids.astype(str)),
            "animal": ("neuroid", held_out.animals.astype(str)),
        },
    )


def load_result(path: str | Path) -> Result:
    """Read and validate a result file.

    Raises
    ------
    InputError
        If it cannot be read, is no result, or is of a newer schema.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"cannot read the result file {path}: {error}") from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {version!r}; this itprobe reads version {SCHEMA_VERSION}"
        )
    try:
        return Result.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path} is no valid result: {where}: {first['msg']}") from None


def load_held_out(result: Result, folder: str | Path) -> HeldOut:
    """Read the held-out predictions of a result.

    Parameters
    ----------
    result : Result
    folder : str or Path
        Where its JSON file lies.

    Raises
    ------
    InputError
        If the file is missing or is not the one that the result names.
    """
    if result.predictions is None:
        raise InputError(f"the result of {result.candidate.id} has no predictions")
    path = Path(folder) / result.predictions.file
    if not path.is_file() or sha256_file(path) != result.predictions.sha256:
        raise InputError(f"{path} is missing or differs from what its result file names; score again")
    with xr.open_dataset(path) as dataset:
        rows = [np.flatnonzero(dataset["split"].values == k) for k in result.predictions.split_ids]
        ids = dataset["stimulus_id"].values.astype(str)
        response, prediction = dataset["response"].values, dataset["prediction"].values
        return HeldOut(
            [ids[row] for row in rows],
            [response[row].astype(np.float64) for row in rows],
            [prediction[row].astype(np.float64) for row in rows],
            dataset["neuroid_id"].values.astype(str),
            dataset["animal"].values.astype(str),
        )
