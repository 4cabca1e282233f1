"""What a sweep over a network's blocks costs beside a bare forward pass and the scoring of its layers.

Run as ``python tests/performance/sweep.py`` on an idle machine. As much memory as the features take is written to
once, see `touch_memory`. Then, some times in turn, the shortest of each counting:

- the bare forward pass: torch alone, whole network as it was loaded, the same batches, images decoded beforehand;
- the sweep of all blocks under ``ridge`` with an empty cache: images decoded, features kept, Gram matrices, scores,
  result files;
- the same sweep again with every score computed anew: Gram matrices are known, so this is the scoring (plain
  ridge; choosing layers on inner folds would come on top).

Last ``pls`` in addition: a second mapping.

(sweep - scoring) / bare forward pass is what features cost over the least that they can cost: it counts loading
images, copying 16 and more layers and their Gram matrices.
"""

import argparse
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
import torch
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
from machine import describe_machine, restart_with_fair_settings

from itprobe.benchmarks import features
from itprobe.benchmarks.features import Extraction
from itprobe.data import load_recording, save_recording
from itprobe.data.simulated import make_simulated
from itprobe.metrics.store import GramStore
from itprobe.models import NetworkCandidate, load_candidate
from itprobe.models.stream import image_batches
from itprobe.sweeping import Settings, carry_out

ASKED = 1.5


@dataclass
class Watch:
    """What happened during a sweep.

    Attributes
    ----------
    seconds : float
    products : float
        Seconds from kept features to Gram matrices.
    images : int
        That networks were run on, a dry run on two images of noise aside.
    """

    seconds: float = 0
    products: float = 0
    images: int = 0


def main() -> None:
    """Print the seconds of each part, and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recording", default="simulated_small")
    parser.add_argument("--candidate", default="torchvision/resnet50@random")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--memory",
        type=float,
        metavar="GB",
        help="what features may take in memory (default: half of what is free)",
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=3,
        help="of bare pass, sweep and scoring, in turn; the best of each counts",
    )
    parser.add_argument(
        "--cpu-seconds",
        action="store_true",
        help="of this process instead of the clock's: for a machine that others use, with OMP_NUM_THREADS=1 and "
        "OPENBLAS_NUM_THREADS=1",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small network, few images: does the script run?"
    )
    options = parser.parse_args()
    with TemporaryDirectory() as home:
        os.environ["ITPROBE_HOME"] = home
        if options.quick:
            options.candidate, options.repeats = "torchvision/resnet18@random", 1
            options.recording = few_images(Path(home))
        compare(options, Path(home))


def touch_memory(n_bytes: int, memory: float | None) -> None:
    """Write to as much memory as the sweep will keep features in, and leave it to the process, see `machine.KEPT`.

    A virtual machine gets memory from its host when it is first touched, and gives it back within seconds when it is
    freed (seen: 2.3 s a GB, against .07 s for memory that it still has). The bare forward pass needs little memory,
    so that this would count as the sweep's alone.
    """
    budget = psutil.virtual_memory().available // 2 if memory is None else int(memory * 1e9)
    np.empty(min(n_bytes, budget), dtype=np.uint8)[:] = 1


def few_images(folder: Path) -> str:
    """A recording of 64 simulated images and 4 sites."""
    save_recording(make_simulated(64, 4, folder=folder / "images"), folder / "few.nc")
    return str(folder / "few.nc")


def compare(options: argparse.Namespace, home: Path) -> None:
    """Time the parts one after the other."""
    stimuli = load_recording(options.recording).attrs["stimulus_set"]
    candidate, bare = (load_candidate(options.candidate, options.device) for _ in range(2))
    assert isinstance(candidate, NetworkCandidate) and isinstance(bare, NetworkCandidate)
    module = bare.module  # looking for its layers would put the other's weights into another order
    layers = candidate.layers("blocks")
    widths = [candidate.traced[layer].shape for layer in layers]
    n_features = sum(torch.Size(shape).numel() for shape in widths)
    print(
        f"{options.candidate} on {candidate.device}, {len(layers)} blocks, {n_features:,} features, "
        f"{len(stimuli)} images of {Path(options.recording).stem}"
    )
    print(describe_machine(len(stimuli)))
    extraction = Extraction(None if options.memory is None else int(options.memory * 1e9))
    clock = process_time if options.cpu_seconds else perf_counter
    batches: list[torch.Tensor] = []
    decoding = seconds_of(clock, lambda: batches.extend(decoded_batches(candidate, stimuli)))
    bare_pass(
        module, batches[:2], candidate.device
    )  # what torch does once, at the first pass, is not counted

    def timed(out: Path, mappings: list[str], **settings: Any) -> Watch:
        asked = Settings(
            mappings=mappings, device=options.device, extraction=extraction, inner_folds=0, **settings
        )
        with watched(clock) as watch:
            watch.seconds = seconds_of(
                clock, lambda: carry_out([options.candidate], options.recording, asked, out)
            )
        return watch

    touching = seconds_of(clock, lambda: touch_memory(4 * n_features * len(stimuli), options.memory))
    rounds = []
    for number in range(options.repeats):
        GramStore().clear()
        out = home / f"sweep-{number}"
        alone = seconds_of(clock, lambda: bare_pass(module, batches, candidate.device))
        rounds.append((alone, timed(out, ["ridge"]), timed(out, ["ridge"], resume="always")))
    second = timed(out, ["ridge", "pls"])
    bare, sweeps, scorings = zip(*rounds, strict=True)
    sweep, scoring = min(sweeps, key=_seconds), min(scorings, key=_seconds)
    over = sweep.seconds - scoring.seconds
    print(
        f"best of {options.repeats}; decoding the images of the bare forward pass beforehand: {decoding:.1f} s"
    )
    print(f"touching as much memory as the features take, beforehand: {touching:.1f} s")
    print(f"bare forward pass: {min(bare):.1f} s ({_each(bare)})")
    print(
        f"sweep, ridge: {sweep.seconds:.1f} s ({_each(map(_seconds, sweeps))}), "
        f"{sweep.images} images through the network each"
    )
    print(f"  of which Gram matrices: {sweep.products:.1f} s")
    print(
        f"  of which scoring: {scoring.seconds:.1f} s ({_each(map(_seconds, scorings))}), "
        f"{scoring.seconds / len(layers):.2f} s a layer"
    )
    print(f"(sweep - scoring) / bare forward pass: {over / min(bare):.2f} (asked: {ASKED} or less)")
    print(f"the same without the Gram matrices: {(over - sweep.products) / min(bare):.2f}")
    print(f"second mapping, pls: {second.seconds:.1f} s, {second.images} images through the network")


def _seconds(watch: Watch) -> float:
    return watch.seconds


def _each(seconds: Iterable[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in seconds)


def seconds_of(clock: Callable[[], float], function: Callable[[], object]) -> float:
    """Seconds that a function takes."""
    start = clock()
    function()
    return clock() - start


def decoded_batches(candidate: NetworkCandidate, stimuli: StimulusSet) -> list[torch.Tensor]:
    """All images, prepared, in the candidate's own batches."""
    decoded = image_batches(stimuli, candidate.preprocessing, candidate.batch_size, candidate.identifier)
    return [images for _, images in decoded]


def bare_pass(module: torch.nn.Module, batches: list[torch.Tensor], device: torch.device) -> None:
    """Torch alone on prepared images."""
    with torch.inference_mode():
        for images in batches:
            module(images.to(device)).cpu()  # waits for a GPU


@contextmanager
def watched(clock: Callable[[], float]) -> Iterator[Watch]:
    """Count images, and time Gram matrices, while the context lasts."""
    watch = Watch()
    batches, from_chunks, from_images = (
        NetworkCandidate._batches,
        features.gram_from_chunks,
        features.gram_from_images,
    )

    def counted(self: NetworkCandidate, *arguments: Any) -> Iterator[Any]:
        for rows, values in batches(self, *arguments):
            watch.images += rows.stop - rows.start
            yield rows, values

    def clocked(*arguments: Any) -> Any:
        start = clock()
        gram = from_chunks(*arguments)
        watch.products += clock() - start
        return gram

    def clocked_again(*arguments: Any) -> Any:
        print("a layer did not fit in memory and is computed again")
        return from_images(*arguments)

    with (
        patch.object(NetworkCandidate, "_batches", counted),
        patch.object(features, "gram_from_chunks", clocked),
        patch.object(features, "gram_from_images", clocked_again),
    ):
        yield watch


if __name__ == "__main__":
    restart_with_fair_settings(keep_memory=True)
    main()
