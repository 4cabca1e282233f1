"""Error by layer and lambda: values by hand, and the picture that names them."""

import numpy as np
import pytest

from itprobe.errors import InputError
from itprobe.leaderboard.diagnostics_figure import draw_lambda_curve
from itprobe.leaderboard.lambda_figure import (
    LambdaByLayer,
    best_layer_under_cap,
    draw_lambda_heat_map,
    lambda_by_layer,
)
from itprobe.metrics.diagnostics import lambda_curve
from itprobe.metrics.lambda_search import LambdaChoice


def choice(grid, errors, of_mean):
    """A choice with given errors (L, q)."""
    errors, of_mean = np.array(errors, dtype=float), np.array(of_mean, dtype=float)
    best = np.nanargmin(errors, axis=0)
    grid = np.array(grid, dtype=float)
    lowest = errors[best, np.arange(errors.shape[1])]
    return LambdaChoice(grid[best], np.zeros(len(best), dtype=bool), grid, errors, of_mean, lowest)


def two_layers():
    """Curves; the shallow one is better under small lambdas, the deep one under large lambdas."""
    grid = [1, 100, 10_000]
    shallow = [choice(grid, [[1.2, 0.6], [1.4, 0.7], [1.8, 0.9]], [2, 1]) for _ in range(2)]
    deep = [
        choice(grid, [[1.6, 0.9], [1.0, 0.7], [0.8, 0.4]], [2, 1]),
        choice(grid, [[1.6, 0.7], [1.0, 0.5], [0.8, 0.4]], [2, 1]),
    ]
    return {"shallow": lambda_curve(shallow), "deep": lambda_curve(deep)}


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
    curves = {
        "low": lambda_curve([choice([1, 10], [[0.5], [0.6]], [1])]),
        "high": lambda_curve([choice([5, 50, 500], [[0.9], [0.4], [0.7]], [1])]),
    }
    table = lambda_by_layer(curves)
    np.testing.assert_allclose(table.lambdas, [1, 5, 10, 50, 500])
    nan = np.nan
    np.testing.assert_allclose(table.error, [[0.5, nan, 0.6, nan, nan], [nan, 0.9, nan, 0.4, 0.7]])
    assert best_layer_under_cap(table).n_compared == 2
    assert best_layer_under_cap(table, 2).n_compared == 1


def test_nothing_to_gather_is_refused():
    with pytest.raises(InputError, match="at least one layer"):
        lambda_by_layer({})


def test_heat_map_names_layers_caps_and_the_best_layer_under_each(made, drawn, tmp_path):
    path = draw_lambda_heat_map(
        lambda_by_layer(two_layers()), made.result(simulated=True), tmp_path / "map.svg", caps=[50, 1000]
    )
    texts = drawn.words(path)
    assert {"shallow", "deep", "λ ≤ 50", "λ ≤ 10³", "no cap: deep", "λ ≤ 50: shallow"} <= set(texts)
    assert any("simulated recording planted" in text for text in texts)
    caption = path.with_suffix(".txt").read_text(encoding="utf-8")
    assert "Best layer, no cap: deep (error 0.400 at λ = 1e+04)." in caption
    assert "Best layer, λ ≤ 50: shallow (error 0.600 at λ = 1)." in caption
    assert "Simulated responses" in caption


def test_heat_map_says_where_layers_could_not_be_compared(made, drawn, tmp_path):
    table = LambdaByLayer(["a", "b"], np.array([1.0, 10.0]), np.array([[0.5, 0.4], [np.nan, 0.3]]))
    path = draw_lambda_heat_map(table, made.result(), tmp_path / "map.svg", caps=[2])
    assert any("(of 1 of 2 layers)" in text for text in drawn.words(path))
    assert "only 1 layers were tried there" in path.with_suffix(".txt").read_text(encoding="utf-8")


def test_heat_map_of_many_layers_is_whole(made, drawn, tmp_path):
    grid = np.logspace(-2, 8, 31)
    error = 0.6 + 0.03 * (np.log10(grid) - np.linspace(5, 2, 20)[:, None]) ** 2
    path = draw_lambda_heat_map(
        LambdaByLayer(made.layers, grid, error), made.result(), tmp_path / "map.png", [1e4, 1e3]
    )
    assert drawn.whole(path)


def test_a_cap_below_all_that_was_tried_has_no_best_layer(made, drawn, tmp_path):
    path = draw_lambda_heat_map(
        lambda_by_layer(two_layers()), made.result(), tmp_path / "map.svg", [0.01, 50, 1e6]
    )
    texts = drawn.words(path)
    assert {"λ ≤ 10⁻²", "λ ≤ 50: shallow", "λ ≤ 10⁶: deep"} <= set(texts)
    assert not any(text.startswith("λ ≤ 10⁻²:") for text in texts)
    caption = path.with_suffix(".txt").read_text(encoding="utf-8")
    assert "Nothing as small as λ ≤ 10⁻² was tried." in caption
    assert caption.count("Best layer") == 3


def test_curve_of_one_layer_marks_the_edges_and_says_what_made_it(made, drawn, tmp_path):
    grid = np.logspace(-2, 4, 19)
    errors = 1 - 0.4 * np.exp(-((np.log10(grid)[:, None] - np.linspace(-2, 2, made.q)) ** 2) / 3)
    curve = lambda_curve([choice(grid, errors, np.ones(made.q))] * 2)
    path = draw_lambda_curve(curve, made.result(simulated=True), tmp_path / "curve.svg")
    texts = drawn.words(path)
    assert texts.count("grid's edge") == 2
    assert {"λ", "chosen", "mynet:layer1", "predicting the mean response"} <= set(texts)
    caption = path.with_suffix(".txt").read_text(encoding="utf-8")
    assert caption.startswith("mynet:layer1. Error under each λ")
    assert "simulated recording planted, region IT, 640 stimuli" in caption
    assert "10 'brainscore' splits by object_name, seed 17" in caption
    assert drawn.whole(path.with_suffix(".png"))
