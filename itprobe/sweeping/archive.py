"""Results of a sweep on disk: what is there already, and what comes in."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from itprobe.benchmarks import Evaluation, PredictivityBenchmark, SimilarityEvaluation
from itprobe.benchmarks.benchmark import VERSION
from itprobe.benchmarks.features import Extraction
from itprobe.benchmarks.selection import InnerScores
from itprobe.benchmarks.spaces import spaces_of
from itprobe.errors import InputError
from itprobe.files import atomic_file, sha256_values
from itprobe.leaderboard import Result, load_held_out, load_result, save_result
from itprobe.leaderboard.result import MappingInfo
from itprobe.metrics import HeldOut, Similarity
from itprobe.metrics.diagnostics import LambdaCurve, lambda_curve
from itprobe.models import Candidate
from itprobe.provenance import versions

CURVE = {
    "lambdas": "tried",
    "error": "tried",
    "quartiles": ("quartile", "tried"),
    "coverage": "tried",
    "chosen": "tried",
}
CURVE_SHARES = ("share_at_edge", "share_at_infinity", "n_left_out")
"""What is kept of a `LambdaCurve`: arrays with their dimensions, and numbers."""


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
        pearson_r, explained_variance and lambda (split, neuroid), and what `stored_curve` reads; None for
        similarities.
    similarity : Similarity or None
        With its draws; None for all else.
    stimulus_order : str
        Digest of the stimuli in the order that the draws of a similarity were made in.
    """

    result: Result
    held_out: HeldOut | None
    splits: xr.Dataset | None
    similarity: Similarity | None = None
    stimulus_order: str = ""

    @property
    def inner(self) -> InnerScores | None:
        """Scores within the training stimuli, by which a layer is chosen; None where there are none."""
        if self.splits is None or "inner_r" not in self.splits:
            return None
        return InnerScores(self.splits["inner_r"].values, int(self.splits.attrs["inner_folds"]), [])


def stored_curve(splits: xr.Dataset | None) -> LambdaCurve | None:
    """How a layer's error depends on lambda, from its `Record`.

    None for mappings that choose no lambda, and for results of versions that did not keep it.
    """
    if splits is None or "curve_error" not in splits:
        return None
    kept: dict[str, Any] = {name: splits[f"curve_{name}"].values for name in CURVE}
    kept |= {name: splits.attrs[f"curve_{name}"] for name in CURVE_SHARES}
    return LambdaCurve(**kept, n_splits=splits.sizes["split"], n_neuroids=splits.sizes["neuroid"])


class Archive:
    """The folder of a sweep's result files.

    Beside a result and its predictions lies ``NAME.splits.nc``: scores and lambdas of each split and
    neuroid, in float64, the error over lambda, averaged over both, and where a layer is to be chosen each
    split's score on inner folds; beside a similarity ``NAME.draws.nc``, what its interval is made of. A result
    counts only where all of its files are there and belong together.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[Identity, Path] = {}
        for path in sorted(folder.glob("[!.]*.json")):
            try:
                self._known[identity_of(load_result(path))] = path
            except InputError as error:
                warnings.warn(f"not taken over: {error}", stacklevel=2)

    def find(self, identity: Identity, inner_folds: int = 0) -> Path | None:
        """File of a whole result; None where there is none.

        One that is damaged counts as missing, and so does one without the scores on so many inner folds.
        """
        path = self._known.get(identity)
        if path is None:
            return None
        try:
            inner = self.load(path).inner
        except InputError as error:
            warnings.warn(f"scored again: {error}", stacklevel=2)
            return None
        if inner_folds and (inner is None or inner.n_folds != inner_folds):
            return None
        return path

    def save(
        self,
        result: Result,
        evaluation: Evaluation | SimilarityEvaluation,
        stimulus_ids: np.ndarray,
        inner: InnerScores | None = None,
    ) -> Path:
        """Write a result with all that belongs to it; `stimulus_ids` (n,) in the order of its Gram matrices."""
        held_out = evaluation.held_out if isinstance(evaluation, Evaluation) else None
        path, result = save_result(result, held_out, self.folder)
        if isinstance(evaluation, Evaluation):
            assert result.predictions
            with atomic_file(_splits_path(path)) as temporary:
                splits = _splits_dataset(evaluation, result.predictions.sha256)
                if inner is not None:
                    splits = splits.assign(inner_r=("split", inner.r)).assign_attrs(inner_folds=inner.n_folds)
                splits.to_netcdf(temporary, engine="netcdf4")
        else:
            with atomic_file(_draws_path(path)) as temporary:
                _draws_dataset(evaluation.similarity, stimulus_ids).to_netcdf(temporary, engine="netcdf4")
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
            return _similarity_record(result, _draws_path(path))
        beside = _splits_path(path)
        splits = _read(beside)
        if splits.attrs.get("predictions_sha256") != result.predictions.sha256:
            raise InputError(f"{beside} belongs to another result than {path.name}; score again")
        return Record(result, load_held_out(result, self.folder), splits)


def _splits_path(path: Path) -> Path:
    return path.with_suffix(".splits.nc")


def _draws_path(path: Path) -> Path:
    return path.with_suffix(".draws.nc")


def _read(path: Path) -> xr.Dataset:
    try:
        with xr.open_dataset(path) as dataset:
            return dataset.load()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"cannot read {path}: {error}; score again") from None


def _draws_dataset(similarity: Similarity, stimulus_ids: np.ndarray) -> xr.Dataset:
    return xr.Dataset(
        {
            "similarity": similarity.value,
            "ci95": ("bound", list(similarity.ci95)),
            "draws": ("draw", similarity.draws),
        },
        attrs={
            "resampling": similarity.resampling,
            "stimulus_order": sha256_values(np.asarray(stimulus_ids, dtype=str)),
        },
    )


def _similarity_record(result: Result, path: Path) -> Record:
    draws, section = _read(path), result.scores.similarity
    value = float(draws["similarity"])
    if section is None or (None if np.isnan(value) else value) != section.value:
        raise InputError(f"{path} belongs to another result than the one beside it; score again")
    low, high = draws["ci95"].values
    similarity = Similarity(value, (low, high), draws["draws"].values, draws.attrs["resampling"])
    return Record(result, None, None, similarity, draws.attrs["stimulus_order"])


def _splits_dataset(evaluation: Evaluation, predictions_sha256: str) -> xr.Dataset:
    dims = "split", "neuroid"
    dataset = xr.Dataset(
        {
            "pearson_r": (dims, evaluation.pearson_r),
            "explained_variance": (dims, evaluation.explained_variance),
            "lambda": (dims, np.asarray(evaluation.lambdas, dtype=np.float64)),
        },
        coords={"neuroid_id": ("neuroid", evaluation.held_out.neuroid_ids.astype(str))},
        attrs={"predictions_sha256": predictions_sha256},
    )
    choices = [choice for choice in evaluation.choices if choice is not None]
    if not choices:
        return dataset
    curve = lambda_curve(choices)
    return dataset.assign(
        {f"curve_{name}": (along, getattr(curve, name)) for name, along in CURVE.items()}
    ).assign_attrs({f"curve_{name}": getattr(curve, name) for name in CURVE_SHARES})
