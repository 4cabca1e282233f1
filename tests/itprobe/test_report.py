"""The report's table on a recording whose truth is planted in a small network's layer3."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from itprobe.benchmarks.reference_layers import reference_layers
from itprobe.cli import main
from itprobe.data import build_assembly, make_stimulus_set, save_recording
from itprobe.errors import InputError
from itprobe.leaderboard import load_held_out, load_result
from itprobe.models import load_candidate
from itprobe.report import ROWS, TableSettings, make_table
from itprobe.tuned_parameters import read_tuned

NETWORK = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer2 = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
        self.layer3 = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
        self.layer4 = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())

    def forward(self, images):
        return self.layer4(self.layer3(self.layer2(images))).mean((2, 3))

def small():
    return Small(), {"size": 32, "mean": (.5, .5, .5), "std": (.25, .25, .25)}
"""
N, Q = 200, 8


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Path of a recording that is linear in layer3 of a network, and that network's id."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "net.py").write_text(NETWORK)
    network = f"{folder / 'net.py'}::small"
    rng = np.random.default_rng(0)
    ids = [f"im{i:03d}" for i in range(N)]
    paths = {}
    for stimulus_id in ids:
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        paths[stimulus_id] = folder / f"{stimulus_id}.png"
        coarse.resize((32, 32)).save(paths[stimulus_id])
    stimuli = pd.DataFrame({"stimulus_id": ids, "object_name": np.resize([f"o{k}" for k in range(5)], N)})
    stimulus_set = make_stimulus_set(stimuli, paths, "planted")
    ((_, features),) = load_candidate(network, "cpu").stream(stimulus_set, ["layer3"], batch_size=N)
    signal = features["layer3"] @ rng.normal(size=(features["layer3"].shape[1], Q))
    signal = (signal - signal.mean(0)) / signal.std(0)
    trials = signal[:, None] + 0.7 * rng.normal(size=(N, 4, Q))
    assembly = build_assembly(
        trials.reshape(N * 4, Q),
        np.repeat(ids, 4),
        np.tile(np.arange(4), N),
        stimulus_set,
        {"neuroid_id": [f"n{j}" for j in range(Q)], "region": ["IT"] * Q, "animal": np.resize(["a", "b"], Q)},
        identifier="planted",
        visual_degrees=8,
        citation="planted truth",
    )
    save_recording(assembly, folder / "planted.nc")
    return str(folder / "planted.nc"), network


FROZEN = ("pixels", "layer2-trained", "layer3-trained", "layer3-random", "ridge", "object_onehot", "latents")


@pytest.fixture(scope="module")
def made(planted, tmp_path_factory):
    recording, network = planted
    out = tmp_path_factory.mktemp("results")
    settings = TableSettings(recording, backbone=network, rows=FROZEN, published=True, device="cpu")
    return make_table(settings, out), out


def test_rows_stand_in_the_order_asked_for_and_find_what_was_planted(made):
    table, _ = made
    assert [row.label for row in table.rows] == [ROWS[name].label for name in FROZEN]
    r = {name: row.r_mean for name, row in zip(FROZEN, table.rows, strict=True)}
    assert r["ridge"] == max(value for value in r.values() if value is not None)
    assert r["layer3-trained"] > 0.6
    assert abs(r["object_onehot"]) < 0.25
    for row in table.rows[:6]:
        assert row.ci95[0] <= row.r_mean <= row.ci95[1]


def test_a_row_that_the_recording_cannot_give_says_why(made):
    table, _ = made
    assert table.rows[-1].r_mean is None
    assert table.rows[-1].note.startswith("not run: ")


def test_figures_are_those_of_the_result_files(made):
    table, out = made
    files = {load_result(path).candidate.id: load_result(path) for path in out.glob("*-pcr*.json")}
    row = table.rows[FROZEN.index("layer3-trained")]
    result = files[row.candidate]
    assert row.r_mean == result.scores.pearson_r.mean
    held_out = load_held_out(result, out)
    r = [np.corrcoef(held_out.responses[0][:, j], held_out.predictions[0][:, j])[0, 1] for j in range(Q)]
    assert row.r_mean == pytest.approx(np.mean(r), abs=1e-5)
    assert len(held_out.stimulus_ids[0]) == 18


def test_the_reports_own_protocol_loses_what_the_aligned_one_finds(made):
    table, _ = made
    aligned = table.mistakes.set_index(["weights", "layer", "protocol"])
    for layer in ("layer2", "layer3"):
        assert aligned.loc[("trained", layer, "as published"), "inside_null99"]
        assert not aligned.loc[("trained", layer, "aligned"), "inside_null99"]
    row = table.rows[FROZEN.index("layer3-trained")]
    assert row.null99[0] <= row.as_published[1] <= row.null99[1] < row.r_mean
    assert aligned.loc[("trained", "layer3", "aligned"), "r_mean"] == pytest.approx(row.r_mean, abs=1e-6)


def test_several_seeds_draw_several_splits_that_are_scored_together(planted):
    recording, network = planted
    rows = ("pixels", "random-seeds")
    settings = TableSettings(
        recording, backbone=network, rows=rows, seeds=(1, 2, 3), random_seeds=2, device="cpu"
    )
    table = make_table(settings)
    assert [result.split.n_splits for result in table.results] == [3, 3, 3]
    singles = [
        make_table(TableSettings(recording, backbone=network, rows=("pixels",), seeds=(seed,), device="cpu"))
        for seed in (1, 2, 3)
    ]
    assert table.rows[0].r_mean == pytest.approx(np.mean([one.rows[0].r_mean for one in singles]))
    random = [result.scores.pearson_r.mean for result in table.results[1:]]
    assert table.rows[1].r_mean == pytest.approx(np.mean(random))
    assert f"r from {min(random):.3f} to {max(random):.3f}" in table.rows[1].note


def test_random_weights_have_an_interval_over_stimuli_and_neuroids(planted):
    recording, network = planted

    def over(n_seeds):
        settings = TableSettings(
            recording, backbone=network, rows=("random-seeds",), random_seeds=n_seeds, device="cpu"
        )
        made = make_table(settings)
        return made.rows[0], [result.scores.pearson_r for result in made.results]

    row, (alone,) = over(1)
    assert row.ci95 == pytest.approx(tuple(alone.ci95_mean))
    row, several = over(3)
    # Draws are the same for all networks, so their mean varies no more than they do on average.
    widths = [one.ci95_mean[1] - one.ci95_mean[0] for one in several]
    assert row.ci95[0] < row.r_mean < row.ci95[1]
    assert row.ci95[1] - row.ci95[0] <= np.mean(widths) * 1.05


def test_the_command_trains_and_writes_everything(planted, tmp_path, capsys):
    recording, network = planted
    main_quietly(
        ["table", "--recording", recording, "--backbone", network, "--rows", "readout,ridge"]
        + ["--device", "cpu", "--out", str(tmp_path)]
    )
    printed = capsys.readouterr().out
    for label in ("factorised readout", "ridge on full features"):
        assert label in printed
    frame = pd.read_csv(tmp_path / "table.csv")
    assert list(frame["label"]) == [ROWS[name].label for name in ("readout", "ridge")]
    assert (frame["training_seconds"][:1] > 0).all()
    assert frame["track"].tolist() == ["fitted", "frozen"]
    for name in ("table.md", "table.png", "table.svg", "table.txt"):
        assert (tmp_path / name).stat().st_size > 0
    fitted = [load_result(path) for path in (tmp_path / "results").glob("*-fitted*.json")]
    assert {result.candidate.track for result in fitted} == {"fitted"}
    for result in fitted:
        (training,) = result.training
        assert training.n_train + training.n_validation == 162
        assert training.weights_sha256


def main_quietly(arguments):
    try:
        main(arguments)
    except SystemExit as ended:
        assert ended.code in (None, 0), arguments


def test_tuned_parameters_are_taken_and_never_from_stimuli_that_are_tested(planted, tmp_path, capsys):
    recording, network = planted
    short = ["--set", "epochs=2", "--set", "batch_size=32"]
    main_quietly(
        ["tune", "convnet", "--recording", recording, "--trials", "1", "--seed", "1", "--device", "cpu"]
        + ["--out", str(tmp_path / "tuned"), *short]
    )
    found = json.loads((tmp_path / "tuned" / "convnet.json").read_text())["parameters"]
    command = ["table", "--recording", recording, "--backbone", network, "--device", "cpu"]
    command += ["--tuned", str(tmp_path / "tuned"), "--out", str(tmp_path / "out"), "--seed", "1"]
    main_quietly([*command, "--rows", "data-driven,readout"])
    frame = pd.read_csv(tmp_path / "out" / "table.csv")
    assert frame["note"].tolist() == ["tuned in 1 trials on planted", "default parameters"]
    results = [load_result(path) for path in (tmp_path / "out" / "results").glob("[!.]*.json")]
    (params,) = [result.mapping.params for result in results if result.candidate.id == "convnet"]
    for name, text in found.items():
        assert str(params[name]) == text or float(params[name]) == pytest.approx(float(text))
    with pytest.raises(SystemExit):
        main([*command, "--rows", "data-driven", "--splits", "2"])
    assert "some of them are test stimuli of course, seed 2" in capsys.readouterr().err


def test_a_folder_without_tuned_parameters_is_refused(tmp_path):
    with pytest.raises(InputError, match="write them with itprobe tune"):
        read_tuned(tmp_path)
    (tmp_path / "convnet.json").write_text('{"candidate": "convnet"}')
    with pytest.raises(InputError, match=r"convnet\.json holds no tuned parameters"):
        read_tuned(tmp_path)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rows": ("layer9",)}, "unknown row of the table: 'layer9'"),
        ({"split": "curse"}, "unknown split: 'curse'"),
        ({"seeds": ()}, "at least one seed"),
        ({"published": True, "split": "kfold"}, "one test part"),
    ],
)
def test_what_does_not_exist_is_refused_before_anything_runs(options, text):
    with pytest.raises(InputError, match=text):
        TableSettings("nowhere.nc", **options)


def test_layers_that_stand_for_the_reports():
    assert reference_layers(load_candidate("efficientnet_lite0@random", "cpu")) == ("_blocks.4", "_blocks.10")
    assert reference_layers(load_candidate("torchvision/resnet50@random", "cpu")) == ("layer2", "layer3")
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 224 * 224, 4))
    with pytest.raises(InputError, match="no block with a map of 1/8"):
        reference_layers(load_candidate(flat, "cpu"))


@pytest.mark.slow
def test_the_reports_finding_is_explained_on_the_simulated_recording():
    rows = ("layer2-trained", "layer3-trained", "layer3-random")
    settings = TableSettings(
        "simulated_small", backbone="efficientnet_lite0", rows=rows, published=True, device="cpu"
    )
    table = make_table(settings)
    assert table.heading.simulated
    for row in table.rows:
        low, high = row.null99
        assert low <= row.as_published[1] <= high
    for row in table.rows[:2]:  # trained: as far above the shuffles as they are wide, many times over
        low, high = row.null99
        assert row.r_mean > high + 2 * (high - low)
        assert row.ci95[0] > high
