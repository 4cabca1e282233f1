"""The sweep's table for the terminal."""

import io

import numpy as np
import pandas as pd
import pytest

from itprobe.leaderboard import SIMULATED_NOTE
from itprobe.leaderboard.sweep_table import sweep_table

ATTRIBUTES = {
    "recording": "planted",
    "region": "IT",
    "n_stimuli": 120,
    "split": "brainscore",
    "seed": 1,
    "simulated": 0,
}


def row(layer, depth, score, best=False, tied=None, mapping="ridge", model="net", baseline=None):
    return {
        "model": model,
        "baseline": baseline,
        "layer": layer,
        "depth": depth,
        "mapping": mapping,
        "status": "no variance" if np.isnan(score) else "scored",
        "score": score,
        "low": score - 0.01,
        "high": score + 0.01,
        "best": best,
        "tied_with_best": tied,
        "n_features": 1000,
    }


@pytest.fixture
def table():
    rows = [row(f"block.{k}", k, 0.1 + 0.01 * k, tied=k > 17) for k in range(20)]
    rows[19] |= {"best": True}
    rows[3] |= row("block.3", 3, float("nan"))
    rows += [row(f"block.{k}", k, 0.3 - 0.01 * k, k == 0, k == 0 or None, "cka") for k in range(19)]
    return pd.DataFrame(rows)


def line_of(text, layer):
    (line,) = (line for line in text.splitlines() if f" {layer} " in line and "1,000" in line)
    return line


def test_best_and_ties_are_marked(table):
    text = sweep_table(table, ATTRIBUTES)
    assert "block.19" in text and line_of(text, "block.19").count("*") == 1
    assert line_of(text, "block.18").count("~") == 1
    assert "~" not in line_of(text, "block.17")
    assert "ridge: best block.19; set of ties: 2 of 19 layers, with block.18" in text
    assert "cka: best block.0; differences between layers are not tested under cka" in text
    assert SIMULATED_NOTE not in text
    assert max(map(len, text.splitlines())) <= 170


def test_layers_without_a_score_are_dashes(table):
    text = sweep_table(table, ATTRIBUTES)
    assert line_of(text, "block.3").split()[3] == "-"
    assert line_of(text, "block.19").endswith("-")  # not swept under cka
    assert "No variance, so no score: net:block.3." in text


def test_layers_stand_in_order_of_execution(table):
    text = sweep_table(table.iloc[::-1], ATTRIBUTES)
    places = [text.index(f" block.{k} ") for k in range(20)]
    assert places == sorted(places)


def test_the_same_from_the_csv_file(table):
    again = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    assert sweep_table(again, ATTRIBUTES) == sweep_table(table, ATTRIBUTES)


def test_seeds_of_random_weights_are_one_block():
    rows = [
        row(layer, depth, score, score == top, score == top, model=f"net@random-{k}", baseline="net@random")
        for k, scores in enumerate([(0.10, 0.20), (0.30, 0.24)])
        for top in [max(scores)]
        for (layer, depth), score in zip([("a", 0), ("b", 1)], scores, strict=True)
    ]
    text = sweep_table(pd.DataFrame(rows), ATTRIBUTES | {"simulated": 1})
    assert "net@random: 2 seeds, mean (lowest .. highest)" in text
    assert "0.200 (0.100 .. 0.300)" in line_of(text, "a")
    assert "0.220 (0.200 .. 0.240) *" in line_of(text, "b")
    assert "best layer (seeds): b (1), a (1)" in text
    assert f"SD of the best score over seeds {np.std([0.2, 0.3], ddof=1):.3f}" in text
    assert SIMULATED_NOTE in text


def choice(model="net", baseline=None, chosen=("block.19",) * 8 + ("block.18",) * 2, shift=0.0):
    figures = {"nested": 0.288 + shift, "naive": 0.29 + shift, "bias": 0.002}
    bounds = {
        f"{name}_{side}": value + sign * 0.01
        for name, value in figures.items()
        for side, sign in (("low", -1), ("high", 1))
    }
    row = {"model": model, "baseline": baseline, "mapping": "ridge", "chosen": ";".join(chosen)}
    return row | figures | bounds


def joint_fit(fit, layer, depth=None, unique=np.nan):
    figures = {"r": 0.3, "explained_variance": 0.2, "unique": unique}
    bounds = {f"{name}_{side}": value for name, value in figures.items() for side in ("low", "high")}
    row = {"model": "net", "baseline": None, "fit": fit, "layer": layer, "depth": depth, "n_layers": 2}
    return row | figures | bounds | {"seconds": 2.0}


def test_the_choice_stands_below_its_model(table):
    selection = pd.DataFrame([choice()])
    text = sweep_table(table, ATTRIBUTES, selection)
    assert (
        "ridge: layer chosen inside the training part: block.19 (8 of 10 splits), block.18 (2): "
        "r 0.288 [0.278, 0.298]; naive best 0.290 [0.280, 0.300]; selection bias 0.002 [-0.008, 0.012]"
    ) in text
    again = pd.read_csv(io.StringIO(selection.to_csv(index=False)))
    assert sweep_table(table, ATTRIBUTES, again) == text
    assert sweep_table(table, ATTRIBUTES, selection.iloc[:0]) == sweep_table(table, ATTRIBUTES)


def test_what_layers_explain_together_stands_below_their_model(table):
    rows = [joint_fit("all", "a,b"), joint_fit("equal", "a,b")]
    rows += [joint_fit("without", "a", 0, 0.05), joint_fit("without", "b", 1, -0.001)]
    text = sweep_table(table, ATTRIBUTES, None, pd.DataFrame(rows))
    assert "2 layers together (banded): r 0.300 [0.300, 0.300], explained variance 0.200" in text
    assert " 0  a        0.050 [0.050, 0.050]" in text
    assert " 1  b        -0.001 [-0.001, -0.001]" in text
    assert "(8 s)" in text


def test_choices_of_several_seeds_are_one_line():
    rows = [
        row(layer, depth, 0.2, depth == 0, depth == 0, model=f"net@random-{k}", baseline="net@random")
        for k in range(2)
        for depth, layer in enumerate("ab")
    ]
    chosen = [choice(f"net@random-{k}", "net@random", ("a", "a", "b"), 0.1 * k) for k in range(2)]
    text = sweep_table(pd.DataFrame(rows), ATTRIBUTES, pd.DataFrame(chosen))
    assert "(splits of all seeds): a (4), b (2): r 0.338 (0.288 .. 0.388)" in text


def test_nothing_scored_under_a_mapping():
    rows = [row("a", 0, float("nan")), row("b", 1, float("nan"))]
    assert "ridge: no layer has a score" in sweep_table(pd.DataFrame(rows), ATTRIBUTES)
    only = pd.DataFrame([row("a", 0, 0.4, True, True), row("b", 1, float("nan"))])
    assert "a is the only layer with a score" in sweep_table(only, ATTRIBUTES)
