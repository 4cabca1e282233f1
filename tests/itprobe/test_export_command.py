"""``itprobe export``: one part's fit in a folder, and no score on its training stimuli without a warning."""

import re

import numpy as np
import pytest
import torch

from itprobe.benchmarks import load_benchmark
from itprobe.benchmarks.fitted import evaluate_fitted
from itprobe.cli import main
from itprobe.errors import InputError
from itprobe.exporting import export
from itprobe.fitting import score_fitted
from itprobe.models.fitted import load_exported
from itprobe.models.fitted.brainscore import brain_model
from itprobe.models.fitted.candidate import FitReport, FittedCandidate

TINY = {"epochs": "2", "side": "16", "widths": "4,4", "hidden": "8"}
SET = [word for name, value in TINY.items() for word in ("--set", f"{name}={value}")]


@pytest.fixture(autouse=True)
def _own_fits(tmp_path, monkeypatch):
    monkeypatch.setenv("ITPROBE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RESULTCACHING_DISABLE", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def shown_by(bench, ids):
    whole = bench.target.stimulus_set
    part = whole[whole["stimulus_id"].isin(ids)].reset_index(drop=True)
    part.stimulus_paths, part.identifier = whole.stimulus_paths, whole.identifier
    return part


def test_the_exported_fit_is_the_one_of_the_benchmark(visible_file, tmp_path, capsys, monkeypatch):
    benchmark = f"{visible_file}#IT-fitted.kfold"
    (scored,) = score_fitted(["convnet"], benchmark, seed=3, device="cpu", options=TINY)

    def train(*_arguments):
        raise AssertionError("it is in the cache")

    monkeypatch.setattr("itprobe.models.fitted.candidate.train", train)
    out = tmp_path / "exported" / "second"
    main(
        ["export", "convnet", "--recording", visible_file, "--split", "kfold", "--index", "2", "--seed", "3"]
        + [*SET, "--device", "cpu", "--out", str(out)]
    )
    printed = capsys.readouterr().out
    loaded = load_exported(out, "cpu")
    assert loaded.identifier in printed
    assert f"load_exported({str(out)!r})" in printed
    assert f"brain_model({str(out)!r})" in printed

    bench = load_benchmark(benchmark)
    split = bench.plan(3).splits[1]
    assert loaded.training_stimuli == set(split.train)
    assert loaded.trained_on(split.test) == 0
    assert loaded.neuroid_ids == list(bench.target.neuroids["neuroid_id"])
    stimuli = shown_by(bench, split.test)
    held_out = scored.held_out.predictions[1]
    ids = list(stimuli["stimulus_id"])
    order = [ids.index(stimulus_id) for stimulus_id in split.test]
    np.testing.assert_allclose(loaded.predict(stimuli)[order], held_out, rtol=1e-6)
    r = np.mean(
        [np.corrcoef(a, b)[0, 1] for a, b in zip(held_out.T, scored.held_out.responses[1].T, strict=True)]
    )
    assert float(re.search(r"held-out ones (\S+) over", printed)[1]) == pytest.approx(r, abs=6e-4)


class Given(FittedCandidate):
    """Remembers what it is told of the split it is for."""

    identifier = "given"

    def __init__(self):
        self.contexts = []

    def fresh(self, context, reliability=None):
        self.contexts.append(context)
        return self

    def parameters(self):
        return {}

    def fit(self, stimuli, responses, labels=None):
        self.q, self.report = responses.shape[1], FitReport(None, None, None)
        return self

    def predict(self, stimuli):
        return np.random.default_rng(0).normal(size=(len(stimuli), self.q))


def test_an_export_knows_what_a_benchmark_tells_a_candidate(visible_file, tmp_path):
    made, _ = export("convnet", visible_file, tmp_path / "out", seed=4, device="cpu", options=TINY)
    bench, given = load_benchmark(f"{visible_file}#IT-fitted.course"), Given()
    evaluate_fitted(given, bench.target, bench.plan(4), "course", 4)
    assert given.contexts == [made.description.context]
    assert made.description.context["recording_sha256"] == bench.target.recording["sha256"]


def test_a_score_on_training_stimuli_is_never_silent(visible_file, tmp_path):
    """Brain-Score's way shows all stimuli of a benchmark, those of the fit among them."""
    made, _ = export("convnet", visible_file, tmp_path / "out", device="cpu", options=TINY)
    model = brain_model(tmp_path / "out", "cpu")
    bench = load_benchmark(f"{visible_file}#IT-ridge.course")
    n = len(bench.target.stimuli)
    with pytest.warns(
        UserWarning, match=f"fitted to {len(made.training_stimuli)} of the {n} stimuli.*no held-out"
    ):
        score = bench(model)
    assert np.isfinite(float(score))


def test_two_seeds_are_two_exports(visible_file, tmp_path):
    made = [
        export("convnet", visible_file, tmp_path / str(seed), seed=seed, device="cpu", options=TINY)[0]
        for seed in (1, 2)
    ]
    assert made[0].identifier != made[1].identifier
    assert "seed1" in made[0].identifier
    assert "seed2" in made[1].identifier
    with pytest.raises(InputError, match="holds another fit already"):
        export("convnet", visible_file, tmp_path / "1", seed=2, device="cpu", options=TINY)


OWN = """
class Own:
    def fit(self, stimuli, responses, labels): pass
    def predict(self, stimuli): pass
def make():
    return Own()
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--index", "2"], "the index must be from 1 to 1 for the split course, not 2"),
        (["--split", "corse"], "unknown split: 'corse'; did you mean course"),
        (["--set", "epoch=2"], "unknown parameter of convnet: 'epoch'"),
        (["--region", "V9"], "V9"),
    ],
)
def test_what_cannot_be_exported_is_told_in_one_line(visible_file, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as left:
        main(
            [
                "export",
                "convnet",
                "--recording",
                visible_file,
                "--device",
                "cpu",
                "--out",
                str(tmp_path / "out"),
            ]
            + arguments
        )
    error = capsys.readouterr().err
    assert left.value.code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_and_own_code_are_refused_before_a_training(visible_file, tmp_path):
    with pytest.raises(InputError, match="holds no exported fit; choose another folder"):
        export("convnet", visible_file, tmp_path, device="cpu", options=TINY)
    (tmp_path / "own.py").write_text(OWN)
    with pytest.raises(InputError, match="of your own code and cannot be exported"):
        export(f"{tmp_path / 'own.py'}::make", visible_file, tmp_path / "out", device="cpu")
    with pytest.raises(InputError, match="resnet50"):
        export("torchvision/resnet50:layer3", visible_file, tmp_path / "out", device="cpu")
