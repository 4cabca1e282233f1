"""Fitted candidates from the command line: results, files and pictures; what is refused, with what to do instead."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from itprobe.benchmarks import load_benchmark, prepare_target
from itprobe.benchmarks.fitted import fit_split
from itprobe.cli import main
from itprobe.data import build_assembly, make_stimulus_set, save_recording
from itprobe.errors import InputError
from itprobe.fitting import score_fitted
from itprobe.leaderboard import load_held_out, load_result
from itprobe.metrics import SPLITS

SMALL = {"side": "16", "widths": "4,4", "hidden": "16", "epochs": "12", "lr": "0.01", "patience": "0"}
SET = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(capsys):
    """Run the command line and give exit code, standard output and standard error."""

    def run(*arguments):
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code or 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def refused(outcome, *texts):
    """One line on standard error, exit code 2, no traceback."""
    code, out, err = outcome
    assert code == 2, err
    message = err.strip().splitlines()[-1]
    assert message.startswith("itprobe: "), err
    assert "Traceback" not in err
    for text in texts:
        assert text in message
    assert out == ""


def test_a_fitted_candidate_is_scored_from_the_command_line(run, visible_file, tmp_path):
    benchmark, out = f"{visible_file}#IT-fitted.course", tmp_path / "results"
    code, printed, _ = run(
        "score", "convnet", "--benchmark", benchmark, "--device", "cpu", *SET, "--results", out
    )
    assert code == 0
    assert "convnet" in printed
    assert f"1 result files: {out}" in printed
    (path,) = out.glob("[!.]*.json")
    result = load_result(path)
    assert (result.candidate.id, result.candidate.track, result.candidate.layer) == (
        "convnet",
        "fitted",
        None,
    )
    assert result.candidate.weights_sha256 is None
    assert result.mapping.name == "fitted"
    assert result.mapping.params["widths"] == [4, 4]
    assert (result.mapping.params["epochs"], result.mapping.params["seed"]) == (12, 1)
    assert (result.split.name, result.split.n_splits, result.benchmark.id) == ("course", 1, benchmark)
    (training,) = result.training
    split = SPLITS["course"](load_benchmark(benchmark).target.stimuli, 1).splits[0]
    assert training.n_train + training.n_validation == len(split.train)
    assert (training.epochs, training.batch_size) == (12, 32)
    assert 1 <= training.best_epoch <= 12
    # of 3 x 4 x 9, 4 x 4 x 9, two scales and shifts each, 16 positions x 4 -> 16 -> 12
    assert training.n_parameters == 108 + 144 + 4 * 4 + (4 * 16 * 16 + 16) + (16 * 12 + 12)

    held_out = load_held_out(result, out)
    assert sorted(held_out.stimulus_ids[0]) == sorted(split.test)
    r = [
        np.corrcoef(a, b)[0, 1]
        for a, b in zip(held_out.responses[0].T, held_out.predictions[0].T, strict=True)
    ]
    np.testing.assert_allclose([neuroid.pearson_r for neuroid in result.per_neuroid], r, atol=1e-5)
    assert result.scores.pearson_r.median == pytest.approx(np.median(r), abs=1e-5)
    assert all(neuroid.alpha is None for neuroid in result.per_neuroid)

    picture = path.with_name(f"{path.stem}.training.png")
    assert Image.open(picture).size[0] > 300
    assert "<svg" in picture.with_suffix(".svg").read_text()
    caption = picture.with_suffix(".txt").read_text()
    assert f"the epoch whose weights are used ({training.best_epoch})" in caption
    assert f"chosen on {training.n_validation} stimuli" in caption


def test_a_second_run_takes_the_weights_from_the_cache_and_other_parameters_get_files_of_their_own(
    run, visible_file, tmp_path
):
    benchmark, out = f"{visible_file}#IT-fitted.course", tmp_path / "results"
    command = [
        "score",
        "convnet",
        "--benchmark",
        benchmark,
        "--device",
        "cpu",
        *SET,
        "--results",
        out,
        "--json",
    ]
    first, again = (json.loads(run(*command)[1]) for _ in range(2))
    assert first["training"] == again["training"]  # with its seconds
    assert first["scores"] == again["scores"]
    assert len(list(out.glob("[!.]*.json"))) == 1
    other = json.loads(run(*command, "--set", "hidden=8")[1])
    assert other["training"][0]["weights_sha256"] != first["training"][0]["weights_sha256"]
    names = {load_result(path).name: path.stem for path in out.glob("[!.]*.json")}
    assert len(names) == 2
    assert all(name == stem for name, stem in names.items())  # also after it was read from the file
    seeded = json.loads(run(*command, "--seed", "2")[1])
    assert seeded["mapping"]["params"]["seed"] == 2
    assert len(list(out.glob("[!.]*.json"))) == 3


def test_a_network_of_ones_own_beats_its_permuted_control(visible_file, plant, tmp_path):
    """Both through the whole protocol: what is planted in the images is found, what is not is not."""
    options = {**SMALL, "epochs": "20", "widths": "8", "shift": "0"}
    (found,) = score_fitted(["convnet"], f"{visible_file}#IT-fitted.kfold", device="cpu", options=options)
    unrelated = plant.assembly(plant.trials(3), tmp_path / "stimuli")
    save_recording(unrelated, tmp_path / "unrelated.nc")
    (control,) = score_fitted(
        ["convnet"], f"{tmp_path / 'unrelated.nc'}#IT-fitted.kfold", device="cpu", options=options
    )
    assert found.result.scores.pearson_r.mean > 0.25
    assert (
        abs(control.result.scores.pearson_r.mean) < 0.15
    )  # each of 12 neuroids: 120 predictions, sd about .09
    assert len(found.result.training) == 10
    assert found.path is None
    assert found.score.attrs["raw"] == pytest.approx(found.result.scores.pearson_r.median)


OWN = """
import numpy as np

class Mean:
    seen = 0
    def fit(self, stimuli, responses, labels):
        assert not self.seen and len(set(labels)) > 1
        self.seen = len(stimuli)
        self.of = {name: responses[labels == name].mean(axis=0) for name in set(labels)}
    def predict(self, stimuli):
        return [self.of[name] for name in stimuli["object_name"]]

def broken():
    made = Mean()
    made.predict = lambda stimuli: {}["nothing"]
    return made
"""


def test_a_candidate_in_a_file_of_ones_own(run, visible_file, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    benchmark, out = f"{visible_file}#IT-fitted.kfold", tmp_path / "results"
    code, printed, err = run(
        "score", f"{tmp_path / 'own.py'}::Mean", "--benchmark", benchmark, "--results", out, "--json"
    )
    assert code == 0, err
    result = json.loads(printed)
    assert result["candidate"]["track"] == "fitted"
    assert result["training"] is None
    assert result["split"]["n_splits"] == 10
    assert set(result["mapping"]["params"]) == {"source", "seed"}
    assert not list(out.glob("*.training.png"))
    outcome = run("score", f"{tmp_path / 'own.py'}::broken", "--benchmark", benchmark, "--results", out)
    refused(outcome, "predict with 12 stimuli raised KeyError: 'nothing'")


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (
            ["efficientnet_lite0", "-fitted"],
            ["unknown fitted candidate", "scored with a mapping, e.g. on a -ridge"],
        ),
        (["pixels", "-fitted"], ["unknown fitted candidate: 'pixels'", "-ridge benchmark"]),
        (["convnet", "-ridge"], ["fitted to the responses themselves; score it on a -fitted benchmark"]),
        (["convnet", "-rsa"], ["score it on a -fitted benchmark"]),
        (["convnet@random", "-fitted"], ["convnet starts from random numbers; write convnet"]),
        (["convnet:layer", "-fitted"], ["convnet starts from random numbers; write convnet"]),
        (["finetuned+nonsense", "-fitted"], ["unknown candidate: 'nonsense'"]),
        (["finetuned+pixels", "-fitted"], ["pixels is no network"]),
        (["combined+efficientnet_lite0@random", "-fitted"], ["names no layer; write e.g."]),
        (["readout+efficientnet_lite0@random:_bloks.3", "-fitted"], ["_bloks.3", "did you mean _blocks.3"]),
        (
            ["convnet", "-fitted", "--set", "epoch=3"],
            ["unknown parameter of convnet: 'epoch'; did you mean epochs"],
        ),
        (
            ["convnet", "-fitted", "--set", "epochs=few"],
            ["parameter epochs of convnet must be int, not 'few'"],
        ),
        (["convnet", "-fitted", "--set", "epochs"], ["--set epochs: write NAME=VALUE"]),
        (["convnet", "-fitted", "--layer", "x"], ["--layer means nothing to candidates that are fitted"]),
        (["convnet", "-fitted", "--diagnostics"], ["--diagnostics means nothing"]),
        (["convnet", "-fitted", "--shared-lambda"], ["--shared-lambda means nothing"]),
        (["convnet", "-fitted", "--precision", "bf16"], ["--precision means nothing"]),
        (["convnet", "-fitted.corse"], ["unknown split: 'corse'; did you mean course"]),
        (["convnet", "-fitted", "--device", "abacus"], ["unknown device: 'abacus'"]),
        (
            ["convnet", "-fitted", "--set", "noise_weighting=true", "--set", "side=4"],
            ["4 x 4 pixels are too few"],
        ),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments, texts, run, planted_file, tmp_path):
    model, suffix, *options = arguments
    command = ["score", model, "--benchmark", f"{planted_file}#IT{suffix}", "--device", "cpu", *options]
    refused(run(*command, "--results", tmp_path / "results"), *texts)
    assert not list(tmp_path.glob("results/*.json"))


def recording_of(path, responses, repetitions=1, **columns):
    """A recording of responses (n, q), each presented so often, with images of one colour."""
    n, q = responses.shape
    ids = [f"im{row:03d}" for row in range(n)]
    rng, paths = np.random.default_rng(0), {}
    path.parent.mkdir(exist_ok=True)
    for key in ids:
        paths[key] = path.parent / f"{key}.png"
        Image.fromarray(np.full((16, 16, 3), rng.integers(0, 255, 3), dtype=np.uint8)).save(paths[key])
    trials = responses[:, None] + 0.1 * rng.normal(size=(n, repetitions, q)) * (repetitions > 1)
    assembly = build_assembly(
        trials.reshape(n * repetitions, q),
        np.repeat(ids, repetitions),
        np.tile(np.arange(repetitions), n),
        make_stimulus_set(pd.DataFrame({"stimulus_id": ids, **columns}), paths, "small"),
        {"neuroid_id": [f"n{j}" for j in range(q)], "region": ["IT"] * q, "animal": ["a"] * q},
        identifier="small",
        visual_degrees=8,
        citation="planted truth",
    )
    save_recording(assembly, path)
    return str(path)


def test_recordings_that_a_candidate_cannot_use(run, tmp_path):
    rng = np.random.default_rng(3)
    out = ["--device", "cpu", "--results", tmp_path / "results"]
    nameless = recording_of(tmp_path / "nameless" / "r.nc", rng.normal(size=(60, 3)))
    outcome = run("score", "dual_task", "--benchmark", f"{nameless}#IT-fitted.course", *out)
    refused(outcome, "dual_task learns objects", "names no object", "column object_name")
    outcome = run(
        "score",
        "convnet",
        "--benchmark",
        f"{nameless}#IT-fitted.course",
        *SET,
        "--set",
        "noise_weighting=true",
        *out,
    )
    refused(outcome, "noise_weighting needs a recording with repetitions; leave it out")
    few = recording_of(tmp_path / "few" / "r.nc", rng.normal(size=(36, 3)), object_name=["a", "b"] * 18)
    half = [*SET, "--set", "validation=0.5"]
    outcome = run("score", "convnet", "--benchmark", f"{few}#IT-fitted.course", *half, *out)
    refused(outcome, "28 training stimuli are too few; at least 16")
    repeated = recording_of(tmp_path / "repeated" / "r.nc", rng.normal(size=(60, 3)), 4)
    code, _, err = run(
        "score",
        "convnet",
        "--benchmark",
        f"{repeated}#IT-fitted.course",
        *SET,
        "--set",
        "noise_weighting=true",
        *out,
    )
    assert code == 0, err


def test_a_neuroid_that_never_changes_in_the_training_part_is_not_called_reliable(planted):
    target = prepare_target(planted, "IT")
    split = SPLITS["course"](target.stimuli, 1).splits[0]
    target.responses[np.isin(target.stimuli["stimulus_id"], split.train), 3] = 5.0
    told = []

    class Listens:
        identifier = "listens"

        def fresh(self, context, reliability):
            told.append(reliability)
            return self

        def fit(self, *data):
            return self

        def predict(self, stimuli):
            return np.zeros((len(stimuli), 12))

    fit_split(Listens(), target, split, {})
    assert np.isnan(told[0][3])
    assert (np.delete(told[0], 3) > 0.3).all()
    assert (np.delete(told[0], 3) <= 1).all()


def test_a_brainscore_model_on_a_fitted_benchmark_is_refused_before_it_looks_at_anything(planted_file):
    with pytest.raises(
        InputError, match=r"for candidates that are fitted .* score it with a mapping, e\.g\. .*IT-ridge"
    ):
        load_benchmark(f"{planted_file}#IT-fitted")(None)


def test_sweeps_and_partitions_have_no_fitted_mapping(run, planted_file, tmp_path):
    out = tmp_path / "out"
    for mappings in ("fitted", "ridge,fitted"):
        outcome = run("sweep", "pixels", "--recording", planted_file, "--mappings", mappings, "--out", out)
        refused(outcome, "a sweep scores layers under mappings, and fitted is none", "itprobe score")
    assert not out.exists()
    outcome = run("sweep", "convnet", "--recording", planted_file, "--out", out)
    refused(outcome, "fitted to the responses themselves")
    outcome = run("partition", "pixels", "object_onehot", "--benchmark", f"{planted_file}#IT-fitted")
    refused(outcome, "a partition needs a benchmark whose mapping takes several spaces")


def test_a_table_whose_backbone_is_misspelt_trains_nothing(run, visible_file, tmp_path, monkeypatch):
    monkeypatch.setenv("ITPROBE_HOME", str(tmp_path / "home"))
    command = [
        "table",
        "--recording",
        visible_file,
        "--rows",
        "pixels,data-driven",
        "--out",
        tmp_path / "out",
    ]
    refused(run(*command, "--backbone", "efficientnet_lit0"), "did you mean efficientnet_lite0")
    refused(run(*command, "--backbone", "pixels"), "--backbone pixels is no network")
    refused(run(*command, "--splits", "0"), "--splits must be at least 1")
    refused(run(*command, "--precision", "tf32"), "the table is made in full precision")
    assert not (tmp_path / "home" / "fits").exists()


def test_the_lists_show_what_there_is(run):
    models = [line.split("\t") for line in run("list", "models")[1].splitlines()]
    fitted = {name: note for name, track, note in models if track == "fitted"}
    assert list(fitted) == [
        "convnet",
        "dual_task",
        "autoencoder",
        "combined+BACKBONE:LAYER",
        "readout+BACKBONE:LAYER",
        "finetuned+BACKBONE",
    ]
    assert all(fitted.values())
    assert {track for _, track, _ in models} == {"fitted", "frozen", "control"}
    assert "fitted" in run("list", "mappings")[1].splitlines()
    benchmarks = run("list", "benchmarks")[1].splitlines()
    assert {f"simulated_small.IT-fitted{end}" for end in ("", ".course", ".object_out")} <= set(benchmarks)


def test_the_python_function_fits_candidates_too(visible_file, tmp_path):
    import itprobe

    benchmark = f"{visible_file}#IT-fitted.course"
    path = tmp_path / "mean.py"
    path.write_text(
        "import numpy as np\n"
        "class Mean:\n"
        "    def fit(self, stimuli, responses, labels):\n"
        "        self.noise = np.random.default_rng(0).normal(size=responses.shape[1])\n"
        "    def predict(self, stimuli):\n"
        "        return np.arange(len(stimuli))[:, None] * self.noise\n"
    )
    score = itprobe.score(f"{path}::Mean", benchmark)
    assert score.attrs["result"].candidate.track == "fitted"
    (scored,) = score_fitted([f"{path}::Mean"], benchmark)
    assert float(score) == float(scored.score)
    for options in ({"layer": "first"}, {"precision": "bf16"}, {"preprocessing": {"size": 32}}):
        with pytest.raises(InputError, match="is for candidates that are fitted to responses"):
            itprobe.score("convnet", benchmark, **options)
    with pytest.raises(InputError, match="is for candidates that are fitted to responses"):
        itprobe.score(torch.nn.Flatten(), benchmark)
