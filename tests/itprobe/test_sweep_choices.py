"""What a sweep says beyond its layers one by one: nested choice, layers together, parameters of mappings."""

import json
from argparse import ArgumentParser

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from scipy.stats import t as student_t

from itprobe.api import plan_requests, score_requests
from itprobe.benchmarks import load_benchmark
from itprobe.benchmarks.selection import INNER_FOLDS
from itprobe.data import save_recording
from itprobe.errors import InputError
from itprobe.leaderboard import load_held_out, load_result
from itprobe.metrics import paired_difference, resample
from itprobe.sweep_command import add_sweep
from itprobe.sweeping import Settings, carry_out, sweep
from itprobe.sweeping.fits import shares_without

OPTIONS = {"mean": (0, 0, 0), "std": (1, 1, 1), "size": 32}
FOUR = ["first", "second", "third", "fourth"]


def parsed(*arguments):
    parser = ArgumentParser()
    add_sweep(parser.add_subparsers(required=True))
    return parser.parse_args(["sweep", *map(str, arguments)])


def command(*arguments):
    """Run the command as the command line does."""
    options = parsed(*arguments)
    options.run(options)


def test_the_sweeps_choice_is_that_of_auto(visible_file, net, tmp_path):
    mappings = ["ridge", "pls", "cka"]
    outcome = carry_out([net, "pixels"], visible_file, Settings(mappings=mappings), tmp_path / "out")
    selection = pd.read_csv(tmp_path / "out" / "selection.csv")
    assert selection[["model", "mapping"]].values.tolist() == [[net, "ridge"], [net, "pls"]]
    for row in selection.to_dict("records"):
        benchmark = f"{visible_file}#IT-{row['mapping']}"
        (auto,) = score_requests(plan_requests([f"{net}:auto"], auto=True), benchmark)
        choice, pearson = auto.result.candidate.choice, auto.result.scores.pearson_r
        assert row["chosen"].split(";") == choice.chosen
        assert (row["n_layers"], row["inner_folds"]) == (4, INNER_FOLDS)
        assert row["naive_layer"] == choice.naive_layer
        figures = {"nested": (pearson.median, pearson.ci95), "naive": (choice.naive, choice.naive_ci95)}
        figures["bias"] = choice.bias, choice.bias_ci95
        own = outcome.dataset.sel(model=net, mapping=row["mapping"])
        for (name, (value, ci95)), variable in zip(
            figures.items(), ("nested_score", "naive_score", "selection_bias"), strict=True
        ):
            assert row[name] == pytest.approx(value, abs=1e-12)
            # Predictions lie in files as float32.
            assert (row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx(ci95, abs=1e-6)
            assert float(own[variable]) == pytest.approx(value, abs=1e-12)
        assert own["chosen_layer"].values.tolist() == choice.chosen
        assert (
            row["naive_layer"] == outcome.table.query("best and mapping == @row['mapping']")["layer"].iloc[0]
        )
        best = own["inner_r"].isel(split=0).idxmax("layer")
        assert str(best.values) == choice.chosen[0]
    assert np.isnan(outcome.dataset["nested_score"].sel(model="pixels")).all()
    assert np.isnan(outcome.dataset["nested_score"].sel(mapping="cka")).all()


def test_inner_scores_that_are_missing_are_added_and_change_no_score(visible_file, net, tmp_path):
    out = tmp_path / "out"

    def swept(inner_folds):
        outcome = carry_out([net], visible_file, Settings(inner_folds=inner_folds), out)
        return outcome, [
            (result.scores, result.per_neuroid) for result in outcome.results if result is not None
        ]

    plain, scores = swept(0)
    assert plain.selection.empty
    assert np.isnan(plain.dataset["inner_r"]).all()
    for inner_folds in (2, 3):
        outcome, again = swept(inner_folds)
        assert outcome.n_taken_over == 0
        assert again == scores
        assert outcome.selection["inner_folds"].tolist() == [inner_folds]
        assert swept(inner_folds)[0].n_taken_over == 4
    taken_over, _ = swept(0)
    assert taken_over.n_taken_over == 4
    assert taken_over.selection.empty
    with pytest.raises(InputError, match="two inner folds at least, not 1"):
        Settings(inner_folds=1)


class Quarter(torch.nn.Module):
    """Means of one quarter of the images, cut into 2 x 2."""

    def __init__(self, row, column):
        super().__init__()
        self.rows, self.columns = (slice(16 * k, 16 * k + 16) for k in (row, column))

    def forward(self, x):
        return torch.nn.functional.avg_pool2d(x[:, :, self.rows, self.columns], 8).flatten(1)


class Quarters(torch.nn.Module):
    """Four layers, each of which sees one quarter of the image."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = Quarter(0, 0), Quarter(0, 1), Quarter(1, 0), Quarter(1, 1)

    def forward(self, x):
        return torch.cat([self.a(x), self.b(x), self.c(x), self.d(x)], 1)


@pytest.fixture
def quarters_file(plant, tmp_path):
    """Responses to quarters a and, less, b of the images; c and d play no part."""
    assembly = plant.assembly(plant.trials(), tmp_path / "stimuli")
    stimulus_set = assembly.attrs["stimulus_set"]
    (request,) = plan_requests([Quarters()], ["a", "b"], preprocessing=OPTIONS)
    batches = [features for _, features in request.candidate.stream(stimulus_set, ["a", "b"])]
    rows = pd.Index(stimulus_set["stimulus_id"]).get_indexer(plant.ids)
    rng = np.random.default_rng(0)
    signal = 0
    for layer, size in (("a", 1.0), ("b", 0.5)):
        x = np.concatenate([batch[layer] for batch in batches])[rows]
        x = (x - x.mean(axis=0)) / x.std()
        signal = signal + size * x @ rng.normal(size=(x.shape[1], 12))
    trials = 3 * signal[:, None] + 2 * rng.normal(size=(120, 6, 12))
    save_recording(plant.assembly(trials, tmp_path / "stimuli"), tmp_path / "quarters.nc")
    return str(tmp_path / "quarters.nc")


def test_layers_together_and_what_only_one_of_them_explains(quarters_file, tmp_path):
    settings = Settings(layers=list("abcd"), preprocessing=OPTIONS, combine=True, inner_folds=0)
    out = tmp_path / "out"
    outcome = carry_out([Quarters()], quarters_file, settings, out)
    table = outcome.combination.set_index(["fit", "layer"])
    unique = table.loc["without"]
    # Planted truth: a explains more than b, the others nothing.
    assert unique["unique"]["a"] > unique["unique"]["b"] > 0.05
    assert (unique["unique_low"][["a", "b"]] > 0).all()
    assert (unique["unique"][["c", "d"]].abs() < 0.02).all()
    assert (unique["unique_low"][["c", "d"]] < 0.005).all()
    everything = table.loc["all", "a,b,c,d"]
    assert everything["r"] > outcome.table["score"].max()
    assert everything["r"] > table.loc["equal", "a,b,c,d"]["r"]
    # All layers together are what a banded benchmark makes of them.
    (scored,) = score_requests(
        plan_requests([Quarters()], ["a,b,c,d"], preprocessing=OPTIONS), f"{quarters_file}#IT-banded"
    )
    assert everything["r"] == scored.result.scores.pearson_r.median
    # Unique variance and its interval from the files.
    by_spaces = {
        ",".join(result.mapping.spaces): result
        for path in (out / "results").glob("[!.]*.json")
        for result in [load_result(path)]
        if result.mapping.params.get("shares") != [[0.25] * 4]
    }
    draws = {}
    for spaces in ("a,b,c,d", "b,c,d"):
        held_out = load_held_out(by_spaces[spaces], out / "results")
        draws[spaces] = resample(held_out, seed=1).aggregate("explained_variance", "mean")
    means = {spaces: by_spaces[spaces].scores.explained_variance.mean for spaces in draws}
    assert unique["unique"]["a"] == pytest.approx(means["a,b,c,d"] - means["b,c,d"])
    difference = draws["a,b,c,d"] - draws["b,c,d"]
    assert [unique["unique_low"]["a"], unique["unique_high"]["a"]] == pytest.approx(
        np.quantile(difference, [0.025, 0.975]).tolist()
    )
    np.testing.assert_array_equal(outcome.dataset["unique_variance"].isel(model=0), unique["unique"])
    assert float(outcome.dataset["combined_score"]) == everything["r"]
    # Neither the table of layers nor the Dataset's layers know of them, and they are taken over.
    assert outcome.table["layer"].tolist() == outcome.dataset["layer"].values.tolist() == list("abcd")
    again = carry_out([Quarters()], quarters_file, settings, out)
    assert again.n_taken_over == 4 + 6
    xr.testing.assert_identical(again.dataset, outcome.dataset)


def test_ties_of_similarities_are_those_of_paired_draws(quarters_file, tmp_path):
    settings = Settings(layers=list("abcd"), mappings=["rsa", "cka"], preprocessing=OPTIONS)
    out = tmp_path / "out"
    outcome = carry_out([Quarters()], quarters_file, settings, out)
    draws = {}
    for path in (out / "results").glob("[!.]*.json"):
        result = load_result(path)
        with xr.open_dataset(path.with_suffix(".draws.nc")) as dataset:
            draws[result.mapping.name, result.candidate.layer] = dataset["draws"].values
    table = outcome.table.set_index(["mapping", "layer"])
    for mapping in ("rsa", "cka"):
        own = table.loc[mapping]
        assert own["best"].to_dict() == {"a": True, "b": False, "c": False, "d": False}
        for layer in "bcd":
            difference = draws[mapping, "a"] - draws[mapping, layer]
            low = np.quantile(difference, 0.025)
            if mapping == "cka":  # the jackknife's interval by its formula
                n = len(difference)
                assert n == 120
                error = np.sqrt((n - 1) / n * ((difference - difference.mean()) ** 2).sum())
                low = own["score"]["a"] - own["score"][layer] - student_t.ppf(0.975, n - 1) * error
            assert own["tied_with_best"][layer] == (low <= 0)
        assert own["tied_with_best"]["d"] == False  # noqa: E712 (None is neither)
    again = carry_out([Quarters()], quarters_file, settings, out)
    assert again.n_taken_over == 8
    pd.testing.assert_frame_equal(again.table, outcome.table)
    next((out / "results").glob("*.draws.nc")).unlink()
    with pytest.warns(UserWarning, match="scored again"):
        assert carry_out([Quarters()], quarters_file, settings, out).n_taken_over == 7


def test_a_fit_without_a_layer_tries_the_shares_of_the_others():
    shares = np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.25, 0.25], [0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(shares_without(shares, 0), [[1, 0], [0.5, 0.5]])
    np.testing.assert_allclose(shares_without(shares, 2), [[1, 0], [0, 1], [2 / 3, 1 / 3], [0.5, 0.5]])


def test_few_layers_are_not_combined_and_too_many_are_refused(visible_file, net, monkeypatch):
    settings = Settings(layers=FOUR[:2], combine=True, inner_folds=0)
    outcome = carry_out([net, "pixels"], visible_file, settings)
    assert outcome.combination.empty
    assert not outcome.failures
    monkeypatch.setattr("itprobe.sweeping.fits.MOST_COMBINED", 3)
    settings = Settings(layers=FOUR, combine=True, inner_folds=0)
    outcome = carry_out([net], visible_file, settings)
    assert outcome.failures == {
        f"{net}, layers together": "4 layers cannot be combined, at most 3; name fewer with --layers"
    }
    assert len(outcome.table) == 4


def test_parameters_go_to_the_mappings_that_have_them(visible_file, net, tmp_path, capsys):
    out = tmp_path / "out"
    asked = (net, "--recording", visible_file, "--mappings", "pls,pcr,cka", "--inner-folds", 0, "--out", out)
    command(*asked, "--set", "n_components=2", "--set", "unbiased=false")
    params = {
        result.mapping.name: result.mapping.params
        for path in (out / "results").glob("[!.]*.json")
        for result in [load_result(path)]
    }
    assert params["pls"]["n_components"] == 2
    assert params["pcr"]["n_components"] == 2
    assert params["cka"]["estimator"] == "biased"
    with xr.open_dataset(out / "sweep.nc") as dataset:
        assert json.loads(dataset.attrs["parameters"]) == {"n_components": "2", "unbiased": "false"}
    bench = load_benchmark(f"{visible_file}#IT-pls")
    assert bench.fitted.n_components == 25
    with pytest.raises(InputError, match="another sweep: its parameters"):
        command(*asked)
    for text, message in (
        ("n_component=2", "unknown parameter of pls, pcr, cka: 'n_component'; did you mean n_components"),
        ("n_components=many", "n_components of pls must be a whole number"),
        ("n_components", "write NAME=VALUE"),
    ):
        with pytest.raises(InputError, match=message) as raised:
            command(*asked, "--set", text)
        assert "\n" not in str(raised.value)


def test_the_command_prints_the_choice_and_the_combination(visible_file, net, tmp_path, capsys):
    asked = (net, "--recording", visible_file, "--out", tmp_path / "out", "--combine")
    command(*asked, "--layers", "first,second,third")
    printed = capsys.readouterr().out
    assert "ridge: layer chosen inside the training part: " in printed
    assert "; naive best " in printed and "; selection bias " in printed
    assert "3 layers together (banded): r " in printed
    assert "8 results: " in printed
    dataset = sweep(net, visible_file, layers=FOUR[:3], out=tmp_path / "out")
    assert "unique_variance" not in dataset


def test_the_command_has_the_defaults_of_the_library():
    options = parsed("pixels", "--recording", "simulated_small")
    assert (options.inner_folds, options.combine) == (Settings().inner_folds, Settings().combine)
    assert Settings().inner_folds == INNER_FOLDS


def test_bias_is_the_paired_difference(visible_file, net, tmp_path):
    outcome = carry_out([net], visible_file, Settings(), tmp_path / "out")
    row = outcome.selection.iloc[0]
    (auto,) = score_requests(plan_requests([f"{net}:auto"], auto=True), f"{visible_file}#IT-ridge")
    best = next(result for result in outcome.results if result.candidate.layer == row["naive_layer"])
    difference = paired_difference(load_held_out(best, tmp_path / "out" / "results"), auto.held_out, seed=1)
    assert row["bias"] == pytest.approx(difference.value, abs=1e-6)
    assert (row["bias_low"], row["bias_high"]) == pytest.approx(difference.ci95, abs=1e-6)
