"""Peak memory of the Gram matrices of six ResNet50 layers (2.3 million features), beyond the model's.

Run as ``python tests/performance/memory.py`` (Linux). The network has random weights and the images are
noise: neither changes what is held in memory. The peak of the whole process counts, less what it had
used once the model was loaded and had seen one batch. Pages of temporary files count as resident
although the system may drop them, so the peak of anonymous memory is printed beside it.
"""

import argparse
import resource
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from machine import restart_with_fair_settings
from PIL import Image

from itprobe.benchmarks.features import Extraction, layer_grams
from itprobe.data import make_stimulus_set
from itprobe.models import load_candidate

CANDIDATE = "torchvision/resnet50@random"
LAYERS = ("conv1", "layer1", "layer2", "layer3", "layer4", "avgpool")
ASKED_GB = 6.0


def main() -> None:
    """Print the peak, and each layer as it is done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=3200, help="number of stimuli")
    parser.add_argument("--layers", nargs="+", default=LAYERS)
    parser.add_argument("--budget", type=float, default=4.0, help="GB that features may take in memory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stimuli = noise_images(options.n, Path(folder))
        candidate = load_candidate(CANDIDATE, device="cpu")
        next(candidate.stream(stimuli, [options.layers[-1]], None))  # the forward pass is the model's
        model_gb, start, total = peak_gb(), perf_counter(), 0
        with anonymous_peak() as anonymous:
            before = anonymous[0]
            for layer, gram, _ in layer_grams(
                candidate, stimuli, "", options.layers, None, Extraction(int(options.budget * 1e9))
            ):
                total += gram.n_features
                print(
                    f"{layer}: {gram.n_features} features, {perf_counter() - start:.1f} s, {peak_gb():.2f} GB"
                )
    beyond = peak_gb() - model_gb
    kernel = options.n**2 * 8 / 1e9
    print(
        f"n = {options.n}, {total} features ({options.n * total * 4 / 1e9:.1f} GB in float32), "
        f"{len(options.layers)} layers, {perf_counter() - start:.1f} s; one Gram matrix is {kernel:.2f} GB"
    )
    print(
        f"peak {peak_gb():.2f} GB, model {model_gb:.2f} GB, beyond the model {beyond:.2f} GB "
        f"(asked at n = 3200: under {ASKED_GB:g}); anonymous memory beyond the model {anonymous[0] - before:.2f} GB"
    )


def noise_images(n: int, folder: Path):
    """A stimulus set of n small pictures of noise."""
    rng = np.random.default_rng(0)
    paths = {}
    for index in range(n):
        key = f"im{index:05d}"
        paths[key] = folder / f"{key}.png"
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(paths[key])
    return make_stimulus_set(pd.DataFrame({"stimulus_id": list(paths)}), paths, "noise")


def peak_gb() -> float:
    """Largest resident memory of this process so far, in 10⁹ bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


@contextmanager
def anonymous_peak(every: float = 0.02) -> Iterator[list[float]]:
    """Watch the memory that no file backs; the list's only entry is its peak so far, in 10⁹ bytes."""
    peak, stop = [_anonymous_gb()], threading.Event()

    def watch() -> None:
        while not stop.wait(every):
            peak[0] = max(peak[0], _anonymous_gb())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


def _anonymous_gb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024 / 1e9
    raise OSError("this system does not tell anonymous memory apart")


if __name__ == "__main__":
    restart_with_fair_settings()
    main()
