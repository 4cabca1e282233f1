"""How figures, names and commands are written, and the geometry of the pictures."""

import math
import shlex

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from itprobe.cli import build_parser
from itprobe.leaderboard.result import Neuroid
from itprobe.leaderboard.site.charts import Axis, ceiling_scatter, histogram, layer_curve, power_of_ten, reach
from itprobe.leaderboard.site.reproduce import reproduce_command
from itprobe.leaderboard.site.words import (
    between,
    breakable,
    in_natural_order,
    number,
    page_name,
    plain,
    small,
)
from itprobe.metrics import MAPPINGS, WHOLE_SET_MAPPINGS
from itprobe.metrics.options import read_options, with_options
from itprobe.models.fitted import load_fitted


@given(st.text())
def test_plain_text_is_one_visible_line(text):
    shown = plain(text)
    assert shown.isprintable() and len(shown) <= 400
    if text.isprintable() and len(text) <= 400 and not any(map(str.isspace, text.replace(" ", ""))):
        assert shown == text


@given(st.text())
def test_breakable_text_is_escaped_and_whole(text):
    made = breakable(text)
    assert isinstance(made, Markup)
    pieces = made.split("<wbr>")
    assert not any("<" in piece or ">" in piece for piece in pieces)
    assert Markup("").join(pieces).unescape() == plain(text)


def test_text_that_turns_its_line_round_is_shown_as_such():
    assert plain("safe\u202egnp.exe\x00\ud800") == "safe\ufffdgnp.exe\ufffd\ufffd"
    assert len(plain("x" * 10_000)) == 400


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.5, "0.500"),
        (-0.0123, "−0.012"),
        (-0.0001, "0.000"),
        (1e300, "1.00e+300"),
        (0.0, "0.000"),
    ],
)
def test_scores(value, text):
    assert number(value) == text


def test_figures_of_any_size():
    assert [small(value) for value in (None, 0.0123, 76543.2, 2.16e9, -1.99e-5, 8)] == [
        "–",
        "0.0123",
        "76,500",
        "2.16e9",
        "−1.99e−5",
        "8",
    ]
    assert between((-0.1, 0.25)) == "−0.100 to 0.250"
    assert [power_of_ten(exponent) for exponent in (5, -3, 4.5, 4.9999999)] == ["10⁵", "10⁻³", "3.2e4", "10⁵"]


@given(st.text(), st.text())
def test_page_names_are_safe_and_of_one_thing(one, other):
    name = page_name(one, "x")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") and 10 <= len(name) <= 59
    assert (page_name(other, "x") == name) == (one == other)


def test_layers_come_in_the_order_of_their_numbers():
    layers = ["layer10", "layer2.1", "layer2", "9" * 5000, "²", "layer1"]
    in_order = [name for name in sorted(layers, key=in_natural_order) if name.startswith("layer")]
    assert in_order == ["layer1", "layer2", "layer2.1", "layer10"]


@given(st.floats(-1, 1), st.floats(0.01, 2))
def test_ticks_are_round_and_on_their_axis(low, width):
    axis = Axis(low, low + width, 10, 200)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 8
    gaps = np.diff([tick.at for tick in ticks])
    assert (gaps > 0).all() and gaps.max() - gaps.min() < 0.3
    for tick in ticks:
        assert axis.at(float(tick.label.replace("−", "-"))) == pytest.approx(tick.at, abs=0.2)


def test_no_figure_throws_a_picture_off():
    low, high = reach([1e300, -5.0, None, float("nan"), 0.3])
    assert -1.2 < low < high < 1.7
    neuroids = [neuroid(1e300, 1e300), neuroid(-1e300, -3.0), neuroid(None, 0.5), neuroid(0.2, None)]
    drawn = ceiling_scatter(neuroids)
    assert drawn.n_left_out == 2
    assert all(0 <= value <= 330 for point in drawn.points for value in (point.x, point.y))
    assert histogram([float("nan"), math.inf], number) is None
    assert histogram([0.5], number).bars[0].count == 1
    assert sum(bar.count for bar in histogram([-1e300, 1e300, 0.0], number).bars) == 3


def neuroid(r, rho):
    nothing = dict.fromkeys(("explained_variance", "r2_er", "feve", "alpha", "shares"))
    return Neuroid.model_construct(
        neuroid_id="n", pearson_r=r, reliability=rho, mean_predictor_splits=0, **nothing
    )


def test_scatter_puts_r_against_its_ceiling():
    drawn = ceiling_scatter([neuroid(0.8, 0.64), neuroid(0.4, 0.64), neuroid(0.1, -0.2)])
    x0, y0, x1, y1 = drawn.diagonal
    on, below, unreliable = drawn.points
    assert (on.y - y0) / (y1 - y0) == pytest.approx((on.x - x0) / (x1 - x0), abs=1e-3)
    assert below.x == on.x and below.y > on.y  # y points down
    assert unreliable.x == x0


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60))
def test_histograms_count_each_value_once(values):
    drawn = histogram(values, number)
    assert sum(bar.count for bar in drawn.bars) == len(values)
    assert len(drawn.bars) <= 16


def test_curves_follow_the_layers_and_pooling_has_its_own_line():
    layers = ["b10", "b2", "b1", "b2~pool4", "b10~pool4", "none"]
    curve = layer_curve(layers, [0.5, 0.2, 0.1, 0.25, 0.4, None], [(0.4, 0.6)] + [None] * 5, 0.9)
    whole, pooled = curve.lines
    assert [tick.label for tick in curve.x_ticks] == ["b1", "b2", "b10"]
    assert [point.y for point in whole.points] == sorted((point.y for point in whole.points), reverse=True)
    assert pooled.label == "pool4" and [p.x for p in pooled.points] == [p.x for p in whole.points][1:]
    assert curve.ceiling < min(point.y for point in whole.points)
    assert layer_curve(["only"], [0.5], [None], None) is None


def parsed(command):
    words = shlex.split(command)
    assert words[0] == "itprobe"
    return build_parser().parse_args(words[1:])


@pytest.mark.parametrize(
    ("mapping", "options"),
    [
        ("ridge", {}),
        ("ridge", {"folds": "5", "per_neuroid": "false"}),
        ("ridge", {"lambdas": "1,10.5,1000"}),
        ("pcr", {"n_components": "50"}),
        ("pls", {"n_components": "10"}),
        ("rsa", {"distance": "euclidean", "n_draws": "50"}),
        ("cka", {"unbiased": "false"}),
    ],
)
def test_commands_give_the_parameters_back(planted_site, mapping, options):
    kind = {**MAPPINGS, **WHOLE_SET_MAPPINGS}[mapping]
    made = planted_site.result("net:layer1")
    params = with_options(kind, options).parameters()
    mapped = made.mapping.model_copy(update={"name": mapping, "params": params})
    named = made.benchmark.model_copy(update={"id": f"simulated_small.IT-{mapping}"})
    given = parsed(reproduce_command(made.model_copy(update={"mapping": mapped, "benchmark": named})))
    assert given.models == ["net:layer1"] and given.seed == 1
    assert with_options(kind, read_options(given.set)).parameters() == params


def test_commands_of_fitted_candidates_give_their_parameters_back(planted_site):
    candidate = load_fitted("convnet", "cpu", 1, {"epochs": "3", "widths": "8,16,32", "side": "48"})
    made = planted_site.result("convnet", track="fitted")
    mapped = made.mapping.model_copy(
        update={"name": "fitted", "params": {**candidate.parameters(), "widths": [8, 16, 32]}}
    )
    named = made.benchmark.model_copy(update={"id": "simulated_small.IT-fitted.course"})
    given = parsed(reproduce_command(made.model_copy(update={"mapping": mapped, "benchmark": named})))
    assert load_fitted("convnet", "cpu", 1, read_options(given.set)).parameters() == candidate.parameters()


@pytest.mark.parametrize("name", ["a b; rm -rf ~:l$(x)", "--results=/etc", "it's", "`id`", "-x"])
def test_commands_are_quoted(planted_site, name):
    made = planted_site.result("x:y")
    candidate = made.candidate.model_copy(update={"id": name})
    given = parsed(reproduce_command(made.model_copy(update={"candidate": candidate})))
    assert given.models == [name]
    assert given.benchmark == made.benchmark.id


@pytest.mark.parametrize(
    "change",
    [
        {"candidate": {"id": "two\nlines"}},
        {"benchmark": {"id": "no benchmark"}},
        {"benchmark": {"id": "$(id).nc#IT-teapot"}},
        {"mapping": {"params": {"lambda_grid": "mine"}}},
        {"mapping": {"params": {"lambda_grid": [1e400, "x"], "lambda_selection": {"a": []}}}},
        {"mapping": {"name": "fitted", "params": {}}, "candidate": {"id": "convnet+x"}},
    ],
)
def test_where_there_is_no_command_there_is_none(planted_site, change):
    made = planted_site.result("net:layer1")
    parts = {name: getattr(made, name).model_copy(update=update) for name, update in change.items()}
    assert reproduce_command(made.model_copy(update=parts)) is None
