"""Boards with planted candidates, the site made of one, and a browser to look at it."""

import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from itprobe.leaderboard import save_result
from itprobe.leaderboard.result import (
    BenchmarkInfo,
    CandidateInfo,
    Ceiled,
    ExplainedVariance,
    MappingInfo,
    Neuroid,
    PearsonR,
    Primary,
    Provenance,
    RecordingInfo,
    ReliabilityInfo,
    Result,
    Scores,
    Similarity,
    SplitInfo,
)
from itprobe.leaderboard.site import build_site
from itprobe.metrics import HeldOut, RidgeMapping, RsaMapping, interval, resample

N_STIMULI, Q, N_SPLITS = 300, 24, 4
RHO = 0.81

CHROMIUM = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def responses(seed=0):
    return np.random.default_rng([seed, 0]).normal(size=(N_STIMULI, Q))


def held_out(r, seed, responses=None, own=0.3):
    """Predictions whose correlation with the responses is r; their errors are partly those of all candidates."""
    y = globals()["responses"]() if responses is None else responses
    common = np.random.default_rng([7, 7]).normal(size=y.shape)
    errors = np.sqrt(1 - own) * common + np.sqrt(own) * np.random.default_rng([seed, 1]).normal(size=y.shape)
    z = (r * y + np.sqrt(1 - r**2) * errors).astype(np.float32).astype(np.float64)
    ids = np.array([f"im{k:04d}" for k in range(len(y))])
    rows = [np.random.default_rng([k, 3]).permutation(len(y))[:60] for k in range(N_SPLITS)]
    y = y.astype(np.float32).astype(np.float64)
    neuroids = np.array([f"n{(7 * j) % Q:02d}" for j in range(Q)])  # in no alphabetical order
    return HeldOut(
        [ids[row] for row in rows],
        [y[row] for row in rows],
        [z[row] for row in rows],
        neuroids,
        np.resize(["a", "b"], Q),
    )


def scores_of(data):
    """What a result file says of predictions, by `resample`, which is the reference here."""
    plain = resample(data, stimuli=False, neuroids=False, n=1)
    drawn = resample(data, seed=1)
    r = float(plain.aggregate("pearson_r", "median")[0])
    ci95 = interval(drawn.aggregate("pearson_r", "median"))
    share = (r * abs(r) / RHO, tuple(end * abs(end) / RHO for end in ci95))
    nothing = dict.fromkeys(("ci95_neuroids", "ci95_stimuli", "by_animal", "by_array"))
    nothing_of_ev = dict.fromkeys(("ci95_neuroids", "ci95_stimuli", "ci95_mean"))
    return Scores(
        primary=Primary(name="ceiled", value=share[0], ci95=share[1]),
        pearson_r=PearsonR(
            median=r,
            median_of_means=r,
            mean=r,
            ci95=ci95,
            ci95_mean=ci95,
            per_split=[r] * N_SPLITS,
            **nothing,
        ),
        explained_variance=ExplainedVariance(median=r**2, mean=r**2, ci95=None, **nothing_of_ev),
        similarity=None,
        reliability=ReliabilityInfo(
            median=RHO,
            mean=0.8,
            kind="planted",
            ci95=(0.7, 0.9),
            n_halves=100,
            seed=0,
            n_below_0_3=0,
            n_undefined=0,
        ),
        inter_animal=None,
        ceiled=Ceiled(value=share[0], ci95=share[1], formula="r |r| / median reliability, r = median r"),
        ceiled_per_neuroid=None,
        noise_corrected=None,
    )


def result(candidate="net:layer1", data=None, track="frozen", weights="trained", mapping="ridge", **parts):
    """A valid result of one candidate; similarities where there are no predictions."""
    name, _, layer = candidate.rpartition(":")
    layer = layer if name and track != "control" else None
    if data is None:
        missing = dict.fromkeys(Scores.model_fields)
        primary = Primary(name="similarity", value=parts.pop("value", 0.2), ci95=(0.1, 0.3))
        scores = Scores(
            **{**missing, "primary": primary, "similarity": Similarity(value=0.2, ci95=(0.1, 0.3))}
        )
        neuroids = None
    else:
        scores, plain = scores_of(data), resample(data, stimuli=False, neuroids=False, n=1).pearson_r[0]
        neuroids = [
            Neuroid(
                neuroid_id=str(key),
                pearson_r=float(value),
                explained_variance=float(value) ** 2,
                r2_er=None,
                feve=None,
                reliability=RHO,
                alpha=10.0 ** (j % 5),
                mean_predictor_splits=0,
                shares=None,
            )
            for j, (key, value) in enumerate(zip(data.neuroid_ids, plain.mean(axis=0), strict=True))
        ]
    params = RsaMapping().parameters() if mapping == "rsa" else RidgeMapping().parameters()
    made = Result(
        candidate=CandidateInfo(
            id=candidate,
            layer=layer,
            track=track,
            weights=None if track == "control" else weights,
            weights_sha256=None,
            n_features=1000,
            effective_dimensionality=12.0,
        ),
        benchmark=BenchmarkInfo(id=f"simulated_small.IT-{mapping}", version=1),
        recording=RecordingInfo(
            id="planted",
            sha256="ab" * 32,
            region="IT",
            n_stimuli=N_STIMULI,
            n_neuroids=Q,
            repetitions_median=6.0,
            simulated=True,
            stimulus_set_sha256="cd" * 32,
            citation="planted truth",
        ),
        mapping=MappingInfo(name=mapping, params=params, spaces=["layer"]),
        split=SplitInfo(name="brainscore", n_splits=N_SPLITS, seed=1, coord=None)
        if data is not None
        else SplitInfo(name="all stimuli at once", n_splits=0, seed=1, coord=None),
        scores=scores,
        per_neuroid=neuroids,
        predictions=None,
        warnings=["planted: nothing was measured"],
        provenance=Provenance(
            itprobe="0.1.0",
            brainscore_vision="2.4.2",
            torch="2.6",
            numpy="1.26.4",
            python="3.11",
            device="cpu",
            precision="full",
            features="float32",
            seed=1,
            started="2026-11-23T08:00:00+00:00",
            seconds=1.0,
            peak_memory_mb=100.0,
        ),
    )
    return made.model_copy(update=parts)


@pytest.fixture(scope="session")
def planted_site():
    """What makes boards: held_out(r, seed), result(candidate, held_out, ...), save(result, held_out, folder)."""
    return SimpleNamespace(held_out=held_out, result=result, responses=responses, save=save_result, q=Q)


HOSTILE = '<img src=x onerror="document.title=1">\'"</script><!--:layer{{7*7}}'


def write_board(folder):
    """Two models with layers, controls, similarities, and a candidate whose name is an attack."""
    rng = np.random.default_rng(0)
    for model, weights, top in (("net", "trained", 0.55), ("net@random-0", "random", 0.3)):
        for k in range(1, 6):
            data = held_out(top - 0.03 * abs(k - 4), int(rng.integers(1e6)))
            save_result(result(f"{model}:block{k}", data, weights=weights), data, folder)
    for name, r in (("pixels", 0.2), ("object_onehot", 0.45)):
        data = held_out(r, len(name))
        save_result(result(name, data, track="control"), data, folder)
    data = held_out(0.4, 11)
    save_result(result(HOSTILE, data), data, folder)
    for name, value in (("net:block4", 0.3), ("pixels", 0.1)):
        save_result(result(name, track="frozen", mapping="rsa", value=value), None, folder)
    (folder / "broken.json").write_text('{"schema_version": 1}')
    return folder


@pytest.fixture(scope="session")
def board_folder(tmp_path_factory, own_caches):
    """A folder of result files."""
    return write_board(tmp_path_factory.mktemp("board"))


@pytest.fixture(scope="session")
def site(board_folder, tmp_path_factory):
    """The site made of it."""
    out = tmp_path_factory.mktemp("www") / "site"
    build_site(board_folder, out, title="Planted board")
    return out


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium: $ITPROBE_CHROMIUM or the first on the PATH."""
    binary = (
        os.environ.get("ITPROBE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    )
    if binary is None:
        reason = "no Chromium: install one, or name its binary in ITPROBE_CHROMIUM"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=binary, args=CHROMIUM)
        yield launched
        launched.close()
