"""Fits in the cache are counted, and removed only when that is asked for."""

import numpy as np
import pytest

from itprobe.cli import main
from itprobe.models.fitted import load_fitted
from itprobe.models.fitted.cache import fits_folder

OPTIONS = {"epochs": "1", "side": "16", "widths": "4", "hidden": "8"}


def test_info_counts_fits_and_clear_leaves_them_unless_told(make_stimuli, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ITPROBE_HOME", str(tmp_path / "home"))
    stimuli = make_stimuli(24)
    load_fitted("convnet", "cpu", 0, OPTIONS).fit(stimuli, np.random.default_rng(0).normal(size=(24, 2)))
    (fit,) = fits_folder().iterdir()
    size = sum(file.stat().st_size for file in fit.iterdir())
    for arguments, text in (
        (["info"], f"1 fits, {size / 1e6:.1f} MB"),
        (["clear"], "removed 0 Gram matrices"),
        (["info"], "1 fits"),
        (["clear", "--fits"], "removed 1 fits"),
        (["info"], "0 fits, 0.0 MB"),
    ):
        run(["cache", *arguments])
        assert text in capsys.readouterr().out
    assert not fits_folder().exists()


def run(arguments):
    try:
        main(arguments)
    except SystemExit as ended:
        pytest.fail(f"{arguments} ended with {ended.code}")
