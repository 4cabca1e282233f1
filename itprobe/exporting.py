"""Fits of one part of a split, exported for use elsewhere."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from itprobe.benchmarks import prepare_target
from itprobe.benchmarks.fitted import fit_split, split_context
from itprobe.benchmarks.target import default_region
from itprobe.data import load_recording
from itprobe.errors import InputError, unknown_name
from itprobe.files import make_folder
from itprobe.metrics import DEFAULT_SEED, SPLITS, pearson_r
from itprobe.models.fitted import Exported, NetworkFit, export_fit, load_exported, load_fitted
from itprobe.models.fitted.export import check_free


def export(
    candidate: str,
    recording: str,
    out: str | Path,
    *,
    region: str | None = None,
    split: str = "course",
    index: int = 1,
    seed: int = DEFAULT_SEED,
    device: str = "auto",
    options: Mapping[str, str] | None = None,
) -> tuple[Exported, float]:
    """Fit a candidate to the training stimuli of one part of a split and export it.

    A fit that was made before, by this or on the benchmark of the same split and seed, is taken from the cache.

    Parameters
    ----------
    candidate : str
        E.g. ``convnet`` or ``combined+efficientnet_lite0:_blocks.8``.
    recording : str
    out : str or Path
        Folder to write.
    region : str, optional
        By default the recording's only one, or IT.
    split : str
    index : int
        Which of the split's parts, from 1 on.
    seed : int
        Of the split and of the training.
    device : str
    options : mapping of str to str, optional
        Parameters of the candidate, as text.

    Returns
    -------
    Exported
        As it is read from the folder.
    float
        Mean over neuroids of the correlation on the part's test stimuli.

    Raises
    ------
    InputError
        If something given does not exist, the candidate cannot be fitted or is of the user's own code, or the
        folder cannot be written or holds something else.
    """
    out = Path(out)
    check_free(out)  # better known before a training
    make_folder(out.parent)
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    unfitted = load_fitted(candidate, device, seed, options)
    if not isinstance(unfitted, NetworkFit):
        raise InputError(
            f"{candidate} is of your own code and cannot be exported; save what it has learned yourself"
        )
    assembly = load_recording(recording)
    target = prepare_target(assembly, region or default_region(assembly))
    parts = SPLITS[split](target.stimuli, seed).splits
    if not 1 <= index <= len(parts):
        raise InputError(f"the index must be from 1 to {len(parts)} for the split {split}, not {index}")
    context = split_context(target, split, index, len(parts), seed)
    result, fitted = fit_split(unfitted, target, parts[index - 1], context)
    assert isinstance(fitted, NetworkFit), "a fresh copy is of the same kind"
    export_fit(fitted, out, target.neuroids["neuroid_id"].tolist())
    r = pearson_r(result.responses, result.predictions)
    return load_exported(out, device), float(np.nanmean(r))
