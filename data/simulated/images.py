"""The stimuli as arrays and as PNG files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from itprobe.data.simulated.backgrounds import background
from itprobe.data.simulated.objects import make_objects
from itprobe.data.simulated.render import render
from itprobe.data.simulated.scenes import LATENTS, place
from itprobe.progress import progress_bar

IMAGE_SIZE = 128


def draw_stimuli(latents: pd.DataFrame, seed: int, size: int = IMAGE_SIZE) -> Iterator[np.ndarray]:
    """Draw each scene of `latents`: the object before a background of its own.

    The background's generator knows the seed and the ``background_id`` alone.

    Yields
    ------
    np.ndarray (size, size) uint8
    """
    objects = make_objects(seed)
    with progress_bar(len(latents), "drawing simulated stimuli", "image") as bar:
        for name, behind, *pose in latents[["object_name", "background_id", *LATENTS]].itertuples(
            index=False
        ):
            number = int(behind.rpartition("-")[2])
            scenery = background(np.random.default_rng([seed, 3, number]), size)
            placed = place(objects[name], dict(zip(LATENTS, pose, strict=True)))
            yield render(placed, scenery)
            bar.update()


def write_stimuli(
    latents: pd.DataFrame, seed: int, folder: Path, size: int = IMAGE_SIZE
) -> tuple[np.ndarray, dict[str, Path]]:
    """Draw the stimuli into PNG files (RGB, three equal channels).

    Returns
    -------
    images : np.ndarray (n, size, size) uint8
    paths : dict of str to Path
        The file of each stimulus_id.
    """
    images = np.empty((len(latents), size, size), dtype=np.uint8)
    paths = {key: folder / f"{key}.png" for key in latents["stimulus_id"]}
    for index, (path, image) in enumerate(
        zip(paths.values(), draw_stimuli(latents, seed, size), strict=True)
    ):
        images[index] = image
        Image.fromarray(image).convert("RGB").save(path, compress_level=1)
    return images, paths
