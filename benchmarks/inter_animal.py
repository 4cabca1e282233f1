"""The ceiling that other animals set: each neuroid predicted from theirs, as it is from a model."""

from dataclasses import dataclass

import numpy as np

from itprobe.benchmarks.aggregate import mean_of_splits, number
from itprobe.benchmarks.target import Target
from itprobe.metrics import Mapping, SplitPlan
from itprobe.metrics.ceilings import inter_animal_ceiling
from itprobe.progress import progress_bar

UNKNOWN_ANIMALS = ("unknown", "", "nan", "None")
"""What the animal of a neuroid is called where a recording does not say."""


@dataclass(frozen=True)
class InterAnimalCeiling:
    """How well the neuroids of one animal are predicted from those of the others.

    Attributes
    ----------
    pearson_r : ndarray (splits, q)
        Mean over source animals; NaN for neuroids whose animal is not known.
    animals : ndarray (q,)
    mapping : str
    """

    pearson_r: np.ndarray
    animals: np.ndarray
    mapping: str

    def section(self) -> dict[str, object]:
        """Aggregate as the result file states it, in the order of the models' own r."""
        scored = np.isfinite(self.pearson_r).any(axis=0)
        return {
            "median": number(mean_of_splits(self.pearson_r, np.nanmedian)),
            "mean": number(mean_of_splits(self.pearson_r, np.nanmean)),
            "by_animal": {
                str(animal): number(mean_of_splits(self.pearson_r[:, self.animals == animal], np.nanmedian))
                for animal in np.unique(self.animals[scored])
            },
            "mapping": self.mapping,
            "n_neuroids": int(scored.sum()),
        }


def inter_animal(target: Target, mapping: Mapping, plan: SplitPlan) -> InterAnimalCeiling | None:
    """Predict each neuroid from the other animals' averaged responses, through the mapping models use.

    Where brains of a kind predict each other no better than this, no more can be asked of a model. It is
    a lower bound of what they share: the source's responses are noisy, and of its neuroids few were
    recorded. It depends on no model, so one serves all layers scored on the same splits.

    Parameters
    ----------
    target : Target
    mapping : Mapping
    plan : SplitPlan

    Returns
    -------
    InterAnimalCeiling or None
        None where fewer than two animals are known.
    """
    animals = target.neuroids["animal"].astype(str).to_numpy()
    known = np.flatnonzero(~np.isin(animals, UNKNOWN_ANIMALS))
    if len(np.unique(animals[known])) < 2:
        return None
    r = np.full((len(plan.splits), len(animals)), np.nan)
    with progress_bar(1, f"inter-animal ceiling: {mapping.name}", "ceiling") as bar:
        r[:, known] = inter_animal_ceiling(
            target.responses[:, known],
            target.stimuli["stimulus_id"].to_numpy(),
            animals[known],
            mapping,
            plan.splits,
            target.strata,
        )
        bar.update()
    return InterAnimalCeiling(r, animals, mapping.name)
