"""Natural-looking backgrounds: 1/f noise, gradients, horizons and oriented textures, drawn from a seed.

Nothing in a background depends on the object before it.
"""

import numpy as np
from scipy.special import expit


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw a background.

    A scene is 1/f noise (amplitude spectrum f^-a, a from 1.1 to 1.8, near that of natural images),
    a gradient of light, sometimes a horizon with other noise below it, and some smooth blobs.

    Returns
    -------
    np.ndarray (size, size) float32
        Luminance from 0.02 to 0.98, first row on top.
    """
    scene = _noise(rng, size) + _gradient(rng, size)
    if rng.random() < 0.5:
        scene = _with_ground(rng, scene)
    for _ in range(rng.integers(0, 7)):
        scene = _with_blob(rng, scene)
    scene = (scene - scene.mean()) / scene.std()
    mean, contrast = rng.uniform(0.32, 0.62), rng.uniform(0.06, 0.16)
    return np.clip(mean + contrast * scene, 0.02, 0.98).astype(np.float32)


def _noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """Noise (size, size) of amplitude spectrum f^-a, mean 0, variance 1; stretched in one direction."""
    exponent, stretch, angle = rng.uniform(1.1, 1.8), rng.uniform(1.0, 2.0), rng.uniform(0, np.pi)
    vertical = np.fft.fftfreq(size)[:, None]
    horizontal = np.fft.rfftfreq(size)[None]
    along = vertical * np.sin(angle) + horizontal * np.cos(angle)
    across = vertical * np.cos(angle) - horizontal * np.sin(angle)
    frequency = np.sqrt((stretch * along) ** 2 + across**2)
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * frequency**-exponent
    noise = np.fft.irfft2(spectrum, s=(size, size))
    return noise / noise.std()


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates y (1, size), to the right, and z (size, 1), up, from -1 to 1."""
    axis = (np.arange(size) + 0.5) * (2 / size) - 1
    return axis[None], -axis[:, None]


def _gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    y, z = _grid(size)
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1.2)
    return strength * (y * np.cos(angle) + z * np.sin(angle))


def _with_ground(rng: np.random.Generator, scene: np.ndarray) -> np.ndarray:
    """Put a tilted ground with its own texture, denser towards the horizon, under the scene."""
    size = scene.shape[0]
    y, z = _grid(size)
    level = rng.uniform(-0.5, 0.3) + rng.uniform(-0.15, 0.15) * y
    depth_below = np.clip(level - z, 0, None)
    rows = (size * (1 - 1 / (1 + 2 * depth_below))).astype(int) % size
    texture = _noise(rng, size)[rows, np.arange(size)[None]]
    ground = 0.8 * texture + rng.uniform(-1.2, 1.2)
    sky = rng.uniform(0.3, 1.0) * scene
    edge = expit((z - level) * size * rng.uniform(0.1, 0.6))
    return edge * sky + (1 - edge) * ground


def _with_blob(rng: np.random.Generator, scene: np.ndarray) -> np.ndarray:
    """Lay a textured ellipse with a soft edge over the scene: stones, bushes, clouds."""
    y, z = _grid(scene.shape[0])
    centre_y, centre_z = rng.uniform(-1, 1, 2)
    angle = rng.uniform(0, np.pi)
    half_long, half_short = rng.uniform(0.12, 0.5), rng.uniform(0.08, 0.3)
    along = (y - centre_y) * np.cos(angle) + (z - centre_z) * np.sin(angle)
    across = (z - centre_z) * np.cos(angle) - (y - centre_y) * np.sin(angle)
    distance = np.sqrt((along / half_long) ** 2 + (across / half_short) ** 2)
    opacity = rng.uniform(0.4, 1.0) * expit((1 - distance) * rng.uniform(5, 30))
    tone = rng.uniform(-1.5, 1.5) - 0.5 * across / half_short * rng.uniform(0, 1)
    return (1 - opacity) * scene + opacity * (tone + 0.4 * scene)
