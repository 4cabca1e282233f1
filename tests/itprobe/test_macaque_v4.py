"""The whole path on a real recording, against figures that an independent implementation measured.

Macaque V4, session 210325 of Cowley, Stan, Pillow & Smith 2023: 640 images, 50 neuroids.
"""

from pathlib import Path

import numpy as np
import pytest

from itprobe.api import plan_requests, score_requests
from itprobe.benchmarks import load_benchmark
from itprobe.data import package_recording
from itprobe.metrics import gram_matrix, paired_difference
from itprobe.models import load_candidate, record_activations

RECORDING = Path(__file__).parents[3] / "shared" / "recordings" / "macaque_v4_cowley2023"
pytestmark = pytest.mark.skipif(
    not RECORDING.is_dir(), reason="the real recordings are not beside this checkout"
)

TRAINED = {2: 0.452, 4: 0.488, 6: 0.554, 8: 0.560, 10: 0.565, 12: 0.605, 15: 0.566}
PIXELS = 0.269


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("v4") / "v4.nc"
    return str(package_recording(RECORDING / "images.zip", RECORDING / "counts.npz", "V4", path))


@pytest.fixture(scope="module")
def scored(recording):
    models = ["pixels", *(f"efficientnet_lite0:_blocks.{block}" for block in TRAINED)]
    items = score_requests(plan_requests(models), f"{recording}#V4-ridge")
    return {item.result.candidate.id: item for item in items}


def median_r(item) -> float:
    return item.result.scores.pearson_r.median


@pytest.mark.parametrize("block", TRAINED)
def test_trained_blocks(scored, block):
    assert median_r(scored[f"efficientnet_lite0:_blocks.{block}"]) == pytest.approx(TRAINED[block], abs=0.02)


def test_pixels(scored):
    assert median_r(scored["pixels"]) == pytest.approx(PIXELS, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_random_weights_and_the_paired_difference(scored, recording, seed):
    (random,) = score_requests(
        plan_requests([f"efficientnet_lite0@random-{seed}:_blocks.12"]), f"{recording}#V4-ridge"
    )
    assert 0.33 < median_r(random) < 0.39
    difference = paired_difference(scored["efficientnet_lite0:_blocks.12"].held_out, random.held_out)
    assert difference.ci95[0] > 0.1


@pytest.mark.slow
def test_a_block_at_three_resolutions_beats_it_in_full(scored, recording):
    """On this recording block 8 averaged to 4 x 4 scores .588 where all of it scores .560."""
    banded = {
        layer: item
        for layer in ("_blocks.8", "_blocks.8,_blocks.12")
        for item in score_requests(plan_requests(["efficientnet_lite0"], [layer]), f"{recording}#V4-banded")
    }
    resolutions = banded["_blocks.8"]
    difference = paired_difference(resolutions.held_out, scored["efficientnet_lite0:_blocks.8"].held_out)
    assert difference.ci95[0] > 0.01
    shares = np.array([list(row.shares.values()) for row in resolutions.result.per_neuroid], dtype=float)
    assert np.nanmedian(shares[:, 1]) > np.nanmedian(shares[:, 0])
    best = max(median_r(scored[f"efficientnet_lite0:_blocks.{block}"]) for block in (8, 12))
    assert median_r(banded["_blocks.8,_blocks.12"]) > best - 0.005


def test_reliability(scored):
    reliability = scored["pixels"].result.scores.reliability
    assert reliability.median == pytest.approx(0.75, abs=0.03)
    assert reliability.ci95[0] < 0.75 < reliability.ci95[1]


def test_permuted_ids_score_nothing(recording):
    benchmark = load_benchmark(f"{recording}#V4-ridge")
    with record_activations(
        load_candidate("pixels"), benchmark.target.stimulus_set, ["pixels"]
    ) as activations:
        gram = gram_matrix(activations["pixels"])
        ids = activations.stimulus_ids
    for seed in range(3):
        permuted = ids[np.random.default_rng(seed).permutation(len(ids))]
        summary = benchmark.evaluate_gram(gram, permuted).summary
        assert abs(summary["pearson_r"]["median"]) < 0.05
