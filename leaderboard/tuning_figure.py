"""A tuning study as a picture: what each trial gave, and which parameters mattered."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from itprobe.leaderboard.figure_style import COLOURS, new_figure, save_figure, tidy


def draw_tuning(
    values: Sequence[float], importances: Mapping[str, float], about: Mapping[str, object], path: str | Path
) -> Path:
    """Draw the value of every finished trial with the best so far, and the importances where there are any.

    Parameters
    ----------
    values : sequence of float
        Inner held-out r of finished trials, in order.
    importances : mapping of str to float
        Share of the values' variance by parameter (fANOVA).
    about : mapping of str to object
        What was tuned: candidate, recording, split.
    path : str or Path

    Returns
    -------
    Path
    """
    panels = 1 + bool(importances)
    figure = new_figure(5.2 * panels, 3.8)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    trials = np.arange(1, len(values) + 1)
    axes[0].plot(trials, values, "o", color=COLOURS[0], ms=4, label="trial")
    axes[0].plot(
        trials,
        np.maximum.accumulate(values),
        "-",
        drawstyle="steps-post",
        color=COLOURS[1],
        lw=1.4,
        label="best so far",
    )
    axes[0].set_xlabel("finished trial")
    axes[0].set_ylabel("mean r on inner held-out stimuli")
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].legend(frameon=False, fontsize=8)
    if importances:
        names = sorted(importances, key=lambda name: importances[name])
        axes[1].barh(names, [importances[name] for name in names], color=COLOURS[0])
        axes[1].set_xlabel("share of the variance between trials")
    for panel in axes:
        tidy(panel)
    figure.suptitle(f"{about['candidate']}: tuning on {about['recording']}", fontsize=9.5, x=0.01, ha="left")
    caption = (
        f"Tuning of {about['candidate']} on {about['recording']}, split {about['split']}: {len(values)} finished "
        "trials. Each was fitted to a part of the training stimuli and scored on the rest of them; the test part was "
        "not read. The best value is the largest of many and too high: score the parameters on the test part.\n"
    )
    return save_figure(figure, path, caption)
