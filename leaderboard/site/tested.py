"""Draws of each entry's median r from its held-out predictions, kept in the cache by their digest."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from itprobe.errors import InputError
from itprobe.files import atomic_file, cache_home, sha256_values
from itprobe.leaderboard.board.reading import Entry
from itprobe.leaderboard.result_files import load_held_out
from itprobe.leaderboard.site.draws import SharedDraws
from itprobe.metrics import HeldOut, resample
from itprobe.metrics.inference import N_BOOTSTRAP

VERSION = 1
"""Of the files in the cache and of how their draws are made."""

LARGEST_DEVIATION = 1e-3
"""Predictions are kept as float32: a median r that is further from what its result file says is another one."""

UNEQUAL = "its test stimuli, neuroids or responses are not those of the other candidates"
NO_PREDICTIONS = "it has no predictions"
MISSING = "its predictions are missing"
NO_SCORE = "it has no score"


@dataclass(frozen=True)
class Tested:
    """What a candidate's predictions give.

    Attributes
    ----------
    value : float
        Median r over neuroids, mean over splits.
    draws : ndarray (B,)
        Of it.
    data : str
        Digest of test stimuli, neuroids and responses, whatever their order: candidates can be compared where it is
        the same.
    order : str
        Digest of the neuroids in the order in which they were drawn.
    """

    value: float
    draws: np.ndarray
    data: str
    order: str


class Comparison:
    """Makes draws that are paired, candidate by candidate."""

    def __init__(self, seed: int, n: int = N_BOOTSTRAP, done: Callable[[], object] = lambda: None) -> None:
        self.seed, self.n, self.done = seed, n, done
        self._shared: SharedDraws | None = None

    def tested(self, entries: Sequence[Entry]) -> list[Tested | str]:
        """Draws of each entry, or why it cannot be compared with the others.

        Neuroids are drawn in the order of most entries' files, so that the draws are those of the results' own
        intervals; files in another order are joined to it by neuroid_id.
        """
        found: list[Tested | str] = []
        for entry in entries:
            found.append(self._of(entry))
            self.done()
        usual = _most_common(one.data for one in found if isinstance(one, Tested))
        found = [UNEQUAL if isinstance(one, Tested) and one.data != usual else one for one in found]
        order = _most_common(one.order for one in found if isinstance(one, Tested))
        example: list[np.ndarray] = []
        for place, (entry, one) in enumerate(zip(entries, found, strict=True)):
            if isinstance(one, Tested) and one.order != order:
                if not example:
                    example = [_ids_in_order(entries, found, order)]
                found[place] = self._of(entry, example[0])
        return found

    def _of(self, entry: Entry, neuroid_ids: np.ndarray | None = None) -> Tested | str:
        described = entry.result.predictions
        if described is None:
            return NO_PREDICTIONS
        if not (entry.path.parent / described.file).is_file():  # whatever the cache of this machine remembers
            return MISSING
        order = "own" if neuroid_ids is None else sha256_values(neuroid_ids)
        key = sha256_values(VERSION, described.sha256, *described.split_ids, self.seed, self.n, order)
        known = _read(_cache_file(key), key)
        if known is None:
            try:
                known = self._compute(entry, neuroid_ids)
            except InputError as error:
                return str(error)
            _write(_cache_file(key), key, known)
        stated = entry.result.scores.pearson_r
        if stated is None or stated.median is None or not np.isfinite(known.value):
            return NO_SCORE
        if abs(stated.median - known.value) > LARGEST_DEVIATION:
            return f"its predictions give a median r of {known.value:.4f}, not the {stated.median:.4f} that it states"
        return known

    def _compute(self, entry: Entry, neuroid_ids: np.ndarray | None) -> Tested:
        held_out = _held_out(entry)
        if neuroid_ids is not None:
            held_out = _joined(held_out, neuroid_ids)
        if self._shared is None or not self._shared.fit(held_out):
            self._shared = SharedDraws(held_out, self.seed, self.n)
        plain = resample(held_out, stimuli=False, neuroids=False, n=1)
        value = float(plain.aggregate("pearson_r", "median")[0])
        draws = self._shared.median_r(held_out.predictions)
        return Tested(value, draws, _digest_of_data(held_out), sha256_values(held_out.neuroid_ids))


def _most_common(digests: Iterable[str]) -> str | None:
    """The most frequent digest; of several, the first in the alphabet."""
    counted = Counter(digests)
    return min(counted, key=lambda digest: (-counted[digest], digest)) if counted else None


def _ids_in_order(entries: Sequence[Entry], found: Sequence[Tested | str], order: str | None) -> np.ndarray:
    """Neuroid ids in the order of most files."""
    with_it = (
        entry
        for entry, one in zip(entries, found, strict=True)
        if isinstance(one, Tested) and one.order == order
    )
    return _held_out(next(with_it)).neuroid_ids


def _held_out(entry: Entry) -> HeldOut:
    """Predictions of an entry, whoever wrote them.

    Raises
    ------
    InputError
        If they cannot be read or compared.
    """
    try:
        held_out = load_held_out(entry.result, entry.path.parent)
    except InputError:
        raise InputError("its predictions are missing or are not those that it names") from None
    except (OSError, RuntimeError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"its predictions cannot be read ({type(error).__name__})") from error
    arrays = [*held_out.responses, *held_out.predictions]
    if not arrays or not all(np.isfinite(array).all() and len(array) > 1 for array in arrays):
        raise InputError("its predictions or responses are not finite, or are fewer than two in a split")
    for ids in (held_out.neuroid_ids, *held_out.stimulus_ids):
        if len(np.unique(ids)) < len(ids):
            raise InputError("its predictions name a neuroid, or a stimulus in one split, twice")
    return held_out


def _joined(held_out: HeldOut, neuroid_ids: np.ndarray) -> HeldOut:
    """The same with its neuroids in another order."""
    place = {name: column for column, name in enumerate(held_out.neuroid_ids)}
    columns = np.array([place[name] for name in neuroid_ids])
    return HeldOut(
        held_out.stimulus_ids,
        [responses[:, columns] for responses in held_out.responses],
        [predictions[:, columns] for predictions in held_out.predictions],
        held_out.neuroid_ids[columns],
        held_out.animals[columns],
    )


def _digest_of_data(held_out: HeldOut) -> str:
    columns = np.argsort(held_out.neuroid_ids)
    parts: list[np.ndarray] = [held_out.neuroid_ids[columns], held_out.animals[columns]]
    for ids, responses in zip(held_out.stimulus_ids, held_out.responses, strict=True):
        rows = np.argsort(ids)
        parts += [ids[rows], responses[np.ix_(rows, columns)].astype(np.float32)]
    return sha256_values(*parts)


def _cache_file(key: str) -> Path:
    return cache_home() / "leaderboard-draws" / key[:2] / f"{key}.npz"


def _facts(tested: Tested) -> str:
    return json.dumps([tested.value, tested.data, tested.order])


def _write(path: Path, key: str, tested: Tested) -> None:
    digest = sha256_values(key, _facts(tested), tested.draws)
    with atomic_file(path) as temporary:
        np.savez(temporary, draws=tested.draws, facts=_facts(tested), digest=digest)


def _read(path: Path, key: str) -> Tested | None:
    """What the cache holds; None where it holds nothing, or not what was written."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            draws, facts, digest = kept["draws"], str(kept["facts"]), str(kept["digest"])
    except (OSError, ValueError, KeyError, EOFError):
        return None
    if digest != sha256_values(key, facts, draws):
        return None
    value, data, order = json.loads(facts)
    return Tested(value, draws, data, order)
