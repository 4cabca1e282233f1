"""Which object is shown in which pose, where and how large: the latents of the stimuli.

Columns and frame are those of the HvM stimuli (Majaj, Hong, Solomon & DiCarlo 2015): x is depth, y
points to the right, z up, so ``ryz`` turns in the image plane, ``rxz`` tilts and ``rxy`` turns about
the vertical.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from itprobe.data.simulated.objects import object_names
from itprobe.data.simulated.solids import Solid, rotation

# Of ten images of an object: 10% at level 0, 60% at level 3, 30% at level 6.
LEVELS = (0, 3, 3, 3, 6, 3, 3, 6, 3, 6)
# Largest turn (degrees), largest shift (half image widths), largest size factor, by level.
RANGES = {0: (0.0, 0.0, 1.0), 3: (45.0, 0.3, 1.3), 6: (90.0, 0.6, 1.6)}
CANONICAL_RADIUS = 0.66  # half diagonal of an object of size 1, in half image widths
ANGLES, SHIFTS = ("ryz", "rxz", "rxy"), ("ty", "tz")
LATENTS = (*ANGLES, *SHIFTS, "s")


def make_latents(n_stimuli: int, seed: int) -> pd.DataFrame:
    """Draw the latents of the stimuli.

    Objects take turns, so that any multiple of 640 stimuli is balanced over objects and over levels
    within objects. The first stimuli of a longer set are those of a shorter one.

    Parameters
    ----------
    n_stimuli : int
    seed : int

    Returns
    -------
    DataFrame (n_stimuli,)
        ``stimulus_id``, ``object_name``, ``category_name``, ``variation`` (0, 3 or 6),
        ``background_id``, ``ryz``, ``rxz``, ``rxy`` (degrees; uniform), ``ty``, ``tz`` (half image
        widths; uniform), ``s`` (factor to the canonical size; log-uniform).
    """
    names = object_names()
    rows = []
    for index in range(n_stimuli):
        rng = np.random.default_rng([seed, 2, index])
        name, category = names[index % len(names)]
        turns, number = divmod(index, len(names))
        # Level orders differ between objects, so that a short set has all levels too.
        level = LEVELS[(turns + number) % len(LEVELS)]
        turn, shift, factor = RANGES[level]
        row = {
            "stimulus_id": f"simulated{seed}-{index:05d}",
            "object_name": name,
            "category_name": category,
            "variation": level,
            "background_id": f"background{seed}-{index:05d}",
        }
        row |= dict(zip(ANGLES, rng.uniform(-turn, turn, 3), strict=True))
        row |= dict(zip(SHIFTS, rng.uniform(-shift, shift, 2), strict=True))
        row["s"] = factor ** rng.uniform(-1, 1)
        rows.append(row)
    return pd.DataFrame(rows).round(dict.fromkeys(LATENTS, 6))


def place(parts: list[Solid], latents: Mapping[str, float]) -> list[Solid]:
    """Turn, size and shift an object in canonical view as its latents say."""
    turn = rotation("x", latents["ryz"]) @ rotation("y", latents["rxz"]) @ rotation("z", latents["rxy"])
    scale = CANONICAL_RADIUS * latents["s"]
    shift = np.array([0.0, latents["ty"], latents["tz"]])
    return [part.moved(scale * turn, shift) for part in parts]
