"""Which responses of a recording a host keeps: the test part of a split."""

from pathlib import Path

import numpy as np
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly

from itprobe.benchmarks import prepare_target
from itprobe.data.withheld import Drawn, withhold
from itprobe.errors import InputError, unknown_name
from itprobe.metrics import DEFAULT_SEED, SPLITS, SplitPlan

TRAIN, VALIDATION, TEST = "train", "val", "test"


def withhold_test_part(
    assembly: NeuroidAssembly,
    folder: str | Path,
    split: str = "course",
    part: int = 1,
    seed: int = DEFAULT_SEED,
) -> tuple[Path, Path, dict[str, int]]:
    """Withhold the stimuli that a split leaves untouched (``course``: 10 %), else the test stimuli of one part.

    Neuroids that cannot be scored in their region, or not be fitted on the public stimuli, are in neither file.

    Parameters
    ----------
    assembly : NeuroidAssembly (presentation, neuroid)
    folder : str or Path
        For ``public.nc``, ``public.stimuli/`` and ``withheld.nc``.
    split : str
    part : int
        Which of the split's parts, from 1 on.
    seed : int

    Returns
    -------
    Path, Path
        The public and the withheld file.
    dict of str to int
        Number of stimuli by part: train, val (course alone), test.

    Raises
    ------
    InputError
        If the split or part does not exist, or the recording already has stimuli without responses.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    without = int(assembly.attrs["stimuli_without_responses"])
    if without:
        raise InputError(
            f"{assembly.attrs['identifier']} already has {without} stimuli without responses: it is the public part "
            "of a recording"
        )
    regions = sorted(set(np.asarray(assembly["region"].values, dtype=str)))
    targets = [prepare_target(assembly, region) for region in regions]
    stimuli = targets[0].stimuli
    parts = _parts(SPLITS[split](stimuli, seed), stimuli["stimulus_id"].to_numpy(), split, part)
    withheld = [key for key, name in parts.items() if name == TEST]
    neuroids = []
    for target in targets:
        shown = ~stimuli_in(target.stimuli["stimulus_id"].to_numpy(), withheld)
        varies = np.ptp(target.responses[shown], axis=0) > 0
        neuroids += target.neuroids["neuroid_id"][varies].tolist()
    public, secret = withhold(assembly, parts, withheld, neuroids, Drawn(split, part, seed), folder)
    names = list(parts.values())
    return public, secret, {name: names.count(name) for name in dict.fromkeys((TRAIN, VALIDATION, TEST))}


def stimuli_in(stimulus_ids: np.ndarray, among: list[str]) -> np.ndarray:
    """Whether each stimulus id is among some, (n,) of bool; ids are texts, of whatever type of array."""
    chosen = set(among)
    return np.array([key in chosen for key in stimulus_ids], dtype=bool)


def _parts(plan: SplitPlan, stimulus_ids: np.ndarray, split: str, part: int) -> dict[str, str]:
    """Part of each stimulus: what a split tests on is validation where it leaves other stimuli untouched."""
    if not 1 <= part <= len(plan.splits):
        raise InputError(f"the split {split} has parts 1 to {len(plan.splits)}, not {part}")
    train, tested = (set(ids) for ids in (plan.splits[part - 1].train, plan.splits[part - 1].test))
    untouched = set(stimulus_ids) - train - tested
    second = VALIDATION if untouched else TEST
    return {key: TRAIN if key in train else second if key in tested else TEST for key in stimulus_ids}
