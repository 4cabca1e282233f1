"""Pictures of a sweep: which there are, that resumed results give the same ones, and what older results lack."""

from argparse import ArgumentParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

from itprobe.benchmarks import PredictivityBenchmark
from itprobe.errors import InputError
from itprobe.metrics.diagnostics import lambda_curve
from itprobe.sweep_command import add_sweep
from itprobe.sweeping import Settings, carry_out
from itprobe.sweeping.pictures import contenders, draw_sweep

NET = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 6, 3, stride=4)
        self.second = torch.nn.Conv2d(6, 6, 3)
        self.flat = torch.nn.Flatten()
    def forward(self, x):
        return self.flat(self.second(torch.relu(self.first(x))) * 0 + 1)
def make():
    return Net(), {"mean": (0, 0, 0), "std": (1, 1, 1), "size": 32}
"""


@pytest.fixture
def net(tmp_path, monkeypatch):
    """A network whose last layer is the same for all images; named by a short path."""
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return "net.py::make"


def command(*arguments):
    """Run the command as the command line does."""
    parser = ArgumentParser()
    add_sweep(parser.add_subparsers(required=True))
    options = parser.parse_args(["sweep", *map(str, arguments)])
    options.run(options)


def pictures_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.suffix in (".png", ".svg")}


def test_every_kind_of_picture_is_there_and_resumed_results_give_the_same(
    planted_file, net, tmp_path, capsys
):
    """A model, seeds of its random baseline and a control, under mappings with and without lambdas."""
    out = tmp_path / "out"
    asked = [net, f"{net}@random", "pixels", "--recording", planted_file, "--layers", "first,second,flat"]
    asked += ["--mappings", "ridge,cka", "--random-seeds", "2", "--inner-folds", "0", "--out", out]
    command(*asked)
    before = pictures_of(out)
    model, random = "net.py%3A%3Amake", "net.py%3A%3Amake%40random"
    names = {
        *("layers-ridge", "layers-cka", "neuroids-ridge", "lambda-curve-ridge-pixels"),
        *(f"{kind}-ridge-{of}" for kind in ("lambda-layers", "lambda-curve") for of in (model, random)),
        *(f"mappings-{of}" for of in (model, random)),
    }
    assert set(before) == {f"{name}{ending}" for name in names for ending in (".png", ".svg")}
    captions = {name: (out / f"{name}.txt").read_text() for name in names}
    for name, caption in captions.items():
        assert min(Image.open(out / f"{name}.png").size) > 400
        assert before[f"{name}.svg"].startswith(b"<?xml")
        assert "recording planted, region IT, 120 stimuli" in caption
        assert "seed 1" in caption
    assert "the best layers of the two best models" in captions["neuroids-ridge"]
    heat_map = captions[f"lambda-layers-ridge-{random}"]
    assert "of 2 layers under each λ" in heat_map  # the constant one has no lambda
    assert f"{net}@random-0" in heat_map

    for name in before:
        (out / name).unlink()
    capsys.readouterr()
    command(*asked)
    printed = capsys.readouterr().out
    assert f"pictures: {out}/*.png ({len(names)}; each as SVG too" in printed
    results = len(list((out / "results").glob("[!.]*.json")))
    assert f"{results} results, {results} of them taken over" in printed
    assert pictures_of(out) == before


def test_pictures_of_what_a_sweep_no_longer_has_go_and_ones_own_files_stay(planted_file, tmp_path):
    out, settings = tmp_path / "out", Settings(inner_folds=0, mappings=["ridge", "cka"])
    outcome = carry_out(["pixels", "object_onehot"], planted_file, settings, out)
    drawn = draw_sweep(outcome.table, outcome.results, outcome.curves, out)
    assert out / "layers-cka.png" in drawn
    (out / "layers-notes.txt").write_text("mine")
    (out / "neuroids-of-a-paper.png").write_bytes(b"mine")
    ridge = [row == "ridge" for row in outcome.table["mapping"]]
    table, results, curves = (
        outcome.table[ridge].reset_index(drop=True),
        *(
            [one for one, kept in zip(parts, ridge, strict=True) if kept]
            for parts in (outcome.results, outcome.curves)
        ),
    )
    again = draw_sweep(table, results, curves, out)
    left = {path.name for ending in (".png", ".svg", ".txt") for path in out.glob(f"*{ending}")}
    expected = {f"{path.stem}{ending}" for path in again for ending in (".png", ".svg", ".txt")}
    assert left == expected | {"layers-notes.txt", "neuroids-of-a-paper.png"}


def test_results_of_older_versions_are_taken_over_and_not_drawn(planted_file, tmp_path):
    out, settings = tmp_path / "out", Settings(inner_folds=0)
    carry_out(["pixels", "object_onehot"], planted_file, settings, out)
    for path in (out / "results").glob("*.splits.nc"):
        with xr.open_dataset(path) as dataset:
            kept = dataset.load()
        kept.drop_vars([name for name in kept if name.startswith("curve_")]).to_netcdf(path)
    outcome = carry_out(["pixels", "object_onehot"], planted_file, settings, out)
    assert outcome.n_taken_over == 2
    assert outcome.curves == [None, None]
    pictures = draw_sweep(outcome.table, outcome.results, outcome.curves, out)
    assert [path.name for path in pictures] == ["layers-ridge.png", "neuroids-ridge.png"]


def test_caps_are_those_asked_for(planted_file, net, tmp_path):
    asked = [net, "--recording", planted_file, "--layers", "first,second", "--out", tmp_path / "out"]
    command(*asked, "--inner-folds", "0", "--lambda-caps", "0.5, 1e7")
    caption = (tmp_path / "out" / "lambda-layers-ridge-net.py%3A%3Amake.txt").read_text()
    assert "Best layer, λ ≤ 10⁷" in caption
    assert "λ ≤ 0.5" in caption
    for bad in ("1e3,x", "-1", "inf", "nan", "1,2,3,4,5,6,7"):
        with pytest.raises(InputError, match="at most 6 positive numbers") as raised:
            command(*asked, f"--lambda-caps={bad}")
        assert bad in str(raised.value)


def test_what_is_kept_is_the_curve_of_the_choices(planted_file, tmp_path, monkeypatch):
    evaluations = []
    original = PredictivityBenchmark.evaluate_gram

    def noted(*args):
        evaluations.append(original(*args))
        return evaluations[-1]

    monkeypatch.setattr(PredictivityBenchmark, "evaluate_gram", noted)
    settings = Settings(mappings=["ridge", "pcr", "pls", "cka"], inner_folds=0)
    fresh = carry_out(["object_onehot"], planted_file, settings, tmp_path / "out")
    resumed = carry_out(["object_onehot"], planted_file, settings, tmp_path / "out")
    assert resumed.n_taken_over == 4
    assert [curve is None for curve in fresh.curves] == [False, False, True, True]
    for outcome in (fresh, resumed):
        for evaluation, curve in zip(evaluations[:2], outcome.curves, strict=False):
            expected = lambda_curve(evaluation.choices)
            assert len(expected.lambdas) > 10
            for name, value in vars(expected).items():
                np.testing.assert_array_equal(getattr(curve, name), value)


def rows_of(*entries):
    """Rows (model, group, layer, score, tied) as `contenders` takes them."""
    columns = ["model", "group", "layer", "score", "tied_with_best"]
    table = pd.DataFrame([entry[:5] for entry in entries], columns=columns)
    table["result"] = [SimpleNamespace(per_neuroid=[], name=f"{entry[0]}:{entry[2]}") for entry in entries]
    return table


def names_of(rows):
    pair = contenders(rows)
    return pair and (pair[0].name, pair[1].name)


def test_the_best_layers_of_the_two_best_models_are_compared():
    rows = rows_of(
        ("a", "a", "x", 0.3, True),
        ("b", "b", "x", 0.5, True),
        ("b", "b", "y", 0.6, True),
        ("c", "c", "x", 0.4, True),
        ("c", "c", "y", float("nan"), None),
    )
    assert names_of(rows) == ("b:y", "c:x")


def test_of_several_seeds_the_middle_one_is_compared():
    seeds = [(f"r-{k}", "r", "x", score, True) for k, score in enumerate((0.2, 0.9, 0.4))]
    assert names_of(rows_of(("a", "a", "x", 0.5, True), *seeds)) == ("a:x", "r-2:x")
    assert names_of(rows_of(*seeds)) is None
    seeds += [("r-2", "r", "y", 0.1, False)]
    assert names_of(rows_of(*seeds)) == ("r-2:x", "r-2:y")


def test_one_model_is_compared_with_its_best_layer_that_differs():
    entries = [("a", "a", "x", 0.5, True), ("a", "a", "y", 0.49, True), ("a", "a", "z", 0.3, False)]
    assert names_of(rows_of(*entries)) == ("a:x", "a:z")
    assert names_of(rows_of(*entries[:2])) == ("a:x", "a:y")
    assert names_of(rows_of(entries[0])) is None


def test_similarities_have_no_neuroids_to_compare():
    rows = rows_of(("a", "a", "x", 0.5, None), ("b", "b", "x", 0.4, None))
    rows["result"] = [SimpleNamespace(per_neuroid=None)] * 2
    assert contenders(rows) is None
