"""Pictures of sweeps: there, whole, naming what they show; what they draw against values by hand."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from itprobe.errors import InputError
from itprobe.leaderboard.lambda_figure import (
    LambdaByLayer,
    best_layer_under_cap,
    draw_lambda_heat_map,
    lambda_by_layer,
)
from itprobe.leaderboard.mapping_figure import draw_mappings_by_layer, rank_agreement
from itprobe.leaderboard.neuroid_figure import draw_neuroid_scatter
from itprobe.leaderboard.result import (
    BenchmarkInfo,
    CandidateInfo,
    Ceiled,
    MappingInfo,
    Neuroid,
    PearsonR,
    Primary,
    RecordingInfo,
    ReliabilityInfo,
    Result,
    Scores,
    SplitInfo,
)
from itprobe.leaderboard.sweep_figures import draw_layer_curve, layer_curve
from itprobe.metrics import HeldOut
from itprobe.metrics.lambda_search import LambdaChoice

LAYERS = [f"stage{1 + k // 6}.block{k % 6}.conv3~pool4" for k in range(20)]
Q = 12


def result(model="mynet", layer="layer1", value=0.5, mapping="ridge", simulated=False, seed=17, **parts):
    """A result with all that the pictures read; similarities have no splits and no r."""
    similarity = mapping in ("rsa", "cka")
    ci95 = None if value is None else (value - 0.05, value + 0.04)
    pearson = PearsonR.model_construct(median=value, ci95=ci95)
    reliability = ReliabilityInfo.model_construct(median=0.81, ci95=(0.64, 0.9025))
    scores = Scores.model_construct(
        primary=Primary(name="similarity" if similarity else "r", value=value, ci95=ci95),
        pearson_r=None if similarity else pearson,
        reliability=None if similarity else reliability,
        ceiled=None if similarity else Ceiled(value=0.3, ci95=None, formula="r |r| / rho"),
    )
    made = Result.model_construct(
        candidate=CandidateInfo(
            id=f"{model}:{layer}",
            layer=layer,
            track="frozen",
            weights="random" if "@random" in model else "trained",
            weights_sha256=None,
            n_features=400,
            effective_dimensionality=12.5,
        ),
        benchmark=BenchmarkInfo(id=f"planted.IT-{mapping}", version=1),
        recording=RecordingInfo(
            id="planted",
            sha256="0123456789abcdef" * 4,
            region="IT",
            n_stimuli=640,
            n_neuroids=Q,
            repetitions_median=6,
            simulated=simulated,
            stimulus_set_sha256="0" * 64,
            citation="planted truth",
        ),
        mapping=MappingInfo(name=mapping, params={"lambda_grid": "automatic"}, spaces=["layer"]),
        split=SplitInfo(name="all stimuli at once", n_splits=0, seed=seed, coord=None)
        if similarity
        else SplitInfo(name="brainscore", n_splits=10, seed=seed, coord="object_name"),
        scores=scores,
        per_neuroid=None,
    )
    return made.model_copy(update=parts)


def sweep(model="mynet", peak=13, height=0.6, layers=LAYERS, **options):
    depths = np.arange(len(layers))
    values = height - 0.002 * (depths - peak) ** 2
    return [result(model, name, float(v), **options) for name, v in zip(layers, values, strict=True)]


def words(path):
    """All texts of an SVG, which matplotlib writes as comments beside the glyphs' outlines."""
    assert ElementTree.parse(path).getroot().tag.endswith("svg")
    return re.findall(r"<!-- (.*?) -->", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def has_ink_and_nothing_is_cut(path):
    picture = np.asarray(Image.open(path).convert("L"))
    return (picture < 128).sum() > 3000 and all(
        (edge == 255).all() for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1])
    )


# --- score by depth


def test_seeds_of_one_curve_become_their_mean_and_range_by_layer():
    by_hand = {"a": (0.2, 0.4, 0.6), "b": (0.5, None, 0.3), "c": (None, None, None)}
    results = [
        result(f"net@random-{seed}", layer, values[seed])
        for seed in range(3)
        for layer, values in by_hand.items()
    ]
    curve = layer_curve(results)
    assert curve.layers == ["a", "b", "c"]
    assert curve.n_candidates == 3
    np.testing.assert_allclose(curve.value, [0.4, 0.4, np.nan])
    np.testing.assert_allclose(curve.spread, [[0.2, 0.3, np.nan], [0.6, 0.5, np.nan]])
    np.testing.assert_allclose(curve.interval, [[0.35, 0.35, np.nan], [0.44, 0.44, np.nan]])


def test_the_best_layer_is_the_highest_that_has_a_score():
    values = (0.3, None, 0.5, 0.4)
    assert layer_curve([result(layer=str(k), value=v) for k, v in enumerate(values)]).best == 2
    assert layer_curve([result(value=None)]).best is None


def test_layer_curve_names_layers_ceiling_ties_and_what_made_it(tmp_path):
    groups = {
        "trained": sweep(simulated=True),
        "random": [r for s in range(3) for r in sweep(f"mynet@random-{s}", 8, 0.3 + s / 50, simulated=True)],
    }
    path = draw_layer_curve(groups, tmp_path / "new" / "curve.svg", {"trained": [LAYERS[12], LAYERS[13]]})
    texts = words(path)
    assert set(LAYERS) <= set(texts)
    assert "random (mean and range of 3)" in texts
    assert "ceiling √ρ 0.90 [0.80, 0.95]" in texts
    assert {"trained", "best layer", "not separable from it", "median r on held-out stimuli"} <= set(texts)
    assert any(text.startswith("simulated recording planted, region IT, 640 stimuli") for text in texts)
    caption = path.with_suffix(".txt").read_text(encoding="utf-8")
    assert f"trained: best layer {LAYERS[13]} (0.600), not separable from {LAYERS[12]} (rings)" in caption
    assert "simulated recording planted, region IT, 640 stimuli, 12 neuroids, 6 repetitions" in caption
    assert "sha256 0123456789ab" in caption
    assert "10 'brainscore' splits by object_name, seed 17" in caption
    assert "mynet, mynet@random-0, mynet@random-1, mynet@random-2" in caption
    assert "Simulated responses" in caption
    assert sorted(p.name for p in path.parent.iterdir()) == ["curve.svg", "curve.txt"]


def test_curves_of_different_networks_share_relative_depth(tmp_path):
    groups = {"one": sweep("one"), "two": sweep("two", layers=["a", "b", "c"], peak=1)}
    texts = words(draw_layer_curve(groups, tmp_path / "curve.svg"))
    assert "relative depth (first layer 0, last layer 1)" in texts
    assert not set(LAYERS) & set(texts)


def test_recorded_data_are_not_called_simulated_and_similarities_have_no_ceiling(tmp_path):
    path = draw_layer_curve({"trained": sweep(mapping="cka")}, tmp_path / "curve.svg")
    text = " ".join(words(path)) + path.with_suffix(".txt").read_text(encoding="utf-8")
    assert "CKA" in text
    assert "imulated" not in text
    assert "ceiling" not in text
    assert "all stimuli at once, seed 17" in text


def test_a_layer_without_a_score_leaves_a_gap(tmp_path):
    results = [*sweep(), result(layer="dead", value=None)]
    path = draw_layer_curve({"trained": results}, tmp_path / "curve.png")
    assert has_ink_and_nothing_is_cut(path)


def test_more_layers_than_fit_are_named_in_steps(tmp_path):
    layers = [f"m{k}" for k in range(100)]
    texts = words(draw_layer_curve({"trained": sweep(layers=layers)}, tmp_path / "curve.svg"))
    assert [text for text in texts if text in layers] == layers[::3]


def test_long_names_keep_their_ends(tmp_path):
    layers = [f"backbone.features.stage.blocks.{k}.attention.projection" for k in range(3)]
    texts = words(draw_layer_curve({"trained": sweep(layers=layers)}, tmp_path / "curve.svg"))
    shown = [text for text in texts if text.startswith("…")]
    assert len(set(shown)) == 3
    assert all(
        len(text) == 34 and layer.endswith(text[1:]) for text, layer in zip(shown, layers, strict=True)
    )


def test_the_same_results_give_the_same_bytes(tmp_path):
    for ending in ("svg", "png"):
        files = [draw_layer_curve({"t": sweep()}, tmp_path / f"{k}.{ending}") for k in range(2)]
        assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({}, "nothing to draw"),
        ({"a": [result()], "b": [result(seed=3)]}, "2 different splits"),
        ({"a": [result()], "b": [result(mapping="pls")]}, "2 different mappings"),
        ({str(k): [result()] for k in range(8)}, "at most 7 curves"),
    ],
)
def test_what_cannot_stand_in_one_picture_is_refused_and_leaves_no_file(tmp_path, groups, message):
    with pytest.raises(InputError, match=message):
        draw_layer_curve(groups, tmp_path / "curve.png")
    assert list(tmp_path.iterdir()) == []


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.png or \.svg"):
        draw_layer_curve({"a": [result()]}, tmp_path / "curve.jpeg")


# --- lambda by layer


def choice(grid, errors, of_mean):
    """A choice with given errors (L, q)."""
    errors, of_mean = np.array(errors, dtype=float), np.array(of_mean, dtype=float)
    best = np.nanargmin(errors, axis=0)
    grid = np.array(grid, dtype=float)
    lowest = errors[best, np.arange(errors.shape[1])]
    return LambdaChoice(grid[best], np.zeros(len(best), dtype=bool), grid, errors, of_mean, lowest)


def two_layers():
    """The shallow one is better under small lambdas, the deep one under large lambdas."""
    grid = [1, 100, 10_000]
    shallow = [choice(grid, [[1.2, 0.6], [1.4, 0.7], [1.8, 0.9]], [2, 1]) for _ in range(2)]
    deep = [
        choice(grid, [[1.6, 0.9], [1.0, 0.7], [0.8, 0.4]], [2, 1]),
        choice(grid, [[1.6, 0.7], [1.0, 0.5], [0.8, 0.4]], [2, 1]),
    ]
    return {"shallow": shallow, "deep": deep}


def test_errors_are_relative_to_the_mean_predictor_and_averaged():
    table = lambda_by_layer(two_layers())
    assert table.layers == ["shallow", "deep"]
    np.testing.assert_allclose(table.lambdas, [1, 100, 10_000])
    np.testing.assert_allclose(table.error, [[0.6, 0.7, 0.9], [0.8, 0.55, 0.4]])
    np.testing.assert_array_equal(table.best, [0, 2])


def test_a_cap_on_lambda_changes_the_best_layer():
    table = lambda_by_layer(two_layers())
    free, capped = best_layer_under_cap(table), best_layer_under_cap(table, 99)
    assert (free.layer, free.value, free.error) == ("deep", pytest.approx(1e4), pytest.approx(0.4))
    assert (capped.layer, capped.value, capped.error) == ("shallow", pytest.approx(1), pytest.approx(0.6))
    assert best_layer_under_cap(table, 100).layer == "deep"  # a lambda on the cap is allowed
    assert best_layer_under_cap(table, 100).error == pytest.approx(0.55)
    with pytest.raises(InputError, match=r"no lambda up to 0.5 was tried: the smallest is 1"):
        best_layer_under_cap(table, 0.5)


def test_grids_of_different_layers_stand_side_by_side():
    choices = {
        "low": [choice([1, 10], [[0.5], [0.6]], [1])],
        "high": [choice([5, 50, 500], [[0.9], [0.4], [0.7]], [1])],
    }
    table = lambda_by_layer(choices)
    np.testing.assert_allclose(table.lambdas, [1, 5, 10, 50, 500])
    nan = np.nan
    np.testing.assert_allclose(table.error, [[0.5, nan, 0.6, nan, nan], [nan, 0.9, nan, 0.4, 0.7]])
    assert best_layer_under_cap(table).n_compared == 2
    assert best_layer_under_cap(table, 2).n_compared == 1


def test_nothing_to_gather_is_refused():
    with pytest.raises(InputError, match="at least one layer"):
        lambda_by_layer({})


def test_heat_map_names_layers_caps_and_the_best_layer_under_each(tmp_path):
    path = draw_lambda_heat_map(
        lambda_by_layer(two_layers()), result(simulated=True), tmp_path / "map.svg", caps=[50, 1000]
    )
    texts = words(path)
    assert {"shallow", "deep", "λ ≤ 50", "λ ≤ 10³", "no cap: deep", "λ ≤ 50: shallow"} <= set(texts)
    assert any("simulated recording planted" in text for text in texts)
    caption = path.with_suffix(".txt").read_text(encoding="utf-8")
    assert "Best layer, no cap: deep (error 0.400 at λ = 1e+04)." in caption
    assert "Best layer, λ ≤ 50: shallow (error 0.600 at λ = 1)." in caption
    assert "Simulated responses" in caption


def test_heat_map_says_where_layers_could_not_be_compared(tmp_path):
    table = LambdaByLayer(["a", "b"], np.array([1.0, 10.0]), np.array([[0.5, 0.4], [np.nan, 0.3]]))
    path = draw_lambda_heat_map(table, result(), tmp_path / "map.svg", caps=[2])
    assert any("(of 1 of 2 layers)" in text for text in words(path))
    assert "only 1 layers were tried there" in path.with_suffix(".txt").read_text(encoding="utf-8")


def test_heat_map_of_many_layers_is_whole(tmp_path):
    grid = np.logspace(-2, 8, 31)
    error = 0.6 + 0.03 * (np.log10(grid) - np.linspace(5, 2, 20)[:, None]) ** 2
    path = draw_lambda_heat_map(
        LambdaByLayer(LAYERS, grid, error), result(), tmp_path / "map.png", [1e4, 1e3]
    )
    assert has_ink_and_nothing_is_cut(path)


# --- mappings by layer


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


def test_mappings_have_a_panel_each_and_their_agreement_is_printed(tmp_path):
    peaks = {"ridge": 13, "pls": 12, "rsa": 19, "cka": 16}
    groups = {name: sweep(peak=peak, mapping=name) for name, peak in peaks.items()}
    path = draw_mappings_by_layer(groups, tmp_path / "mappings.svg")
    texts = words(path)
    assert set(LAYERS) <= set(texts)
    assert set(peaks) <= set(texts)
    caption = path.with_suffix(".txt").read_text(encoding="utf-8")
    values = {name: np.array([r.scores.primary.value for r in group]) for name, group in groups.items()}
    signs = {name: np.sign(v[:, None] - v)[np.triu_indices(20, 1)] for name, v in values.items()}
    for one, other in pairwise(peaks):
        x, y = signs[one], signs[other]
        tau = (x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum())  # Kendall's τ-b, from its definition
        assert f"{one} and {other}: Kendall τ {tau:.2f}" in caption
        assert f"{tau:.2f}" in texts
    assert f"rsa: {LAYERS[19]}" in caption
    assert "10 'brainscore' splits by object_name, seed 17; all stimuli at once, seed 17" in caption


def test_mappings_of_different_recordings_are_refused(tmp_path):
    other = result(mapping="pls")
    other = other.model_copy(update={"recording": other.recording.model_copy(update={"sha256": "f" * 64})})
    with pytest.raises(InputError, match="2 different recordings"):
        draw_mappings_by_layer({"ridge": [result()], "pls": [other]}, tmp_path / "mappings.png")


# --- neuroid by neuroid


def neuroids(r, reliability):
    return [
        Neuroid.model_construct(neuroid_id=f"n{j}", pearson_r=r[j], reliability=reliability[j])
        for j in range(len(r))
    ]


def two_results():
    r = np.linspace(0.1, 0.7, Q)
    reliability = [*np.linspace(0.3, 0.9, Q - 2), -0.1, None]
    one = result(layer="deep", value=0.45, per_neuroid=neuroids([*(r[:-1] + 0.05), None], reliability))
    other = result(layer="shallow", value=0.4, per_neuroid=neuroids(list(r), reliability)[::-1])
    return one, other


def held_outs(shift=0.5):
    rng = np.random.default_rng(0)
    y = rng.normal(size=(60, Q))
    ids, animals = np.array([f"im{i}" for i in range(60)]), np.resize(["chabo", "tito"], Q)
    names = np.array([f"n{j}" for j in range(Q)])
    noise = rng.normal(size=y.shape)
    return tuple(HeldOut([ids], [y], [y + size * noise], names, animals) for size in (1.0, 1.0 + shift))


def test_scatter_shows_animals_ceilings_and_the_paired_difference(tmp_path):
    path = draw_neuroid_scatter(*two_results(), tmp_path / "scatter.svg", held_outs())
    texts = words(path)
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


def test_scatter_without_predictions_has_no_interval(tmp_path):
    path = draw_neuroid_scatter(*two_results(), tmp_path / "scatter.svg")
    texts = words(path)
    assert any("median r 0.450 and 0.400" in text for text in texts)
    assert not any("paired" in text for text in texts)
    assert f"neuroid ({Q})" in texts


def test_scatter_png_is_whole(tmp_path):
    assert has_ink_and_nothing_is_cut(draw_neuroid_scatter(*two_results(), tmp_path / "s.png", held_outs()))


def test_scatter_names_the_mapping_where_that_is_what_differs(tmp_path):
    one, _ = two_results()
    other = result(layer="deep", value=0.4, mapping="pls", per_neuroid=one.per_neuroid)
    texts = words(draw_neuroid_scatter(one, other, tmp_path / "scatter.svg"))
    assert {"r of mynet:deep (ridge)", "r of mynet:deep (pls)"} <= set(texts)


def test_scatter_refuses_what_has_no_common_neuroids(tmp_path):
    one, other = two_results()
    with pytest.raises(InputError, match="no scores of single neuroids"):
        draw_neuroid_scatter(one, result(mapping="cka"), tmp_path / "s.png")
    fewer = other.model_copy(update={"per_neuroid": other.per_neuroid[1:]})
    with pytest.raises(InputError, match="different neuroids"):
        draw_neuroid_scatter(one, fewer, tmp_path / "s.png")
