"""Score by depth: the picture is there, whole, and names what it shows; what it draws against values by hand."""

import numpy as np
import pytest

from itprobe.errors import InputError
from itprobe.leaderboard.sweep_figures import draw_layer_curve, layer_curve


def test_seeds_of_one_curve_become_their_mean_and_range_by_layer(made):
    by_hand = {"a": (0.2, 0.4, 0.6), "b": (0.5, None, 0.3), "c": (None, None, None)}
    results = [
        made.result(f"net@random-{seed}", layer, values[seed])
        for seed in range(3)
        for layer, values in by_hand.items()
    ]
    curve = layer_curve(results)
    assert curve.layers == ["a", "b", "c"]
    assert curve.n_candidates == 3
    np.testing.assert_allclose(curve.value, [0.4, 0.4, np.nan])
    np.testing.assert_allclose(curve.spread, [[0.2, 0.3, np.nan], [0.6, 0.5, np.nan]])
    np.testing.assert_allclose(curve.interval, [[0.35, 0.35, np.nan], [0.44, 0.44, np.nan]])


def test_the_best_layer_is_the_highest_that_has_a_score(made):
    values = (0.3, None, 0.5, 0.4)
    assert layer_curve([made.result(layer=str(k), value=v) for k, v in enumerate(values)]).best == 2
    assert layer_curve([made.result(value=None)]).best is None


def test_layer_curve_names_layers_ceiling_ties_and_what_made_it(made, drawn, tmp_path):
    groups = {
        "trained": made.sweep(simulated=True),
        "random": [
            r for s in range(3) for r in made.sweep(f"mynet@random-{s}", 8, 0.3 + s / 50, simulated=True)
        ],
    }
    path = draw_layer_curve(
        groups, tmp_path / "new" / "curve.svg", {"trained": [made.layers[12], made.layers[13]]}
    )
    texts = drawn.words(path)
    assert set(made.layers) <= set(texts)
    assert "random (mean and range of 3)" in texts
    assert "ceiling √ρ 0.90 [0.80, 0.95]" in texts
    assert {"trained", "best layer", "not separable from it", "median r on held-out stimuli"} <= set(texts)
    assert any(text.startswith("simulated recording planted, region IT, 640 stimuli") for text in texts)
    caption = path.with_suffix(".txt").read_text(encoding="utf-8")
    assert (
        f"trained: best layer {made.layers[13]} (0.600), not separable from {made.layers[12]} (rings)"
        in caption
    )
    assert "simulated recording planted, region IT, 640 stimuli, 12 neuroids, 6 repetitions" in caption
    assert "sha256 0123456789ab" in caption
    assert "10 'brainscore' splits by object_name, seed 17" in caption
    assert "mynet, mynet@random-0, mynet@random-1, mynet@random-2" in caption
    assert "Simulated responses" in caption
    assert sorted(p.name for p in path.parent.iterdir()) == ["curve.png", "curve.svg", "curve.txt"]
    assert drawn.whole(path.with_suffix(".png"))


def test_curves_of_different_networks_share_relative_depth(made, drawn, tmp_path):
    groups = {"one": made.sweep("one"), "two": made.sweep("two", layers=["a", "b", "c"], peak=1)}
    texts = drawn.words(draw_layer_curve(groups, tmp_path / "curve.svg"))
    assert "relative depth (first layer 0, last layer 1)" in texts
    assert not set(made.layers) & set(texts)


def test_recorded_data_are_not_called_simulated_and_similarities_have_no_ceiling(made, drawn, tmp_path):
    path = draw_layer_curve({"trained": made.sweep(mapping="cka")}, tmp_path / "curve.svg")
    text = " ".join(drawn.words(path)) + path.with_suffix(".txt").read_text(encoding="utf-8")
    assert "CKA" in text
    assert "imulated" not in text
    assert "ceiling" not in text
    assert "all stimuli at once, seed 17" in text


def test_a_layer_without_a_score_leaves_a_gap(made, drawn, tmp_path):
    results = [*made.sweep(), made.result(layer="dead", value=None)]
    path = draw_layer_curve({"trained": results}, tmp_path / "curve.png")
    assert drawn.whole(path)


def test_more_layers_than_fit_are_named_in_steps(made, drawn, tmp_path):
    layers = [f"m{k}" for k in range(100)]
    texts = drawn.words(draw_layer_curve({"trained": made.sweep(layers=layers)}, tmp_path / "curve.svg"))
    assert [text for text in texts if text in layers] == layers[::3]


def test_long_names_keep_their_ends(made, drawn, tmp_path):
    layers = [f"backbone.features.stage.blocks.{k}.attention.projection" for k in range(3)]
    texts = drawn.words(draw_layer_curve({"trained": made.sweep(layers=layers)}, tmp_path / "curve.svg"))
    shown = [text for text in texts if text.startswith("…")]
    assert len(set(shown)) == 3
    assert all(
        len(text) == 34 and layer.endswith(text[1:]) for text, layer in zip(shown, layers, strict=True)
    )


def test_the_same_results_give_the_same_bytes(made, tmp_path):
    files = [draw_layer_curve({"t": made.sweep()}, tmp_path / f"{k}.png") for k in range(2)]
    for ending in (".png", ".svg", ".txt"):
        one, other = (file.with_suffix(ending).read_bytes() for file in files)
        assert one == other


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({}, "nothing to draw"),
        ({"a": {}, "b": {"seed": 3}}, "2 different splits"),
        ({"a": {}, "b": {"mapping": "pls"}}, "2 different mappings"),
        ({str(k): {} for k in range(8)}, "at most 7 curves"),
    ],
)
def test_what_cannot_stand_in_one_picture_is_refused_and_leaves_no_file(made, tmp_path, groups, message):
    results = {name: [made.result(**options)] for name, options in groups.items()}
    with pytest.raises(InputError, match=message):
        draw_layer_curve(results, tmp_path / "curve.png")
    assert list(tmp_path.iterdir()) == []


def test_other_endings_are_refused(made, tmp_path):
    with pytest.raises(InputError, match=r"must end in \.png or \.svg"):
        draw_layer_curve({"a": [made.result()]}, tmp_path / "curve.jpeg")
