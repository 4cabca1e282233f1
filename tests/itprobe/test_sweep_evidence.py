"""What sweeps must show: planted depths are found, caps on lambda mislead, and a killed sweep loses nothing."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest
import xarray as xr

from itprobe.benchmarks import load_benchmark
from itprobe.benchmarks.features import layer_grams
from itprobe.data import package_recording, save_recording, stimulus_set_sha256
from itprobe.data.simulated import PLANTED_BLOCK, SIMULATED, make_simulated, teacher
from itprobe.leaderboard.lambda_figure import best_layer_under_cap, lambda_by_layer
from itprobe.metrics import RidgeMapping
from itprobe.metrics.diagnostics import lambda_curve
from itprobe.models import Candidate, load_candidate
from itprobe.sweeping import sweep

BLOCKS = [f"block{number}" for number in range(1, 6)]
V4 = Path(__file__).parents[3] / "shared" / "recordings" / "macaque_v4_cowley2023"
AS_THE_TEACHER_SAW = {"size": 128, "mean": (0, 0, 0), "std": (1, 1, 1)}


def simulated_small(seed: int, folder: Path) -> str:
    """The recording `simulated_small` of another seed, in a file."""
    size = SIMULATED["simulated_small"]
    recording = make_simulated(
        size.n_stimuli,
        size.n_neuroids,
        seed,
        folder=folder / "images",
        repetitions=size.repetitions,
        identifier="simulated_small",
    )
    save_recording(recording, folder / "recording.nc")
    return str(folder / "recording.nc")


@pytest.mark.slow
def test_the_planted_depth_is_found(tmp_path):
    """The very network that the sites read is swept, on 20 recordings with a network and sites of their own."""
    planted = BLOCKS.index(PLANTED_BLOCK)
    within, near, sizes = 0, 0, []
    for seed in range(20):
        recording = simulated_small(seed, tmp_path / str(seed))
        swept = sweep(
            teacher(seed), recording, layers=BLOCKS, preprocessing=AS_THE_TEACHER_SAW, inner_folds=0
        )
        scores, tied = (swept[name].values[0, :, 0] for name in ("score", "tied_with_best"))
        within += bool(tied[planted])
        near += abs(int(scores.argmax()) - planted) <= 1
        sizes.append(int(tied.sum()))
    print(f"planted depth tied with the best: {within} of 20; best within a block: {near}; ties: {sizes}")
    assert within >= 17
    assert near == 20
    assert np.mean(sizes) < 2


def best_under_caps(candidate: Candidate, layers: Sequence[str], benchmark: str, caps: Sequence[float]):
    """The best layers if lambda may not exceed each of the caps, all layers on one grid of absolute lambdas."""
    bench = load_benchmark(benchmark, RidgeMapping(tuple(np.logspace(-2, 8, 21))))
    stimuli = bench.target.stimulus_set
    curves = {}
    for layer, gram, ids in layer_grams(candidate, stimuli, stimulus_set_sha256(stimuli), layers, None):
        curves[layer] = lambda_curve(bench.evaluate_gram(gram, ids, 1, layer).choices)
    table = lambda_by_layer({layer: curves[layer] for layer in layers})
    bests = [best_layer_under_cap(table, cap) for cap in caps]
    print(bests)
    assert all(best.n_compared == len(layers) for best in bests)
    return [best.layer for best in bests]


def test_a_cap_on_lambda_hides_the_planted_depth():
    """What a report saw: which layer is best moves with the largest lambda that may be tried."""
    candidate = load_candidate(teacher(0), "cpu", AS_THE_TEACHER_SAW)
    caps = [np.inf, 1000, 10]
    free, generous, tight = best_under_caps(candidate, BLOCKS, "simulated_small.IT-ridge", caps)
    assert free == generous == PLANTED_BLOCK
    assert BLOCKS.index(tight) < BLOCKS.index(PLANTED_BLOCK)


@pytest.mark.slow
@pytest.mark.skipif(not V4.is_dir(), reason="the real recordings are not beside this checkout")
def test_caps_on_lambda_make_the_best_layer_shallower_on_macaque_v4(tmp_path):
    recording = package_recording(V4 / "images.zip", V4 / "counts.npz", "V4", tmp_path / "v4.nc")
    layers = [f"_blocks.{block}" for block in (6, 8, 10, 11, 12, 14)]
    caps = [np.inf, 1e4, 1e3]
    bests = best_under_caps(load_candidate("efficientnet_lite0"), layers, f"{recording}#V4-ridge", caps)
    assert bests == ["_blocks.12", "_blocks.11", "_blocks.10"]


MODELS = ["efficientnet_lite0@random", "pixels"]
LAYERS = [f"_blocks.{block}~pool1" for block in (0, 3, 6, 9, 12, 15)]
MAPPINGS = ["ridge", "pcr", "pls", "rsa", "cka"]
N_RESULTS = (len(LAYERS) + 1) * len(MAPPINGS)


class Run:
    """The command in a process of its own, with a cache of its own."""

    def __init__(self, recording: str, folder: Path) -> None:
        self.out = folder / "out"
        self.environment = os.environ | {
            "ITPROBE_HOME": str(folder / "home"),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        asked = ["--layers", ",".join(LAYERS), "--mappings", ",".join(MAPPINGS), "--out", str(self.out)]
        self.command = [sys.executable, "-m", "itprobe", "sweep", *MODELS, "--recording", recording, *asked]

    def start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def results(self) -> list[Path]:
        return list((self.out / "results").glob("[!.]*.json"))

    def begin(self) -> "subprocess.Popen[bytes]":
        """Start it and wait until it writes its manifest, which it does before any work."""
        before = self.manifest_time()
        process = self.start()
        while process.poll() is None and self.manifest_time() == before:
            sleep(0.002)
        return process

    def manifest_time(self) -> int:
        manifest = self.out / "sweep.json"
        return manifest.stat().st_mtime_ns if manifest.exists() else 0

    def finish(self) -> np.ndarray:
        """Let it run to its end; gives the seconds from its beginning to each result."""
        process = self.begin()
        begun = self.manifest_time()
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()[-2000:]
        return (np.array(sorted(path.stat().st_mtime_ns for path in self.results())) - begun) / 1e9

    def kill(self, after: int, delay: float) -> None:
        """Kill it some time after so many results are there, and before the last one is."""
        process = self.begin()
        while process.poll() is None and len(self.results()) < after:
            sleep(0.002)
        deadline = monotonic() + delay
        while monotonic() < deadline and len(self.results()) < N_RESULTS - 1:
            sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def arrays_of(path: Path) -> dict[str, tuple[object, ...]]:
    """All values of a netCDF file, as bytes."""
    with xr.open_dataset(path) as dataset:
        values = {name: dataset[name].values for name in dataset.variables}
    texts = {name: array.astype(str) if array.dtype == object else array for name, array in values.items()}
    return {str(name): (array.dtype, array.shape, array.tobytes()) for name, array in texts.items()}


def everything(out: Path) -> dict[str, object]:
    """What a sweep found, file by file: all but when it ran, and the bytes between a netCDF file's arrays."""
    found: dict[str, object] = {
        path.name: path.read_bytes() for path in out.iterdir() if path.suffix in (".csv", ".png", ".txt")
    }
    found |= {path.name: arrays_of(path) for path in [out / "sweep.nc", *(out / "results").glob("*.nc")]}
    for path in (out / "results").glob("[!.]*.json"):
        content = json.loads(path.read_text())
        del content["provenance"]
        if content["predictions"]:
            del content["predictions"]["sha256"]
        found[path.name] = json.dumps(content)
    return found


def moments(timeline: Sequence[float], seed: int = 4) -> list[tuple[int, float]]:
    """A random moment in each third of a run: results that are there by then, and seconds since the last."""
    times = np.concatenate([[0], timeline])
    drawn = (np.arange(3) + np.random.default_rng(seed).uniform(size=3)) / 3 * times[-1]
    counts = [int(np.searchsorted(timeline, moment)) for moment in drawn]
    return [(count, float(moment - times[count])) for count, moment in zip(counts, drawn, strict=True)]


@pytest.mark.slow
def test_killed_three_times_and_resumed_equals_undisturbed(planted_file, tmp_path):
    whole, killed = (Run(planted_file, tmp_path / name) for name in ("whole", "killed"))
    timeline = whole.finish()
    held = []
    for after, delay in moments(timeline):
        killed.kill(after, delay)
        held.append(len(killed.results()))
    print(f"results when killed: {held} of {N_RESULTS}")
    assert held == sorted(held)
    assert held[-1] < N_RESULTS
    killed.finish()
    expected, found = everything(whole.out), everything(killed.out)
    assert len(expected) > 3 * N_RESULTS
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
