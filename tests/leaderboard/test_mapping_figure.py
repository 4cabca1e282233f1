"""Mappings side by side: rank agreement by hand, and the picture that prints it."""

from itertools import pairwise

import numpy as np
import pytest

from itprobe.errors import InputError
from itprobe.leaderboard.mapping_figure import draw_mappings_by_layer, rank_agreement


def test_rank_agreement_by_hand():
    one = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    swapped = {"a": 1.0, "b": 3.0, "c": 2.0, "d": 4.0}  # one of six pairs the other way round
    reverse = {"d": 0.1, "c": 0.2, "b": 0.3, "a": float("nan")}
    agreement = rank_agreement({"one": one, "swapped": swapped, "reverse": reverse})
    np.testing.assert_allclose(agreement.kendall, [[1, 4 / 6, -1], [4 / 6, 1, -1 / 3], [-1, -1 / 3, 1]])
    # Spearman: 1 - 6 Σd² / (n (n² - 1))
    np.testing.assert_allclose(agreement.spearman, [[1, 0.8, -1], [0.8, 1, -0.5], [-1, -0.5, 1]])
    np.testing.assert_array_equal(agreement.n_layers, [[4, 4, 3], [4, 4, 3], [3, 3, 3]])


def test_rank_agreement_is_undefined_without_two_layers_that_differ():
    agreement = rank_agreement({"x": {"a": 1.0, "b": 2.0}, "y": {"a": 1.0}, "z": {"a": 3.0, "b": 3.0}})
    assert np.isnan(agreement.kendall[0, 1])
    assert np.isnan(agreement.spearman[0, 2])


def test_mappings_have_a_panel_each_and_their_agreement_is_printed(made, drawn, tmp_path):
    peaks = {"ridge": 13, "pls": 12, "rsa": 19, "cka": 16}
    groups = {name: made.sweep(peak=peak, mapping=name) for name, peak in peaks.items()}
    path = draw_mappings_by_layer(groups, tmp_path / "mappings.svg")
    texts = drawn.words(path)
    assert set(made.layers) <= set(texts)
    assert set(peaks) <= set(texts)
    caption = path.with_suffix(".txt").read_text(encoding="utf-8")
    values = {name: np.array([r.scores.primary.value for r in group]) for name, group in groups.items()}
    signs = {name: np.sign(v[:, None] - v)[np.triu_indices(20, 1)] for name, v in values.items()}
    for one, other in pairwise(peaks):
        x, y = signs[one], signs[other]
        tau = (x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum())  # Kendall's τ-b, from its definition
        assert f"{one} and {other}: Kendall τ {tau:.2f}" in caption
        assert f"{tau:.2f}" in texts
    assert f"rsa: {made.layers[19]}" in caption
    assert "10 'brainscore' splits by object_name, seed 17; all stimuli at once, seed 17" in caption


def test_mappings_of_different_recordings_are_refused(made, tmp_path):
    other = made.result(mapping="pls")
    other = other.model_copy(update={"recording": other.recording.model_copy(update={"sha256": "f" * 64})})
    with pytest.raises(InputError, match="2 different recordings"):
        draw_mappings_by_layer({"ridge": [made.result()], "pls": [other]}, tmp_path / "mappings.png")
