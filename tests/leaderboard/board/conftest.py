"""A small recording scored once for all tests of boards, and copies of its result file to tamper with."""

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import netCDF4
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from itprobe.api import plan_requests, score_requests
from itprobe.data import build_assembly, load_recording, make_stimulus_set, save_recording

N, Q, R = 80, 6, 4


def small_recording(path, seed=3, q=Q):
    """Responses linear in the colours of the images' quarters, with noise: pixels predict some of it."""
    rng = np.random.default_rng(seed)
    ids = [f"s{k:02d}" for k in range(N)]
    colours = rng.integers(0, 255, (N, 2, 2, 3), dtype=np.uint8)
    folder = path.parent / f"{path.stem}-images"
    folder.mkdir(parents=True)
    # BMP: its bytes, and with them the digests in version1/, are the same with every version of Pillow.
    for key, colour in zip(ids, colours, strict=True):
        Image.fromarray(np.kron(colour, np.ones((8, 8, 1), dtype=np.uint8))).save(folder / f"{key}.bmp")
    signal = (colours.reshape(N, -1) / 255 - 0.5) @ rng.normal(size=(12, q))
    values = signal[:, None] + 0.7 * rng.normal(size=(N, R, q)) + 3
    table = pd.DataFrame({"stimulus_id": ids, "object_name": np.resize(["cube", "ball", "car"], N)})
    assembly = build_assembly(
        values.reshape(N * R, q),
        np.repeat(ids, R),
        np.tile(np.arange(R), N),
        make_stimulus_set(table, {key: folder / f"{key}.bmp" for key in ids}, "quarters"),
        {
            "neuroid_id": [f"n{j}" for j in range(q)],
            "region": ["IT"] * q,
            "animal": np.resize(["a", "b"], q),
        },
        identifier="quarters",
        visual_degrees=8,
        citation="planted truth",
    )
    save_recording(assembly, path)
    return path


def score_into(folder, path, candidates=("pixels",), mapping="ridge", **options):
    requests = plan_requests(list(candidates))
    return [item.path for item in score_requests(requests, f"{path}#IT-{mapping}", results=folder, **options)]


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A scored recording: .path, .assembly, .folder of results, .pixels and .objects (JSON files)."""
    base = tmp_path_factory.mktemp("board")
    path = small_recording(base / "quarters.nc")
    pixels, objects = score_into(base / "results", path, ("pixels", "object_onehot"))
    return SimpleNamespace(
        path=path,
        assembly=load_recording(path),
        folder=base / "results",
        pixels=pixels,
        objects=objects,
        score=lambda folder, **options: score_into(folder, path, **options),
        other=lambda target, **options: small_recording(target, **options),
    )


@pytest.fixture
def submission(small, tmp_path):
    """A copy of the pixels' result file and its predictions, in a folder of its own."""
    return copy_of(small.pixels, tmp_path / "submitted")


def copy_of(path: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    predictions = json.loads(path.read_text())["predictions"]
    if predictions:
        shutil.copy(path.parent / predictions["file"], folder)
    return Path(shutil.copy(path, folder))


def rewrite(path: Path, change) -> Path:
    """Change a JSON file by a function of its content."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))
    return path


def tamper(path: Path, change) -> Path:
    """Change the predictions of a result by a function of the open netCDF file, and name their new digest."""
    file = path.parent / json.loads(path.read_text())["predictions"]["file"]
    with netCDF4.Dataset(file, "a") as source:
        change(source)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return rewrite(path, lambda content: content["predictions"].update(sha256=digest))


@pytest.fixture
def change():
    """copy(path, folder), rewrite(path, function), tamper(path, function of the netCDF file)."""
    return SimpleNamespace(copy=copy_of, rewrite=rewrite, tamper=tamper)
