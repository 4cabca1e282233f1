"""Results with all that pictures of sweeps read, and what is in a picture's file."""

import re
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from itprobe.leaderboard.result import (
    BenchmarkInfo,
    CandidateInfo,
    Ceiled,
    MappingInfo,
    PearsonR,
    Primary,
    RecordingInfo,
    ReliabilityInfo,
    Result,
    Scores,
    SplitInfo,
)

LAYERS = [f"stage{1 + k // 6}.block{k % 6}.conv3~pool4" for k in range(20)]
Q = 12


def result(model="mynet", layer="layer1", value=0.5, mapping="ridge", simulated=False, seed=17, **parts):
    """A result with all that the pictures read; similarities have no splits and no r."""
    similarity = mapping in ("rsa", "cka")
    ci95 = None if value is None else (value - 0.05, value + 0.04)
    pearson = PearsonR.model_construct(median=value, ci95=ci95)
    reliability = ReliabilityInfo.model_construct(median=0.81, ci95=(0.64, 0.9025))
    scores = Scores.model_construct(
        primary=Primary(name="similarity" if similarity else "r", value=value, ci95=ci95),
        pearson_r=None if similarity else pearson,
        reliability=None if similarity else reliability,
        ceiled=None if similarity else Ceiled(value=0.3, ci95=None, formula="r |r| / rho"),
    )
    made = Result.model_construct(
        candidate=CandidateInfo(
            id=f"{model}:{layer}",
            layer=layer,
            track="frozen",
            weights="random" if "@random" in model else "trained",
            weights_sha256=None,
            n_features=400,
            effective_dimensionality=12.5,
        ),
        benchmark=BenchmarkInfo(id=f"planted.IT-{mapping}", version=1),
        recording=RecordingInfo(
            id="planted",
            sha256="0123456789abcdef" * 4,
            region="IT",
            n_stimuli=640,
            n_neuroids=Q,
            repetitions_median=6,
            simulated=simulated,
            stimulus_set_sha256="0" * 64,
            citation="planted truth",
        ),
        mapping=MappingInfo(name=mapping, params={"lambda_grid": "automatic"}, spaces=["layer"]),
        split=SplitInfo(name="all stimuli at once", n_splits=0, seed=seed, coord=None)
        if similarity
        else SplitInfo(name="brainscore", n_splits=10, seed=seed, coord="object_name"),
        scores=scores,
        per_neuroid=None,
    )
    return made.model_copy(update=parts)


def sweep(model="mynet", peak=13, height=0.6, layers=LAYERS, **options):
    depths = np.arange(len(layers))
    values = height - 0.002 * (depths - peak) ** 2
    return [result(model, name, float(v), **options) for name, v in zip(layers, values, strict=True)]


def words(path):
    """All texts of an SVG, which matplotlib writes as comments beside the glyphs' outlines."""
    assert ElementTree.parse(path).getroot().tag.endswith("svg")
    return re.findall(r"<!-- (.*?) -->", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def has_ink_and_nothing_is_cut(path):
    picture = np.asarray(Image.open(path).convert("L"))
    return (picture < 128).sum() > 3000 and all(
        (edge == 255).all() for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1])
    )


@pytest.fixture
def made():
    """What makes results: result(...) of one layer, sweep(...) of all `layers`; of `q` neuroids."""
    return SimpleNamespace(result=result, sweep=sweep, layers=LAYERS, q=Q)


@pytest.fixture
def drawn():
    """What a picture holds: words(svg), whole(png)."""
    return SimpleNamespace(words=words, whole=has_ink_and_nothing_is_cut)
