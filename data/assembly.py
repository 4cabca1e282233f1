"""The one shape of a recording, and what is done to it: averaging, choosing a region, counting."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly, walk_coords
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

from itprobe.data.stimuli import count_and_first
from itprobe.errors import InputError
from itprobe.files import sha256_values

_NEUROIDS_AT_ONCE = 32  # bounds the float64 copy that averaging makes


def build_assembly(
    values: np.ndarray,
    stimulus_ids: Sequence[str] | np.ndarray,
    repetitions: Sequence[int] | np.ndarray,
    stimulus_set: StimulusSet,
    neuroid_coords: Mapping[str, Sequence[object] | np.ndarray],
    *,
    identifier: str,
    visual_degrees: float,
    citation: str,
    simulated: bool = False,
    averaged: bool = False,
    truth: xr.Dataset | None = None,
    stimuli_without_responses: int = 0,
    coordinate_order: Sequence[str] | None = None,
) -> NeuroidAssembly:
    """Make a recording that keeps the contract; every loader ends here.

    Parameters
    ----------
    values : array (presentation, neuroid)
        Responses; NaN = missing. Kept as float32.
    stimulus_ids, repetitions : sequences (presentation,)
        Which stimulus was shown, and for the how-manieth time (from 0).
    stimulus_set : StimulusSet
        Its columns become presentation coordinates.
    neuroid_coords : mapping of str to sequence (neuroid,)
        ``neuroid_id`` (unique) and ``region``; ``animal`` is ``"unknown"`` where it is not given.
    identifier, visual_degrees, citation, simulated, averaged, truth
        Attributes of the recording; degrees of visual angle that an image spans.
    stimuli_without_responses : int
        How many stimuli of the set are known to have no response (a held-out test set).
    coordinate_order : sequence of str, optional
        Order of the presentation coordinates, which is what `average_repetitions` sorts by; those
        that are not named come last. Default: stimulus_id, repetition, columns of the stimulus set.

    Returns
    -------
    NeuroidAssembly (presentation, neuroid)
        float32, with ``sha256`` and ``stimulus_set`` among its attributes.

    Raises
    ------
    InputError
        If sizes differ, neuroid ids occur twice, or stimuli and responses do not match by id.
    """
    values = np.array(values, dtype=np.float32)
    values[np.isnan(values)] = np.nan  # one bit pattern for NaN, so that digests survive a file
    ids = _texts(stimulus_ids)
    presentation = {"stimulus_id": ids, "repetition": np.asarray(repetitions, dtype=np.int64)}
    neuroid = {name: _texts_or_numbers(name, column) for name, column in neuroid_coords.items()}
    neuroid.setdefault("animal", _texts(["unknown"] * values.shape[-1]))
    _check_shapes(identifier, values, presentation, neuroid)
    check_stimuli_match(identifier, ids, stimulus_set, stimuli_without_responses)

    rows = pd.Index(stimulus_set["stimulus_id"]).get_indexer(pd.Index(ids))
    for name in stimulus_set.columns:
        if name not in presentation:
            presentation[name] = stimulus_set[name].to_numpy()[rows]
    first = [name for name in coordinate_order or () if name in presentation]
    order = [*first, *(name for name in presentation if name not in first)]
    assembly = NeuroidAssembly(
        values,
        dims=("presentation", "neuroid"),
        coords={
            **{name: ("presentation", presentation[name]) for name in order},
            **{name: ("neuroid", column) for name, column in neuroid.items()},
        },
    )
    assembly.attrs = {
        "identifier": identifier,
        "stimulus_set": stimulus_set,
        "stimulus_set_identifier": stimulus_set.identifier,
        "sha256": recording_sha256(values, ids, presentation["repetition"], neuroid["neuroid_id"]),
        "simulated": bool(simulated),
        "visual_degrees": float(visual_degrees),
        "citation": citation,
        "averaged": bool(averaged),
        "stimuli_without_responses": int(stimuli_without_responses),
    }
    if truth is not None:
        assembly.attrs["truth"] = truth
    return assembly


def recording_sha256(
    values: np.ndarray, stimulus_ids: np.ndarray, repetitions: np.ndarray, neuroid_ids: np.ndarray
) -> str:
    """SHA-256 of a recording: values (presentation, neuroid) as float32, and the ids of rows and columns."""
    return sha256_values(
        np.asarray(values, dtype=np.float32),
        np.asarray(stimulus_ids, dtype=object),
        np.asarray(repetitions, dtype=np.int64),
        np.asarray(neuroid_ids, dtype=object),
    )


def check_stimuli_match(
    name: str, response_ids: np.ndarray, stimulus_set: StimulusSet, without_responses: int = 0
) -> None:
    """Raise `InputError` unless responses and stimuli have the same ids, but for `without_responses` stimuli."""
    shown, known = pd.unique(pd.Series(response_ids)), stimulus_set["stimulus_id"].to_numpy()
    no_image = sorted(set(shown) - set(known))
    no_response = sorted(set(known) - set(shown))
    faults = []
    if no_image:
        faults.append(f"{count_and_first(no_image, 'stimulus ids')} of the responses have no image")
    if len(no_response) != without_responses:
        faults.append(f"{count_and_first(no_response, 'images')} have no response")
    if faults:
        raise InputError(
            f"{name}: stimuli and responses do not match: {' and '.join(faults)}; ids must agree"
        )


def presentation_coordinates(assembly: NeuroidAssembly) -> dict[str, np.ndarray]:
    """Coordinates along the presentations, by name, in their order."""
    return {name: values for name, dims, values in walk_coords(assembly) if dims == ("presentation",)}


def neuroid_coordinates(assembly: NeuroidAssembly) -> dict[str, np.ndarray]:
    """Coordinates along the neuroids, by name, in their order."""
    return {name: values for name, dims, values in walk_coords(assembly) if dims == ("neuroid",)}


def average_repetitions(assembly: NeuroidAssembly) -> NeuroidAssembly:
    """Average each stimulus's presentations, leaving out missing values.

    The rows come in the order of Brain-Score's ``average_repetition``: sorted by the tuple of all
    presentation coordinates but ``repetition``, in the order in which the assembly has them. Its splits
    pick rows by number, so this order decides which stimuli fall into which split.

    Parameters
    ----------
    assembly : NeuroidAssembly (presentation, neuroid)

    Returns
    -------
    NeuroidAssembly (stimulus as presentation, neuroid)
        float64; NaN where a neuroid has no response to a stimulus. Coordinates that differ between the
        presentations of a stimulus are dropped; instead of ``repetition`` there is ``n_repetitions``,
        the number of presentations. Attributes are kept, but ``averaged`` is now true.
    """
    coords = presentation_coordinates(assembly)
    coords.pop("repetition", None)
    group, first = _groups(coords["stimulus_id"])
    codes = {name: pd.factorize(column, sort=True)[0] for name, column in coords.items()}
    kept = [name for name in coords if np.array_equal(codes[name], codes[name][first][group])]
    order = np.lexsort([codes[name][first] for name in reversed(kept)])
    mean = _group_means(assembly.transpose("presentation", "neuroid").values, group, len(first))
    result = NeuroidAssembly(
        mean[order],
        dims=("presentation", "neuroid"),
        coords={
            **{name: ("presentation", coords[name][first][order]) for name in kept},
            # Also needed because xarray makes no index levels of a single coordinate.
            "n_repetitions": ("presentation", np.bincount(group)[order]),
            **{name: ("neuroid", column) for name, column in neuroid_coordinates(assembly).items()},
        },
    )
    result.attrs = {**assembly.attrs, "averaged": True}
    return result


def select_region(assembly: NeuroidAssembly, region: str) -> NeuroidAssembly:
    """Keep the neuroids of one region, with all coordinates and attributes.

    Raises
    ------
    InputError
        If there is no neuroid of that region; the message names the regions there are.
    """
    regions = np.asarray(assembly["region"].values)
    # By position: a boolean or label selection that leaves one neuroid would drop index levels.
    chosen = np.flatnonzero(regions == region)
    if not len(chosen):
        known = ", ".join(sorted(set(regions)))
        raise InputError(
            f"{assembly.attrs['identifier']} has no neuroid of region {region!r}; it has {known}"
        )
    return assembly.isel(neuroid=chosen)


def repetitions_per_stimulus(assembly: NeuroidAssembly) -> np.ndarray:
    """Number of presentations of each stimulus, in sorted stimulus_id order; int (stimulus,)."""
    return np.unique(np.asarray(assembly["stimulus_id"].values, dtype=str), return_counts=True)[1]


def _groups(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number equal labels alike: group of each row (n,) and first row of each group (g,)."""
    group = pd.factorize(labels)[0]
    return group, np.unique(group, return_index=True)[1]


def _group_means(values: np.ndarray, group: np.ndarray, n_groups: int) -> np.ndarray:
    """Mean of the rows (n, q) of each group, NaN left out: float64 (n_groups, q)."""
    by_group = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[by_group], np.arange(n_groups))
    means = np.empty((n_groups, values.shape[1]))
    for begin in range(0, values.shape[1], _NEUROIDS_AT_ONCE):
        block = values[:, begin : begin + _NEUROIDS_AT_ONCE][by_group].astype(np.float64)
        present = ~np.isnan(block)
        totals = np.add.reduceat(np.where(present, block, 0.0), starts, axis=0)
        counts = np.add.reduceat(present, starts, axis=0, dtype=np.int64)
        means[:, begin : begin + _NEUROIDS_AT_ONCE] = np.divide(
            totals, counts, out=np.full_like(totals, np.nan), where=counts > 0
        )
    return means


def _texts(column: Sequence[object] | np.ndarray) -> np.ndarray:
    return np.array([str(item) for item in column], dtype=object)


def _texts_or_numbers(name: str, column: Sequence[object] | np.ndarray) -> np.ndarray:
    array = np.asarray(column)
    numeric = array.dtype.kind in "biuf" and name not in ("neuroid_id", "region", "animal")
    return array if numeric else _texts(array)


def _check_shapes(
    identifier: str, values: np.ndarray, presentation: dict[str, np.ndarray], neuroid: dict[str, np.ndarray]
) -> None:
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(f"{identifier}: responses have shape {values.shape}, not (presentations, neuroids)")
    for lacking in {"neuroid_id", "region"} - set(neuroid):
        raise InputError(f"{identifier}: neuroids have no coordinate {lacking!r}; every recording needs it")
    for axis, what, coords in ((0, "presentation", presentation), (1, "neuroid", neuroid)):
        for name, column in coords.items():
            if len(column) != values.shape[axis]:
                raise InputError(
                    f"{identifier}: responses have {values.shape[axis]} {what}s, but {name} has {len(column)} entries"
                )
    ids = pd.Series(_texts(neuroid["neuroid_id"]))
    if ids.duplicated().any():
        raise InputError(
            f"{identifier}: {count_and_first(ids[ids.duplicated()].unique(), 'neuroid ids')} occur twice; "
            "ids must be unique"
        )
