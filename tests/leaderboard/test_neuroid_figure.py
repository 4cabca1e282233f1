"""Two candidates neuroid by neuroid: the picture, its paired difference, and what it refuses."""

import re

import numpy as np
import pytest

from itprobe.errors import InputError
from itprobe.leaderboard.neuroid_figure import draw_neuroid_scatter
from itprobe.leaderboard.result import Neuroid
from itprobe.metrics import HeldOut


def neuroids(r, reliability):
    return [
        Neuroid.model_construct(neuroid_id=f"n{j}", pearson_r=r[j], reliability=reliability[j])
        for j in range(len(r))
    ]


@pytest.fixture
def two_results(made):
    """The first is better for every neuroid; their neuroids stand in different orders."""
    r = np.linspace(0.1, 0.7, made.q)
    reliability = [*np.linspace(0.3, 0.9, made.q - 2), -0.1, None]
    one = made.result(layer="deep", value=0.45, per_neuroid=neuroids([*(r[:-1] + 0.05), None], reliability))
    other = made.result(layer="shallow", value=0.4, per_neuroid=neuroids(list(r), reliability)[::-1])
    return one, other


@pytest.fixture
def held_outs(made):
    """Predictions with noise of standard deviation 1 and 1.5 times that of the responses."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(60, made.q))
    ids, animals = np.array([f"im{i}" for i in range(60)]), np.resize(["chabo", "tito"], made.q)
    names = np.array([f"n{j}" for j in range(made.q)])
    noise = rng.normal(size=y.shape)
    return tuple(HeldOut([ids], [y], [y + size * noise], names, animals) for size in (1.0, 1.5))


def test_scatter_shows_animals_ceilings_and_the_paired_difference(drawn, two_results, held_outs, tmp_path):
    path = draw_neuroid_scatter(*two_results, tmp_path / "scatter.svg", held_outs, "two of many")
    texts = drawn.words(path)
    assert {"animal chabo (6 neuroids)", "animal tito (6 neuroids)", "ceiling √ρ of a neuroid"} <= set(texts)
    assert {"r of mynet:deep", "r of mynet:shallow", "ceiling √ρ"} <= set(texts)
    title = next(text for text in texts if "paired difference" in text)
    value, low, high = map(float, re.findall(r"[+-]\d\.\d+", title))
    # r = 1 / sqrt(1 + noise²) for noise of standard deviation 1 and 1.5
    assert value == pytest.approx(1 / np.sqrt(2) - 1 / np.sqrt(3.25), abs=0.05)
    assert 0 < low < value < high
    caption = path.with_suffix(".txt").read_text(encoding="utf-8")
    assert "11 of 11 neuroids lie above the diagonal" in caption
    assert f"paired difference {value:+.3f}" in caption
    assert "Chosen as two of many; the interval is not corrected for this choice." in caption


def test_scatter_without_predictions_has_no_interval(made, drawn, two_results, tmp_path):
    path = draw_neuroid_scatter(*two_results, tmp_path / "scatter.svg")
    texts = drawn.words(path)
    assert any("median r 0.450 and 0.400" in text for text in texts)
    assert not any("paired" in text for text in texts)
    assert f"neuroid ({made.q})" in texts


def test_scatter_png_is_whole(drawn, two_results, held_outs, tmp_path):
    assert drawn.whole(draw_neuroid_scatter(*two_results, tmp_path / "s.png", held_outs))


def test_scatter_names_the_mapping_where_that_is_what_differs(made, drawn, two_results, tmp_path):
    one, _ = two_results
    other = made.result(layer="deep", value=0.4, mapping="pls", per_neuroid=one.per_neuroid)
    texts = drawn.words(draw_neuroid_scatter(one, other, tmp_path / "scatter.svg"))
    assert {"r of mynet:deep (ridge)", "r of mynet:deep (pls)"} <= set(texts)


def test_scatter_refuses_what_has_no_common_neuroids(made, two_results, tmp_path):
    one, other = two_results
    with pytest.raises(InputError, match="no scores of single neuroids"):
        draw_neuroid_scatter(one, made.result(mapping="cka"), tmp_path / "s.png")
    fewer = other.model_copy(update={"per_neuroid": other.per_neuroid[1:]})
    with pytest.raises(InputError, match="different neuroids"):
        draw_neuroid_scatter(one, fewer, tmp_path / "s.png")
