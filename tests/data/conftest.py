from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
from PIL import Image

from itprobe.data import build_assembly, make_stimulus_set


def write_images(folder: Path, names: list[str], seed: int = 0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for name in names:
        pixels = generator.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return [folder / name for name in names]


@pytest.fixture
def image_writer() -> Callable[..., list[Path]]:
    return write_images


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of the images im0 to im4."""
    write_images(tmp_path / "images", [f"im{number}.png" for number in range(5)])
    return tmp_path / "images"


@pytest.fixture
def make_recording(tmp_path: Path) -> Callable[..., NeuroidAssembly]:
    """A factory of small recordings with texts that are easily taken for numbers, and missing values."""

    def make(
        n_stimuli: int = 6, n_repetitions: int = 3, n_neuroids: int = 4, seed: int = 0, **options: object
    ) -> NeuroidAssembly:
        generator = np.random.default_rng(seed)
        ids = [f"{number:03d}" for number in range(n_stimuli)]
        files = write_images(tmp_path / f"images{seed}", [f"{key}.png" for key in ids], seed)
        columns = pd.DataFrame(
            {
                "stimulus_id": ids,
                "object_name": generator.choice(["NA", "007", "car, red", "Äpfel"], n_stimuli),
                "variation": generator.choice([0, 3], n_stimuli),
                "s": generator.normal(size=n_stimuli),
                "flipped": generator.choice([True, False], n_stimuli),
            }
        )
        stimulus_set = make_stimulus_set(columns, dict(zip(ids, files, strict=True)), "tiny")
        rows = generator.permutation(n_stimuli * n_repetitions)
        values = generator.normal(size=(len(rows), n_neuroids))
        values[generator.random(values.shape) < 0.1] = np.nan
        return build_assembly(
            values,
            np.repeat(ids, n_repetitions)[rows],
            np.tile(np.arange(n_repetitions), n_stimuli)[rows],
            stimulus_set,
            {
                "neuroid_id": [f"n{number}" for number in range(n_neuroids)],
                "region": ["IT"] * (n_neuroids - 1) + ["V4"],
                "animal": ["Chabo", "Tito"] * (n_neuroids // 2) + ["Tito"] * (n_neuroids % 2),
                "x": generator.normal(size=n_neuroids),
            },
            **{"identifier": "tiny", "visual_degrees": 8.0, "citation": "nobody", **options},
        )

    return make
