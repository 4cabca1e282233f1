"""Results of a sweep on disk: what is there already, and what comes in."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from itprobe.benchmarks import Evaluation, PredictivityBenchmark, SimilarityEvaluation
from itprobe.benchmarks.benchmark import VERSION
from itprobe.benchmarks.features import Extraction
from itprobe.benchmarks.spaces import spaces_of
from itprobe.errors import InputError
from itprobe.files import atomic_file
from itprobe.leaderboard import Result, load_held_out, load_result, save_result
from itprobe.leaderboard.result import MappingInfo
from itprobe.metrics import HeldOut
from itprobe.models import Candidate
from itprobe.provenance import versions


class Identity(NamedTuple):
    """All that a result must share with what is asked for, to be taken over instead of computed."""

    candidate: str
    weights_sha256: str | None
    benchmark: str
    version: int
    recording_sha256: str
    region: str
    stimulus_set_sha256: str
    mapping: str
    seed: int
    itprobe: str
    device: str
    precision: str
    features: str


def candidate_id(candidate: Candidate, layer: str) -> str:
    """Id of a layer, as it stands in result files."""
    return candidate.identifier if candidate.track == "control" else f"{candidate.identifier}:{layer}"


def asked_for(
    candidate: Candidate,
    layer: str,
    bench: PredictivityBenchmark,
    stimuli_sha256: str,
    seed: int,
    extraction: Extraction,
) -> Identity:
    """Identity of the result that a layer will have on a benchmark."""
    mapping = MappingInfo(
        name=bench.benchmark_id.mapping,
        params=bench.parameters,
        spaces=spaces_of(candidate, layer, bench.benchmark_id.mapping),
    )
    return Identity(
        candidate_id(candidate, layer),
        candidate.weights_sha256,
        str(bench.benchmark_id),
        VERSION,
        str(bench.target.recording["sha256"]),
        bench.target.region,
        stimuli_sha256,
        mapping.model_dump_json(),
        seed,
        versions()["itprobe"],
        str(getattr(candidate, "device", "cpu")),
        str(getattr(candidate, "precision", "full")),
        extraction.dtype,
    )


def identity_of(result: Result) -> Identity:
    """Identity of a result."""
    origin = result.provenance
    return Identity(
        result.candidate.id,
        result.candidate.weights_sha256,
        result.benchmark.id,
        result.benchmark.version,
        result.recording.sha256,
        result.recording.region,
        result.recording.stimulus_set_sha256,
        result.mapping.model_dump_json(),
        result.split.seed,
        origin.itprobe,
        origin.device,
        origin.precision,
        origin.features,
    )


@dataclass(frozen=True)
class Record:
    """A result as read from its files.

    Attributes
    ----------
    result : Result
    held_out : HeldOut or None
        None for similarities.
    splits : Dataset or None
        pearson_r, explained_variance and lambda (split, neuroid); None for similarities.
    """

    result: Result
    held_out: HeldOut | None
    splits: xr.Dataset | None


class Archive:
    """The folder of a sweep's result files.

    Beside a result and its predictions lies ``NAME.splits.nc``: scores and lambdas of each split and
    neuroid, in float64. A result counts only where all of its files are there and belong together.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[Identity, Path] = {}
        for path in sorted(folder.glob("*.json")):
            try:
                self._known[identity_of(load_result(path))] = path
            except InputError as error:
                warnings.warn(f"not taken over: {error}", stacklevel=2)

    def find(self, identity: Identity) -> Path | None:
        """File of a whole result; None where there is none. One that is damaged counts as missing."""
        path = self._known.get(identity)
        if path is None:
            return None
        try:
            self.load(path)
        except InputError as error:
            warnings.warn(f"scored again: {error}", stacklevel=2)
            return None
        return path

    def save(self, result: Result, evaluation: Evaluation | SimilarityEvaluation) -> Path:
        """Write a result with all that belongs to it."""
        held_out = evaluation.held_out if isinstance(evaluation, Evaluation) else None
        path, result = save_result(result, held_out, self.folder)
        if isinstance(evaluation, Evaluation):
            assert result.predictions
            with atomic_file(_splits_path(path)) as temporary:
                _splits_dataset(evaluation, result.predictions.sha256).to_netcdf(temporary, engine="netcdf4")
        return path

    def load(self, path: Path) -> Record:
        """Read a result with all that belongs to it.

        Raises
        ------
        InputError
            If a file is missing, damaged, or belongs to another result.
        """
        result = load_result(path)
        if result.predictions is None:
            return Record(result, None, None)
        beside = _splits_path(path)
        try:
            with xr.open_dataset(beside) as splits:
                splits.load()
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"cannot read {beside}: {error}; score again") from None
        if splits.attrs.get("predictions_sha256") != result.predictions.sha256:
            raise InputError(f"{beside} belongs to another result than {path.name}; score again")
        return Record(result, load_held_out(result, self.folder), splits)


def _splits_path(path: Path) -> Path:
    return path.with_suffix(".splits.nc")


def _splits_dataset(evaluation: Evaluation, predictions_sha256: str) -> xr.Dataset:
    dims = "split", "neuroid"
    return xr.Dataset(
        {
            "pearson_r": (dims, evaluation.pearson_r),
            "explained_variance": (dims, evaluation.explained_variance),
            "lambda": (dims, np.asarray(evaluation.lambdas, dtype=np.float64)),
        },
        coords={"neuroid_id": ("neuroid", evaluation.held_out.neuroid_ids.astype(str))},
        attrs={"predictions_sha256": predictions_sha256},
    )
