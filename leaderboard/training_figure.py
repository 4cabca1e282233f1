"""How a fitted candidate was trained, as a picture: loss and validation r by epoch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from itprobe.leaderboard.figure_style import COLOURS, caption_text, data_line, new_figure, save_figure, tidy
from itprobe.leaderboard.result import Result
from itprobe.models.fitted.settings import Trained

TRAINING, VALIDATION = COLOURS[0], COLOURS[1]


def draw_training(trained: Sequence[Trained], result: Result, path: str | Path) -> Path:
    """Draw the loss curves of all splits and, where the network predicts responses while it is trained, its r.

    Parameters
    ----------
    trained : sequence of Trained
        One per split.
    result : Result
    path : str or Path
        See `itprobe.leaderboard.figure_style.save_figure`.

    Returns
    -------
    Path
    """
    by_r = any(np.isfinite(epoch.validation_r) for one in trained for epoch in one.history)
    figure = new_figure(5.2 * (1 + by_r), 3.6)
    axes = figure.subplots(1, 1 + by_r, squeeze=False)[0]
    _draw_losses(axes[0], trained)
    if by_r:
        _draw_r(axes[1], trained)
    for panel in axes:
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(panel)
    figure.suptitle(f"{result.candidate.id} on {result.benchmark.id}", fontsize=9.5, x=0.01, ha="left")
    return save_figure(figure, path, caption_text(_sentences(trained, result, by_r), [result]))


def _draw_losses(axes: Axes, trained: Sequence[Trained]) -> None:
    for index, one in enumerate(trained):
        epochs = np.arange(1, len(one.history) + 1)
        first = index == 0
        axes.plot(
            epochs, [e.loss for e in one.history], color=TRAINING, lw=1.3, label="training" if first else None
        )
        held_out = [e.validation_loss for e in one.history]
        if np.isfinite(held_out).any():
            label = "validation" if first else None
            axes.plot(epochs, held_out, color=VALIDATION, lw=1.3, ls="--", label=label)
            axes.plot(one.best_epoch + 1, held_out[one.best_epoch], "o", color=VALIDATION, ms=4.5)
    axes.set_ylabel("loss")
    axes.legend(frameon=False, fontsize=8)


def _draw_r(axes: Axes, trained: Sequence[Trained]) -> None:
    for one in trained:
        r = [e.validation_r for e in one.history]
        axes.plot(np.arange(1, len(r) + 1), r, color=VALIDATION, lw=1.3, ls="--")
        axes.plot(one.best_epoch + 1, r[one.best_epoch], "o", color=VALIDATION, ms=4.5)
    axes.set_ylabel("mean r, validation part")


def _sentences(trained: Sequence[Trained], result: Result, by_r: bool) -> list[str]:
    epochs = ", ".join(str(one.best_epoch + 1) for one in trained)
    of_splits = f"{len(trained)} split{'s' * (len(trained) > 1)}"
    shown = "Loss" + (" and mean correlation over neuroids" if by_r else "")
    lines = [f"{shown} by epoch, {of_splits} of {result.candidate.id}."]
    if trained[0].n_validation:
        lines.append(
            f"Dots: the epoch whose weights are used ({epochs}), chosen on {trained[0].n_validation} stimuli that were "
            f"taken out of the training part (training: {trained[0].n_train}); the test part plays no part here."
        )
    return [*lines, data_line(result)]
