"""Sweeps on the planted recording: one pass, resuming, ties, failures."""

import json
import os
import subprocess
import sys
import time
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from itprobe.api import plan_requests, score_requests
from itprobe.benchmarks import PredictivityBenchmark
from itprobe.errors import InputError
from itprobe.leaderboard import load_held_out, load_result
from itprobe.metrics import paired_difference
from itprobe.metrics.store import GramStore
from itprobe.sweep_command import add_sweep
from itprobe.sweeping import Settings, carry_out, read_models, sweep

OPTIONS = {"mean": (0, 0, 0), "std": (1, 1, 1), "size": 32}
FOUR = ["first", "second", "third", "fourth"]


class Counting(torch.nn.Module):
    """Four layers, and a count of the images that any copy has seen."""

    images = 0

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Conv2d(3, 6, 3, stride=4)
        self.second = torch.nn.Conv2d(6, 6, 3)
        self.third = torch.nn.Conv2d(6, 6, 3)
        self.fourth = torch.nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        type(self).images += len(x)
        return self.fourth(self.third(torch.relu(self.second(torch.relu(self.first(x)))))).flatten(1)


@pytest.fixture
def own_store(monkeypatch, tmp_path):
    """A Gram store that no other test has filled."""
    monkeypatch.setenv("ITPROBE_HOME", str(tmp_path / "home"))


def scores_of(out: Path) -> dict[str, str]:
    """Scores and neuroids of each result file, as bytes of JSON."""
    return {
        path.name: json.dumps([content["scores"], content["per_neuroid"], content["warnings"]])
        for path in sorted((out / "results").glob("[!.]*.json"))
        for content in [json.loads(path.read_text())]
    }


def command(*arguments):
    """Run the command as the command line does."""
    parser = ArgumentParser()
    add_sweep(parser.add_subparsers(required=True))
    options = parser.parse_args(["sweep", *map(str, arguments)])
    options.run(options)


def test_all_mappings_of_a_model_take_one_pass_that_is_never_stored(planted_file):
    Counting.images = 0
    (request,) = plan_requests([Counting()], FOUR, preprocessing=OPTIONS)
    dry_run = Counting.images
    Counting.images = 0
    mappings = ["ridge", "pls", "banded", "rsa", "cka"]
    dataset = sweep(Counting(), planted_file, layers=FOUR, mappings=mappings, preprocessing=OPTIONS)
    assert Counting.images == dry_run + 120
    assert dataset["r"].dims == ("model", "layer", "mapping", "split", "neuroid")
    assert dict(dataset["r"].sizes) == {"model": 1, "layer": 4, "mapping": 5, "split": 10, "neuroid": 12}
    assert dataset["depth"].values.tolist() == [[0, 1, 2, 3]]
    for name in mappings[:2]:  # the same as one by one
        for scored in score_requests([request], f"{planted_file}#IT-{name}"):
            own = dataset.sel(layer=scored.result.candidate.layer, mapping=name).isel(model=0)
            assert float(own["score"]) == scored.result.scores.pearson_r.median
            np.testing.assert_array_equal(
                own["r"].mean("split"), [neuroid.pearson_r for neuroid in scored.result.per_neuroid]
            )
    np.testing.assert_array_equal(
        dataset["ceiling"], [neuroid.reliability for neuroid in scored.result.per_neuroid]
    )
    assert np.isfinite(dataset["lambda"].sel(mapping="ridge")).any()
    assert np.isnan(dataset["r"].sel(mapping=["rsa", "cka"])).all()
    assert np.isfinite(dataset["similarity"].sel(mapping=["rsa", "cka"])).all()
    assert (dataset["tied_with_best"].sel(mapping="ridge") >= 0).all()


def test_files_say_what_the_dataset_says(planted_file, tmp_path):
    models = ["object_onehot", "pixels"]
    outcome = carry_out(models, planted_file, Settings(mappings=["ridge", "cka"]), tmp_path / "out")
    with xr.open_dataset(tmp_path / "out" / "sweep.nc") as written:
        xr.testing.assert_identical(written.load(), outcome.dataset)
    table = pd.read_csv(tmp_path / "out" / "sweep.csv")
    assert table[["model", "mapping"]].values.tolist() == [[m, k] for m in models for k in ("ridge", "cka")]
    np.testing.assert_allclose(table["score"], outcome.table["score"])
    dataset = outcome.dataset
    assert dataset["layer"].values.tolist() == models  # a model lacks the other's layer
    assert np.isnan(dataset["r"].sel(model="pixels", layer="object_onehot")).all()
    assert dataset.attrs["region"] == "IT"
    path = tmp_path / "out" / "results" / outcome.results[0].predictions.file
    assert path.is_file()


def test_ties_are_those_of_the_paired_difference(visible_file, tmp_path):
    """Means over sixteenths, over quarters (which responses are made of), and over the whole image."""
    out = tmp_path / "out"
    pools = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.AvgPool2d(2), torch.nn.AvgPool2d(2))
    settings = Settings(layers=["0", "1", "2"], preprocessing=OPTIONS)
    outcome = carry_out([pools], visible_file, settings, out)
    results = [result for result in outcome.results if result]
    best = max(results, key=lambda result: result.scores.pearson_r.median)
    ties = outcome.table.set_index("layer")["tied_with_best"]
    for result in results:
        held = [load_held_out(one, out / "results") for one in (best, result)]
        assert ties[result.candidate.layer] == (paired_difference(*held, seed=1).ci95[0] <= 0)
    assert outcome.table.set_index("layer")["best"].to_dict() == {"0": False, "1": True, "2": False}
    assert not ties["2"]


class Interrupted:
    """Raises KeyboardInterrupt in place of the k-th evaluation."""

    def __init__(self, monkeypatch, k):
        self.count, self.k, self.original = 0, k, PredictivityBenchmark.evaluate_gram
        monkeypatch.setattr(PredictivityBenchmark, "evaluate_gram", lambda *args: self(*args))

    def __call__(self, *args):
        self.count += 1
        if self.count == self.k:
            raise KeyboardInterrupt
        return self.original(*args)


@pytest.mark.parametrize("k", [1, 4, 7])
def test_interrupted_and_resumed_equals_undisturbed(visible_file, net, tmp_path, monkeypatch, k):
    settings = Settings(layers=FOUR, mappings=["ridge", "cka"])
    whole = carry_out([net, "pixels"], visible_file, settings, tmp_path / "whole")
    with monkeypatch.context() as patch:
        Interrupted(patch, k)
        with pytest.raises(KeyboardInterrupt):
            carry_out([net, "pixels"], visible_file, settings, tmp_path / "out")
    assert len(scores_of(tmp_path / "out")) == k - 1
    resumed = carry_out([net, "pixels"], visible_file, settings, tmp_path / "out")
    assert resumed.n_taken_over == k - 1
    assert scores_of(tmp_path / "out") == scores_of(tmp_path / "whole")
    xr.testing.assert_identical(resumed.dataset, whole.dataset)
    assert [path.read_bytes() for path in (tmp_path / "out").glob("*.csv")] == [
        path.read_bytes() for path in (tmp_path / "whole").glob("*.csv")
    ]


@pytest.mark.slow
def test_killed_and_resumed_equals_undisturbed(visible_file, net, tmp_path):
    settings = Settings(layers=FOUR, mappings=["ridge", "pls"])
    carry_out([net], visible_file, settings, tmp_path / "whole")
    code = (
        "import sys; from itprobe.sweeping import Settings, carry_out\n"
        f"carry_out([sys.argv[1]], sys.argv[2], Settings(layers={FOUR}, mappings=['ridge', 'pls']), sys.argv[3])"
    )
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", code, net, visible_file, str(out)], env=os.environ)
    while process.poll() is None and len(list((out / "results").glob("[!.]*.json"))) < 2:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert len(scores_of(out)) >= 2
    resumed = carry_out([net], visible_file, settings, out)
    assert resumed.n_taken_over >= 1
    assert scores_of(out) == scores_of(tmp_path / "whole")


def test_only_what_agrees_is_taken_over(planted_file, net, tmp_path):
    out = tmp_path / "out"
    settings = Settings(layers=FOUR)
    carry_out([net], planted_file, settings, out)
    assert carry_out([net], planted_file, settings, out).n_taken_over == 4
    assert carry_out([net], planted_file, Settings(layers=FOUR, resume="always"), out).n_taken_over == 0
    # more of the same goes on
    more = carry_out([net, "pixels"], planted_file, Settings(layers=FOUR, mappings=["ridge", "cka"]), out)
    assert more.n_taken_over == 4
    settings = Settings(layers=FOUR, mappings=["ridge", "cka"])
    first, second, third, *_ = (
        path
        for path in (out / "results").glob("[!.]*.json")
        if load_result(path).mapping.name == "ridge" and load_result(path).candidate.id.startswith(net)
    )
    (out / "results" / load_result(first).predictions.file).write_bytes(b"damaged")
    second.with_suffix(".splits.nc").unlink()
    older = json.loads(third.read_text())
    older["provenance"]["itprobe"] = "0.0.0"
    third.write_text(json.dumps(older))
    with pytest.warns(UserWarning, match="scored again"):
        again = carry_out([net, "pixels"], planted_file, settings, out)
    assert again.n_taken_over == 10 - 3
    path = Path(net.partition("::")[0])
    path.write_text(path.read_text().replace("relu", "tanh"))
    assert carry_out([net, "pixels"], planted_file, settings, out).n_taken_over == 2


def test_a_folder_of_another_sweep_is_refused(planted_file, net, tmp_path):
    out = tmp_path / "out"
    carry_out([net], planted_file, Settings(layers=["first", "second"]), out)
    for other in (Settings(layers=["first"]), Settings(layers=["first", "second"], seed=2)):
        with pytest.raises(InputError, match=r"holds another sweep: its (layers|seed)"):
            carry_out([net], planted_file, other, out)
    with pytest.raises(InputError, match="holds another sweep: its models"):
        carry_out(["pixels"], planted_file, Settings(layers=["first", "second"]), out)
    with pytest.raises(InputError, match="results of a sweep already"):
        carry_out([net], planted_file, Settings(layers=["first", "second"], resume="never"), out)
    before = {path.name for path in (out / "results").iterdir()}
    assert carry_out(["pixels"], planted_file, Settings(resume="always"), out).n_taken_over == 0
    assert before < {path.name for path in (out / "results").iterdir()}  # nothing is lost
    assert carry_out(["pixels"], planted_file, Settings(), out).n_taken_over == 1
    (out / "sweep.json").write_text("[")
    with pytest.raises(InputError, match=r"sweep\.json"):
        carry_out([net], planted_file, Settings(layers=["first", "second"]), out)


def test_a_misspelt_model_does_not_claim_the_folder(planted_file, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="nothing was scored"):
        carry_out(["pixls"], planted_file, Settings(), out)
    assert carry_out(["pixels", "object_onehott"], planted_file, Settings(), out).failures
    again = carry_out(["pixels", "object_onehot"], planted_file, Settings(), out)
    assert again.n_taken_over == 1
    assert not again.failures


def test_only_cache_runs_no_network(planted_file, tmp_path, own_store, monkeypatch):
    model = "efficientnet_lite0@random"
    layers = [f"_blocks.{k}~pool1" for k in (0, 1, 2)]
    carry_out([model], planted_file, Settings(layers=layers[:2]), tmp_path / "first")
    assert len(GramStore().sizes()) == 2
    monkeypatch.setattr("itprobe.models.candidate.NetworkCandidate._batches", None)
    settings = Settings(layers=layers, mappings=["cka"], resume="only-cache")
    outcome = carry_out([model, "object_onehot"], planted_file, settings, tmp_path / "out")
    assert outcome.skipped == {model: layers[2:]}
    assert outcome.table["status"].tolist() == ["scored", "scored", "skipped", "scored"]
    with pytest.raises(InputError, match="no Gram matrix of the 1 layers is stored"):
        carry_out([model], planted_file, Settings(layers=layers[2:], resume="only-cache"))


def test_a_second_mapping_costs_no_pass(planted_file, tmp_path, own_store, monkeypatch):
    model, settings = "efficientnet_lite0@random", {"layers": ["_blocks.0~pool1", "_blocks.1~pool1"]}
    carry_out([model], planted_file, Settings(**settings), tmp_path / "out")
    monkeypatch.setattr("itprobe.models.candidate.NetworkCandidate._batches", None)
    outcome = carry_out(
        [model], planted_file, Settings(**settings, mappings=["ridge", "pls"]), tmp_path / "out"
    )
    assert outcome.n_taken_over == 2
    assert len(outcome.results) == 4


def test_seeds_of_random_weights_are_models_of_their_own(visible_file, net):
    models = [f"{net}@random:first", "pixels"]
    outcome = carry_out(models, visible_file, Settings(seeds_of_random=3))
    assert outcome.dataset["model"].values.tolist() == [*(f"{net}@random-{k}" for k in range(3)), "pixels"]
    assert outcome.dataset["baseline"].values.tolist() == [*[f"{net}@random"] * 3, ""]
    assert outcome.table["score"].nunique() == 4


def test_a_failing_model_is_reported_and_the_others_go_on(planted_file, net, tmp_path, capsys):
    listed = tmp_path / "models.txt"
    listed.write_text(f"# a zoo\n{net}:first  # good\n\n{net}@random-1:fist\ntorchvision/resnet5\n@\n")
    assert read_models(listed) == [f"{net}:first", f"{net}@random-1:fist", "torchvision/resnet5", "@"]
    out = tmp_path / "out"
    with pytest.raises(InputError, match="3 of the sweep's parts failed"):
        command("pixels", "--models", listed, "--recording", planted_file, "--out", out)
    printed = capsys.readouterr()
    failed = [line for line in printed.err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 3
    assert "mean first" in failed[0]
    assert "resnet50" in failed[1]
    assert f"{net}\n" in printed.out
    assert f"2 results: {out}/results" in printed.out
    with xr.open_dataset(out / "sweep.nc") as dataset:
        assert len(json.loads(dataset.attrs["failures"])) == 3


def test_bad_input_is_one_line(planted_file, net, tmp_path):
    for models, settings, message in (
        ([f"{net}:fist"], {}, "nothing was scored: .*mean first"),
        (["pixels", "pixels"], {}, "given more than once: pixels"),
        ([f"{net}@random", f"{net}@random-0"], {"seeds_of_random": 2}, "given more than once"),
        ([], {}, "no model"),
        (["pixels"], {"mappings": ["rigde"]}, "mean ridge"),
        (["pixels"], {"split": "corse"}, "mean course"),
        (["pixels"], {"resume": "only-missin"}, "mean only-missing"),
        (["pixels"], {"region": "V4"}, "no neuroid of region"),
    ):
        with pytest.raises(InputError, match=message) as raised:
            carry_out(models, planted_file, Settings(**settings))
        assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="cannot read the list"):
        read_models(tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(InputError, match="names no model"):
        read_models(tmp_path / "empty.txt")
    twins = [torch.nn.Sequential(torch.nn.AvgPool2d(8)) for _ in range(2)]
    outcome = carry_out(twins, planted_file, Settings(layers=["0"], preprocessing=OPTIONS))
    assert "weights of another model" in next(iter(outcome.failures.values()))
