"""A sweep as jobs, one model under one mapping each, that several processes or machines do at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from functools import partial

from itprobe.benchmarks import PredictivityBenchmark
from itprobe.errors import InputError
from itprobe.progress import progress_bar
from itprobe.sweeping.archive import Archive
from itprobe.sweeping.commission import Done, joined, packed, run_job, written_commission
from itprobe.sweeping.jobs import Progress, sweep_models
from itprobe.sweeping.plan import Settings, SweptModel
from itprobe.workers import Workers


def sweep_on(
    workers: Workers | None,
    models: Sequence[SweptModel],
    benches: Sequence[PredictivityBenchmark],
    stimuli_sha256: str,
    settings: Settings,
    archive: Archive,
) -> Progress:
    """Do what `sweep_models` does, on several workers; without any, in this process.

    Parameters
    ----------
    workers : Workers or None
    models, benches, stimuli_sha256, settings, archive
        As for `sweep_models`.

    Returns
    -------
    Progress
        In the order of `sweep_models`, whichever job was done first. A model whose workers died again and
        again is among the failures. A mapping that fails does not stop the other mappings of its model.

    Raises
    ------
    InputError
        If workers do not see the folder of the sweep or have another itprobe, or the scheduler is lost.
    """
    if workers is None:
        return sweep_models(models, benches, stimuli_sha256, settings, archive)
    here = partial(
        sweep_models, benches=benches, stimuli_sha256=stimuli_sha256, settings=settings, archive=archive
    )
    cargo = [packed(model, settings.preprocessing) for model in models]
    mappings = [bench.benchmark_id.mapping for bench in benches]
    with written_commission(benches, stimuli_sha256, settings, archive) as path:
        dispatch = Dispatch(workers, path, models, cargo, mappings)
        dispatch.run(lambda model: here([model]))
    return merged(dispatch.parts, mappings)


class Dispatch:
    """Hands out the jobs of a sweep, and takes in what comes of them.

    Parameters
    ----------
    workers : Workers
    path : str
        Of the commission.
    models : sequence of SweptModel
    cargo : sequence of bytes or None
        Each model as bytes; None for those that cannot leave this process.
    mappings : sequence of str

    Attributes
    ----------
    parts : list of dict of int to Progress
        For each model what came of its jobs, by the place of the mapping; -1 is the first job.
    """

    def __init__(
        self,
        workers: Workers,
        path: str,
        models: Sequence[SweptModel],
        cargo: Sequence[bytes | None],
        mappings: Sequence[str],
    ) -> None:
        self.workers, self.path = workers, path
        self.models, self.cargo, self.mappings = models, cargo, mappings
        self.parts: list[dict[int, Progress]] = [{} for _ in models]
        self._under_way: dict[Future[Done | None], tuple[int, str | None]] = {}

    def run(self, here: Callable[[SweptModel], Progress]) -> None:
        """Do all jobs; models that cannot leave this process come last, by `here`."""
        for index, cargo in enumerate(self.cargo):
            if cargo is not None:
                self._hand_out(index, None)
        with progress_bar(len(self.models) * len(self.mappings), "sweep", "job") as bar:
            while self._under_way:
                for future in wait(self._under_way, return_when=FIRST_COMPLETED).done:
                    bar.update(self._take_in(future))
            for part, model in zip(self.parts, self.models, strict=True):
                if not part:
                    part[-1] = here(model)
                    bar.update(len(self.mappings))

    def _hand_out(self, index: int, mapping: str | None) -> None:
        future = self.workers.submit(run_job, self.path, self.cargo[index], mapping)
        self._under_way[future] = index, mapping

    def _take_in(self, future: "Future[Done | None]") -> int:
        """Keep what came of a job, hand out what can follow, and count the mappings that were done."""
        index, mapping = self._under_way.pop(future)
        done = self._result(future, index, mapping)
        if done is None:  # cannot be unpacked where it was sent
            return 0
        place = -1 if mapping is None else self.mappings.index(mapping)
        self.parts[index][place] = done.progress
        for follower in done.left:
            self._hand_out(index, follower)
        return 1 if mapping else len(self.mappings) - len(done.left)

    def _result(self, future: "Future[Done | None]", index: int, mapping: str | None) -> Done | None:
        try:
            return future.result()
        except self.workers.died:
            where = f"under {mapping}, " if mapping else ""
            reason = f"given up: {where}{self.workers.of_death}; finished results are kept"
            return Done(Progress(failures={self.models[index].name: reason}))
        except CancelledError:
            raise InputError(
                f"{self.workers.name} lost a job; finished results are kept: ask for the same again"
            ) from None
        except ModuleNotFoundError as error:
            raise InputError(
                f"a worker of {self.workers.name} has no module {error.name}; install itprobe everywhere"
            ) from None


def merged(parts: Sequence[dict[int, Progress]], mappings: Sequence[str]) -> Progress:
    """What the jobs of all models did, in the order of the models; a model that came before fails."""
    whole = Progress()
    seen: set[str] = set()
    for own in parts:
        progress = joined([own[place] for place in sorted(own)], mappings)
        names = {entry.model for entry in progress.entries}
        if names & seen:
            reason = "has the weights of another model of this sweep; give it once"
            progress = Progress(failures={name: f"{name} {reason}" for name in names})
        seen |= names
        whole.entries += progress.entries
        whole.skipped |= progress.skipped
        whole.n_taken_over += progress.n_taken_over
        for name, reason in progress.failures.items():
            whole.failures[name if name not in whole.failures else f"{name} (again)"] = reason
    return whole
