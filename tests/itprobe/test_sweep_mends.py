"""Sweeps by hands that slip: misspelt models, too many folds, other folds under only-cache, addresses."""

import json

import pytest

from itprobe.api import plan_requests
from itprobe.errors import InputError
from itprobe.leaderboard.figure_style import new_figure
from itprobe.leaderboard.mapping_figure import _title
from itprobe.sweeping import Settings, carry_out
from itprobe.workers import open_workers

LAYERS = ["first", "second"]


def test_a_misspelt_model_of_an_interrupted_sweep_can_be_left_out(net, visible_file, tmp_path):
    out = tmp_path / "out"
    settings = Settings(layers=LAYERS)
    carry_out([net], visible_file, settings, out)
    manifest = json.loads((out / "sweep.json").read_text())
    # as an interrupt leaves it: the misspelt name is written down, and its turn has not come
    (out / "sweep.json").write_text(json.dumps(manifest | {"models": [*manifest["models"], f"{net}e"]}))
    assert carry_out([net], visible_file, settings, out).n_taken_over == 2
    with pytest.raises(InputError, match="holds another sweep"):  # a model with results is not left out
        carry_out(["pixels"], visible_file, settings, out)


def test_a_network_that_computes_nothing_is_refused_and_stops_no_other(visible_file, tmp_path, monkeypatch):
    (tmp_path / "flat.py").write_text(
        "from torch import nn\n"
        "class Flat(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.flat = nn.Flatten()\n"
        "    def forward(self, images):\n"
        "        return self.flat(images)\n"
        "def make():\n"
        "    return Flat(), {'mean': (0, 0, 0), 'std': (1, 1, 1), 'size': 16}\n"
    )
    monkeypatch.chdir(tmp_path)
    for layers in ("all", "blocks"):
        with pytest.raises(
            InputError, match=r"flat\.py::make has no .*convolution, linear or attention layer"
        ):
            plan_requests(["flat.py::make"], [layers])
    settings = Settings(mappings=["cka"], inner_folds=0)
    outcome = carry_out(["flat.py::make", "pixels"], visible_file, settings, tmp_path / "out")
    assert list(outcome.failures) == ["flat.py::make"]
    assert [result.candidate.id for result in outcome.results if result] == ["pixels"]
    assert len(plan_requests(["flat.py::make:flat"])[0].layers) == 1


@pytest.mark.parametrize(("folds", "most"), [(1000, 21), (22, 21)])
def test_inner_folds_of_too_few_stimuli_are_refused_before_anything_runs(
    folds, most, net, visible_file, tmp_path
):
    out = tmp_path / "out"
    with pytest.raises(InputError, match=rf"{folds} inner folds of 108 .* at most {most}, or 0"):
        carry_out([net], visible_file, Settings(layers=LAYERS, inner_folds=folds), out)
    assert not out.exists()


def test_only_cache_takes_over_scores_of_other_inner_folds(net, visible_file, tmp_path):
    out = tmp_path / "out"
    carry_out([net], visible_file, Settings(layers=LAYERS, inner_folds=2), out)
    outcome = carry_out([net], visible_file, Settings(layers=LAYERS, resume="only-cache"), out)
    assert outcome.n_taken_over == 2
    assert not outcome.skipped
    assert outcome.table["score"].notna().all()
    assert outcome.selection.empty


@pytest.mark.parametrize("address", ["garbage", "tcp://host", "host:port"])
def test_an_address_that_is_none_is_refused_at_once(address):
    with pytest.raises(InputError, match=r"is no address .*--jobs N"), open_workers(scheduler=address):
        pass


def test_a_failure_is_named_once_and_too_few_layers_to_combine_are_told(net, visible_file, tmp_path, capsys):
    from itprobe.cli import main

    with pytest.raises(SystemExit):
        main(
            ["sweep", net, f"{net}e", "--recording", visible_file, "--layers", "first,second", "--combine"]
            + ["--out", str(tmp_path / "out")]
        )
    errors = capsys.readouterr().err
    assert errors.count(f"{net}e") == 1
    assert "not combined: that takes 3 to 32 layers" in errors


def test_titles_name_one_of_many_seeds():
    assert _title(["net"]) == "net"
    assert _title([f"net@random-{seed}" for seed in range(10)]) == "net@random-0 and 9 more"


def test_long_names_in_a_legend_are_not_cut(net, visible_file, tmp_path, monkeypatch):
    from itprobe.leaderboard import figure_style, sweep_figures

    drawn = []
    monkeypatch.setattr(
        sweep_figures, "new_figure", lambda *size: drawn.append(new_figure(*size)) or drawn[-1]
    )
    assert figure_style.new_figure is new_figure
    outcome = carry_out([net, "pixels"], visible_file, Settings(layers=LAYERS), tmp_path / "out")
    results = [result for result in outcome.results if result is not None]
    groups = {"n" * 60: results[:2], "m" * 55: results[:2], "o" * 50: results[:2]}
    sweep_figures.draw_layer_curve(groups, tmp_path / "long.png", {"n" * 60: ["first"]})
    (figure,) = drawn
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
