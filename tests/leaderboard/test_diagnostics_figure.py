"""The diagnostics' picture and caption: there, whole, and saying what they are of."""

from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from itprobe.leaderboard.diagnostics_figure import draw_diagnostics
from itprobe.leaderboard.result import (
    BenchmarkInfo,
    CandidateInfo,
    MappingInfo,
    Primary,
    RecordingInfo,
    Result,
    Scores,
    SplitInfo,
)
from itprobe.metrics import gram_matrix
from itprobe.metrics.diagnostics import lambda_curve, spectrum
from itprobe.metrics.lambda_search import LambdaChoice


def result(simulated=False):
    """A result with all that the picture names; the scores do not matter to it."""
    return Result.model_construct(
        candidate=CandidateInfo(
            id="mynet.py::make:layer3",
            layer="layer3",
            track="frozen",
            weights="unknown",
            weights_sha256=None,
            n_features=400,
            effective_dimensionality=12.5,
        ),
        benchmark=BenchmarkInfo(id="planted.IT-ridge", version=1),
        recording=RecordingInfo(
            id="planted",
            sha256="0" * 64,
            region="IT",
            n_stimuli=200,
            n_neuroids=9,
            repetitions_median=6,
            simulated=simulated,
            stimulus_set_sha256="0" * 64,
            citation="planted truth",
        ),
        mapping=MappingInfo(name="ridge", params={"lambda_selection": "leave-one-out"}, spaces=["layer"]),
        split=SplitInfo(name="brainscore", n_splits=2, seed=17, coord="object_name"),
        scores=Scores.model_construct(primary=Primary(name="r", value=0.5, ci95=(0.4, 0.6))),
    )


def gram(n=200, p=400):
    rng = np.random.default_rng(0)
    return gram_matrix(rng.normal(size=(n, p)) @ np.diag(np.arange(1, p + 1.0) ** -0.5))


def curve(partial=True):
    grid = np.logspace(-2, 4, 19)
    centre = np.linspace(0, 2, 9)
    errors = 1 - 0.4 * np.exp(-((np.log10(grid)[:, None] - centre) ** 2) / 3)
    if partial:
        errors[:3, 4:] = np.nan
    choice = LambdaChoice(
        lambdas=np.append(grid[np.nanargmin(errors, axis=0)][:-1], np.inf),
        at_edge=np.arange(9) == 0,
        grid=grid,
        errors=errors,
        error_of_mean=np.ones(9),
        error=np.nanmin(errors, axis=0),
    )
    return lambda_curve([choice, choice])


def test_png_is_an_image_with_ink_in_both_halves(tmp_path):
    path = draw_diagnostics(spectrum(gram()), curve(), result(), tmp_path / "new" / "layer.png")
    picture = np.asarray(Image.open(path).convert("L"))
    half = picture.shape[1] // 2
    assert (picture[:, :half] < 128).sum() > 2000
    assert (picture[:, half:] < 128).sum() > 2000
    assert (picture[[0, -1]] == 255).all()  # nothing is cut off
    assert sorted(p.name for p in path.parent.iterdir()) == ["layer.png", "layer.txt"]


def test_svg_is_drawn_where_the_name_says_so(tmp_path):
    path = draw_diagnostics(spectrum(gram()), curve(), result(), tmp_path / "layer.svg")
    assert ElementTree.parse(path).getroot().tag.endswith("svg")


def test_caption_says_data_split_seed_layer_and_figures(tmp_path):
    found = spectrum(gram())
    path = draw_diagnostics(found, curve(), result(), tmp_path / "layer.png")
    text = path.with_suffix(".txt").read_text()
    for part in (
        "layer3",
        "recording planted, region IT",
        "'brainscore' splits",
        "seed 17",
        "leave-one-out",
        f"= {found.effective_dimensionality:.1f}",
        "ranks 11 to 40",
        "11.1% at the edge",
        "11.1% at infinity",
        "tried for some neuroids or splits only",
    ):
        assert part in text
    assert "imulated" not in text
    draw_diagnostics(found, curve(partial=False), result(simulated=True), path)
    text = path.with_suffix(".txt").read_text()
    assert "tried for some" not in text
    assert "say nothing about the brain" in text


@pytest.mark.parametrize("case", ["no penalty", "no variance", "no grid"])
def test_what_there_is_not_is_said(case, tmp_path):
    nothing = LambdaChoice(
        np.full(9, np.inf), np.zeros(9, bool), np.empty(0), np.empty((0, 9)), np.ones(9), np.ones(9)
    )
    flat = spectrum(gram_matrix(np.ones((200, 5))))
    found, chosen, expected = {
        "no penalty": (spectrum(gram()), None, "Effective dimensionality"),
        "no variance": (flat, lambda_curve([nothing]), "there is no spectrum"),
        "no grid": (spectrum(gram()), lambda_curve([nothing]), "100.0% at infinity"),
    }[case]
    path = draw_diagnostics(found, chosen, result(), tmp_path / "layer.png")
    assert Image.open(path).size[0] > 600
    assert expected in path.with_suffix(".txt").read_text()
