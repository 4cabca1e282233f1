"""Template of the category of fruits."""

from collections.abc import Callable

import numpy as np

from itprobe.data.simulated.solids import (
    Material,
    Solid,
    bullet,
    cylinder,
    ellipsoid,
    half_ellipsoid,
    rotation,
)


def fruit(rng: np.random.Generator, number: int) -> list[Solid]:
    """A fruit: apple, pear, banana, grapes, pineapple, strawberry, water melon or cherries."""
    skin = Material(float(rng.uniform(0.4, 0.85)), float(rng.uniform(0.25, 0.5)))
    dark = Material(0.18, 0.05)
    makers: list[Callable[[], list[Solid]]] = [
        lambda: [
            *(ellipsoid((0, y, 0), (0.78, 0.62, 0.78), material=skin) for y in (-0.2, 0.2)),
            cylinder((0, 0, 0.6), (0, 0.12, 1.05), 0.05, material=dark),
            ellipsoid((0, 0.32, 0.98), (0.05, 0.26, 0.11), rotation("x", 20), material=Material(0.35)),
        ],
        lambda: [
            ellipsoid((0, 0, -0.3), (0.68, 0.68, 0.66), material=skin),
            bullet((0, 0, -0.12), (0.0, 0.05, 1.05), 0.6, material=skin),
            ellipsoid((0, 0.02, 0.5), (0.33, 0.33, 0.42), material=skin),
            cylinder((0, 0.03, 0.85), (0, 0.15, 1.2), 0.045, material=dark),
        ],
        lambda: _banana(skin, dark),
        lambda: _grapes(rng, skin, dark),
        lambda: _pineapple(rng, skin),
        lambda: [
            half_ellipsoid((0, 0, 0.25), (0.66, 0.66, 0.36), material=skin),
            bullet((0, 0, 0.25), (0, 0, -1.0), 0.66, material=skin.striped(0.35, 22.0)),
            *(
                bullet((0, 0, 0.6), (0.6 * np.cos(a), 0.6 * np.sin(a), 0.55), 0.13, material=Material(0.25))
                for a in np.arange(6) * np.pi / 3
            ),
            cylinder((0, 0, 0.55), (0, 0.08, 0.9), 0.05, material=dark),
        ],
        lambda: [
            ellipsoid((0, 0, 0), (0.68, 1.0, 0.68), material=Material(0.62, 0.35).striped(0.75, 17.0)),
            cylinder((0, -0.97, 0.05), (0, -1.12, 0.12), 0.04, material=dark),
        ],
        lambda: [
            *(ellipsoid((0, side * 0.48, -0.4), (0.45,) * 3, material=skin) for side in (-1, 1)),
            *(cylinder((0, side * 0.48, 0), (0, 0.05, 0.95), 0.035, material=dark) for side in (-1, 1)),
            ellipsoid((0, 0.38, 0.9), (0.05, 0.36, 0.15), rotation("x", 15), material=Material(0.3)),
        ],
    ]
    return makers[number]()


def _banana(skin: Material, dark: Material) -> list[Solid]:
    angles = np.deg2rad(np.linspace(205, 335, 8))
    bends = [(0, 1.1 * np.cos(a), 1.1 * np.sin(a) + 0.75) for a in angles]
    radii = [0.12, 0.18, 0.22, 0.24, 0.22, 0.18, 0.12]
    pairs = zip(bends[:-1], bends[1:], radii, strict=True)
    rods = [cylinder(start, end, radius, material=skin) for start, end, radius in pairs]
    joints = [
        ellipsoid(bend, (r,) * 3, material=skin) for bend, r in zip(bends[1:-1], radii[1:], strict=True)
    ]
    ends = [ellipsoid(bend, (0.11,) * 3, material=dark) for bend in (bends[0], bends[-1])]
    return [*rods, *joints, *ends]


def _grapes(rng: np.random.Generator, skin: Material, dark: Material) -> list[Solid]:
    parts = [cylinder((0, 0, 0.6), (0, 0.1, 1.1), 0.045, material=dark)]
    for level, count in enumerate([5, 6, 5, 3, 1]):
        reach = 0.1 * count if count > 1 else 0.0
        for angle in np.arange(count) * 2 * np.pi / count + 0.5 * level:
            centre = (reach * np.cos(angle), reach * np.sin(angle), 0.55 - 0.36 * level)
            parts.append(ellipsoid(centre, (float(rng.uniform(0.23, 0.28)),) * 3, material=skin))
    return parts


def _pineapple(rng: np.random.Generator, skin: Material) -> list[Solid]:
    parts = [ellipsoid((0, 0, -0.35), (0.5, 0.5, 0.72), material=skin.striped(0.6, 26.0))]
    for angle in np.arange(9) * 2 * np.pi / 9:
        reach, height = rng.uniform(0.25, 0.6), rng.uniform(0.75, 1.1)
        parts.append(
            bullet(
                (0, 0, 0.2),
                (reach * np.cos(angle), reach * np.sin(angle), height),
                0.12,
                material=Material(0.3),
            )
        )
    return parts
