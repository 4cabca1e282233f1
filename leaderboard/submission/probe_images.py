"""Two images and what the network answers to them: how a plugin proves that it is the network it was made from."""

import io
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
from PIL import Image

from itprobe.models import NetworkCandidate

VALUES_PER_LAYER = 64


def probe_images() -> dict[str, bytes]:
    """PNG files: blurred noise, one wider than high and one higher than wide, the same every time."""
    rng = np.random.default_rng(20260101)
    images = {}
    for name, size in (("wide.png", (160, 120)), ("high.png", (96, 144))):
        coarse = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(stream, "PNG", optimize=True)
        images[name] = stream.getvalue()
    return images


def expected_activations(candidate: NetworkCandidate, layers: list[str]) -> bytes:
    """JSON with features of each layer at evenly spaced places, for each probe image."""
    images = probe_images()
    with tempfile.TemporaryDirectory() as folder:
        for name, content in images.items():
            (Path(folder) / name).write_bytes(content)
        stimuli = StimulusSet(pd.DataFrame({"stimulus_id": list(images)}))
        stimuli.stimulus_paths = {name: Path(folder) / name for name in images}
        stimuli.identifier = "probe"
        ((_, features),) = candidate.stream(stimuli, layers, batch_size=len(images))
    expected = {"images": list(images), "layers": {name: _sample(features[name]) for name in layers}}
    return json.dumps(expected, indent=1).encode()


def _sample(features: np.ndarray) -> dict[str, object]:
    n_features = features.shape[1]
    places = np.unique(np.linspace(0, n_features - 1, VALUES_PER_LAYER).astype(int))
    return {
        "n_features": n_features,
        "places": places.tolist(),
        "values": [[float(f"{value:.7g}") for value in row[places]] for row in features],
    }
