"""One job of a sweep, as a worker in another process or on another machine does it.

The first job of a model is its mapping with the most feature spaces: it takes the one forward pass, and leaves
all Gram matrices in the store. The other mappings can follow from there, each a job of its own. A model whose
features are not kept, as those of a user's own code, is one job.
"""

import os
import pickle
import socket
import warnings
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from uuid import uuid4

import cloudpickle
from torch import nn

from itprobe.benchmarks import PredictivityBenchmark
from itprobe.benchmarks.features import gram_keys
from itprobe.benchmarks.spaces import spaces_of
from itprobe.errors import InputError
from itprobe.files import atomic_file, cache_home, make_folder
from itprobe.metrics.store import GramStore
from itprobe.provenance import versions
from itprobe.sweeping.archive import Archive
from itprobe.sweeping.jobs import Progress, request_of, sweep_models
from itprobe.sweeping.plan import Settings, SweptModel

_AT_WORK = Lock()
"""One job at a time in a process: netCDF is not safe between threads, and a cluster's worker may have several."""


@dataclass(frozen=True)
class Commission:
    """What all jobs of a sweep have in common.

    Attributes
    ----------
    benches : list of PredictivityBenchmark
        One per mapping.
    stimuli_sha256 : str
    settings : Settings
        Without preprocessing, which goes with the modules that it is for.
    results : Path
        Folder of the archive.
    home : Path
        What ``$ITPROBE_HOME`` is for all workers.
    started_in : Path
        Where relative paths of models and recordings begin.
    itprobe : str
        Version.
    """

    benches: list[PredictivityBenchmark]
    stimuli_sha256: str
    settings: Settings
    results: Path
    home: Path
    started_in: Path
    itprobe: str

    @property
    def mappings(self) -> list[str]:
        """Names of the mappings, in the order asked for."""
        return [bench.benchmark_id.mapping for bench in self.benches]

    @property
    def widest(self) -> str:
        """The mapping whose feature spaces are all that the others take, and more."""
        return "banded" if "banded" in self.mappings else self.mappings[0]


@dataclass(frozen=True)
class Done:
    """What came of a job.

    Attributes
    ----------
    progress : Progress
    left : list of str
        Mappings of its model that can follow now.
    """

    progress: Progress
    left: list[str] = field(default_factory=list)


@contextmanager
def written_commission(
    benches: Sequence[PredictivityBenchmark], stimuli_sha256: str, settings: Settings, archive: Archive
) -> Iterator[str]:
    """Path of a file that all workers read their commission from, beside the results.

    A recording is too large to travel with every job.
    """
    commission = Commission(
        list(benches),
        stimuli_sha256,
        replace(settings, preprocessing=None),
        archive.folder.resolve(),
        cache_home().resolve(),
        Path.cwd(),
        versions()["itprobe"],
    )
    path = commission.results.parent / f".jobs-{uuid4().hex}.pickle"
    with atomic_file(path) as temporary:
        temporary.write_bytes(cloudpickle.dumps(commission))
    try:
        yield str(path)
    finally:
        path.unlink(missing_ok=True)


@lru_cache(maxsize=1)
def _read_commission(path: str) -> Commission:
    """Read a commission once for all jobs that a worker does for it.

    Raises
    ------
    InputError
        If the file is not there, or this worker's itprobe is another.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"a worker on {socket.gethostname()} cannot read {path} ({error.strerror}); the folder of a sweep "
            "must lie where all workers see it under the same path"
        ) from None
    commission: Commission = pickle.loads(content)
    own = versions()["itprobe"]
    if own != commission.itprobe:
        raise InputError(
            f"a worker on {socket.gethostname()} has itprobe {own}, the sweep has {commission.itprobe}; install "
            "the same version everywhere"
        )
    return commission


def packed(model: SweptModel, preprocessing: dict[str, object] | None) -> bytes | None:
    """A model as bytes for a worker, with the preprocessing of a module object; None where it cannot be packed."""
    own = preprocessing if isinstance(model.given[0], nn.Module) else None
    try:
        return bytes(cloudpickle.dumps((model, own)))
    except Exception:  # whatever an object has against it: the sweep's own process needs no bytes
        return None


def run_job(path: str, cargo: bytes, mapping: str | None) -> Done | None:
    """Do one job.

    Parameters
    ----------
    path : str
        Of the commission.
    cargo : bytes
        From `packed`.
    mapping : str or None
        None is the first job of a model.

    Returns
    -------
    Done or None
        None where the model cannot be unpacked here, as one whose class this process cannot import.

    Raises
    ------
    InputError
        If the sweep's folder is not seen here, or its itprobe is another.
    """
    with _AT_WORK:
        commission = _read_commission(path)
        os.environ["ITPROBE_HOME"] = str(commission.home)
        with chdir(commission.started_in), warnings.catch_warnings():
            # The sweep itself has told of damaged results; these here are being written by other workers.
            warnings.filterwarnings("ignore", "not taken over")
            try:
                model, preprocessing = pickle.loads(cargo)
            except Exception:  # as above
                return None
            job = _Job(commission, model, replace(commission.settings, preprocessing=preprocessing))
            return job.first() if mapping is None else Done(job.sweep([mapping]))


@dataclass(frozen=True)
class _Job:
    """A model on a worker."""

    commission: Commission
    model: SweptModel
    settings: Settings

    def sweep(self, mappings: Sequence[str]) -> Progress:
        """Score the model under some of the mappings."""
        benches = [bench for bench in self.commission.benches if bench.benchmark_id.mapping in mappings]
        archive = Archive(self.commission.results)
        return sweep_models([self.model], benches, self.commission.stimuli_sha256, self.settings, archive)

    def first(self) -> Done:
        """Take the forward pass, and say which mappings can follow from the store."""
        mappings, widest = self.commission.mappings, self.commission.widest
        files = self._gram_files() if len(mappings) > 1 else []
        if not files:
            return Done(self.sweep(mappings))
        rest = [mapping for mapping in mappings if mapping != widest]
        progress = self.sweep([widest])
        if all(file.is_file() for file in files):
            return Done(progress, rest)
        # Taken over without a pass, failed, or a full disk: two mappings at once might both run the network.
        return Done(joined([progress, self.sweep(rest)], mappings))

    def _gram_files(self) -> list[Path]:
        """Where the model's Gram matrices are or will be; none where the model must stay one job."""
        try:
            folder = GramStore().folder
            make_folder(folder)
            request = request_of(self.model, self.settings)
        except InputError:  # scoring tells what is wrong with the model, and warns of the store
            return []
        if any("," in layer for layer in request.layers):  # banded ridge alone takes several at once
            return []
        candidate, widest = request.candidate, self.commission.widest
        spaces = dict.fromkeys(
            space for layer in request.layers for space in spaces_of(candidate, layer, widest)
        )
        keys = gram_keys(candidate, self.commission.stimuli_sha256, list(spaces), self.settings.extraction)
        return [folder / f"{key.digest}.nc" for key in keys.values()]


def joined(progresses: Sequence[Progress], mappings: Sequence[str]) -> Progress:
    """What several jobs did of one model, in the order in which one job would have done it.

    Parameters
    ----------
    progresses : sequence of Progress
        The one that met all layers first.
    mappings : sequence of str
        In the order asked for.
    """
    entries = [entry for progress in progresses for entry in progress.entries]
    layers = list(dict.fromkeys(entry.layer for entry in entries))
    whole = Progress(
        sorted(entries, key=lambda entry: (layers.index(entry.layer), mappings.index(entry.mapping))),
        n_taken_over=sum(progress.n_taken_over for progress in progresses),
    )
    for progress in progresses:
        whole.failures = progress.failures | whole.failures  # the first reason stays
        for name, left in progress.skipped.items():
            whole.skipped[name] = sorted({*whole.skipped.get(name, []), *left}, key=layers.index)
    return whole
