"""The 64 objects: 8 categories of the HvM set, 8 objects each, built from convex solids.

A category is a template, a function of a random generator and the object's number within the
category: the number picks the sub-type (a sail boat, a tug; a saloon, a van), the generator draws
proportions and materials. Objects are built with their length along y (their front towards -y, or
towards the viewer for faces, chairs and tables), and brought to a canonical view and unit size here.
"""

from collections.abc import Callable

import numpy as np

from itprobe.data.simulated.fruits import fruit
from itprobe.data.simulated.solids import (
    Material,
    Solid,
    box,
    bullet,
    cylinder,
    ellipsoid,
    half_ellipsoid,
    rotation,
)
from itprobe.data.simulated.vehicles import boat, car, plane

OBJECTS_PER_CATEGORY = 8
Template = Callable[[np.random.Generator, int], list[Solid]]


def animal(rng: np.random.Generator, number: int) -> list[Solid]:
    """A four-legged animal: from dachshund to giraffe, some striped."""
    legs, neck, girth, snout = [
        (0.55, 0.35, 0.26, 0.20),  # dog
        (0.85, 0.65, 0.26, 0.26),  # horse
        (0.60, 0.15, 0.44, 0.16),  # bear
        (0.70, 0.20, 0.50, 0.50),  # elephant
        (1.10, 1.25, 0.27, 0.20),  # giraffe
        (0.28, 0.18, 0.22, 0.26),  # dachshund
        (0.70, 0.50, 0.30, 0.22),  # zebra
        (0.40, 0.12, 0.40, 0.14),  # pig
    ][number]
    legs, neck, girth = (x * rng.uniform(0.92, 1.08) for x in (legs, neck, girth))
    skin = Material(float(rng.uniform(0.35, 0.85)), float(rng.uniform(0.02, 0.15)))
    striped = skin.striped(0.7, 15.0) if number == 6 else skin
    length, slope = rng.uniform(0.62, 0.72), rng.uniform(0.3, 0.6)
    shoulder = (0.0, -0.78 * length, 0.35 * girth)
    nape = (0.0, shoulder[1] - slope * neck, shoulder[2] + girth * 0.4 + neck)
    head = 0.17 + 0.22 * girth
    parts = [
        ellipsoid((0, 0, 0), (girth * 0.85, length, girth), material=striped),
        cylinder(shoulder, nape, 0.42 * girth + 0.02, material=skin),
        ellipsoid(nape, (head * 0.8, head * 1.25, head), material=skin),
        ellipsoid(
            (0, nape[1] - head - snout / 2, nape[2] - 0.05), (head / 2, snout, head / 2), material=skin
        ),
        cylinder((0, length * 0.93, girth * 0.3), (0, length * 1.25, -girth * 0.6), 0.035, material=skin),
    ]
    if number == 3:
        tip = (0, nape[1] - head - snout * 1.2, -0.5)
        parts.append(cylinder((0, nape[1] - head - snout, nape[2]), tip, 0.08, material=skin))
    ear = 0.22 if number == 3 else 0.07
    for side in (-1, 1):
        parts.append(
            ellipsoid(
                (side * head * 0.75, nape[1] + 0.06, nape[2] + head * 0.7),
                (0.05, ear, ear * 1.6),
                material=skin,
            )
        )
        parts.append(
            ellipsoid(
                (side * head * 0.68, nape[1] - head * 0.7, nape[2] + head * 0.3),
                (0.04,) * 3,
                material=Material(0.03, 0.6),
            )
        )
        for end in (-0.68, 0.68):
            foot = (side * girth * 0.52, end * length * 1.06, -girth * 0.6 - legs)
            hip = (side * girth * 0.5, end * length, -girth * 0.2)
            parts.append(cylinder(hip, foot, 0.06 + 0.13 * girth, material=skin))
    return parts


def chair(rng: np.random.Generator, number: int) -> list[Solid]:
    """A chair: with a solid or slatted back, arms, on four legs or on a pedestal."""
    wood = Material(float(rng.uniform(0.35, 0.8)), float(rng.uniform(0.05, 0.35)))
    cloth = Material(float(rng.uniform(0.25, 0.85)), 0.03)
    half, height, thick = rng.uniform(0.38, 0.48), rng.uniform(0.6, 0.85), rng.uniform(0.04, 0.10)
    tall = rng.uniform(0.7, 1.1)
    round_seat, pedestal, arms, slats = (
        number in (2, 6),
        number in (3, 6),
        number in (1, 3, 5),
        number in (0, 4, 7),
    )
    parts = [
        cylinder((0, 0, -thick), (0, 0, thick), half * 1.08, material=cloth)
        if round_seat
        else box((0, 0, 0), (half, half, thick), material=cloth)
    ]
    lean = rng.uniform(0.0, 0.18) * tall
    back = (-half - lean / 2, 0, tall / 2)
    turn = rotation("y", -np.rad2deg(np.arctan2(lean, tall)))
    if slats:
        for y in np.linspace(-half * 0.9, half * 0.9, 3 + number % 4):
            parts.append(cylinder((-half, y, 0), (-half - lean, y, tall), 0.045, material=wood))
        parts.append(box((-half - lean, 0, tall), (0.06, half, 0.11), material=wood))
    else:
        parts.append(box(back, (0.06 + thick / 2, half * 0.96, tall / 2), turn, material=cloth))
    if pedestal:
        parts.append(cylinder((0, 0, 0), (0, 0, -height), 0.07, material=Material(0.3, 0.6)))
        for angle in np.arange(5) * 2 * np.pi / 5:
            foot = (0.5 * np.cos(angle), 0.5 * np.sin(angle), -height)
            parts.append(cylinder((0, 0, -height * 0.88), foot, 0.05, material=Material(0.3, 0.6)))
    else:
        splay = rng.uniform(1.0, 1.2)
        for x in (-half * 0.86, half * 0.86):
            for y in (-half * 0.86, half * 0.86):
                parts.append(cylinder((x, y, 0), (x * splay, y * splay, -height), 0.05, material=wood))
    if arms:
        for side in (-half, half):
            parts.append(box((0, side, 0.36), (half, 0.055, 0.045), material=wood))
            parts.append(cylinder((half * 0.85, side, 0), (half * 0.85, side, 0.36), 0.045, material=wood))
    return parts


def face(rng: np.random.Generator, number: int) -> list[Solid]:
    """A human head: face shape, hair, nose, eyes, mouth, ears and neck."""
    skin = Material(float(rng.uniform(0.45, 0.85)), float(rng.uniform(0.05, 0.2)))
    hair = Material(float(rng.choice([0.05, 0.12, 0.3, 0.7])), 0.15)
    lips = Material(skin.albedo * 0.45, 0.2)
    wide, tall, deep = rng.uniform(0.55, 0.70), rng.uniform(0.80, 0.95), rng.uniform(0.68, 0.80)
    gap, eye, eye_z = rng.uniform(0.21, 0.28), rng.uniform(0.085, 0.115), rng.uniform(0.08, 0.18)
    nose = rng.uniform(0.12, 0.24)

    def front(y: float, z: float) -> float:
        return float(deep * np.sqrt(max(0.05, 1 - (y / wide) ** 2 - (z / tall) ** 2)))

    brow = front(0, eye_z)
    tip = front(0, -0.16)
    parts = [
        ellipsoid((0, 0, 0), (deep, wide, tall), material=skin),
        ellipsoid((0.08, 0, -tall * 0.52), (deep * 0.72, wide * 0.72, tall * 0.5), material=skin),
        cylinder((-0.1, 0, -0.5), (-0.15, 0, -1.25), wide * 0.55, material=skin),
        bullet((tip - 0.06, 0, -0.20), (brow, 0, eye_z + 0.02), 0.10, material=skin),
        ellipsoid((tip + nose * 0.4, 0, -0.19), (nose * 0.7, 0.10, 0.085), material=skin),
        ellipsoid((front(0, -0.48) + 0.02, 0, -0.47), (0.09, rng.uniform(0.17, 0.27), 0.055), material=lips),
    ]
    for side in (-1, 1):
        surface = front(gap, eye_z)
        parts += [
            ellipsoid(
                (surface - 0.04, side * gap, eye_z),
                (0.09, eye * 1.35, eye * 0.8),
                material=Material(0.95, 0.4),
            ),
            ellipsoid(
                (surface + 0.025, side * gap, eye_z),
                (0.05, eye * 0.55, eye * 0.6),
                material=Material(0.03, 0.7),
            ),
            ellipsoid(
                (surface + 0.02, side * gap, eye_z + 0.19),
                (0.05, eye * 1.6, rng.uniform(0.025, 0.05)),
                material=hair,
            ),
            ellipsoid((-0.05, side * wide, 0.02), (0.13, 0.08, 0.2), material=skin),
        ]
    if number != 5:
        parts.append(
            half_ellipsoid((-0.07, 0, eye_z + 0.2), (deep * 1.02, wide * 1.08, tall * 0.92), material=hair)
        )
        parts.append(ellipsoid((-0.3, 0, 0.1), (deep * 0.85, wide * 1.1, tall * 0.95), material=hair))
    if number in (1, 4, 7):
        for side in (-1, 1):
            parts.append(ellipsoid((-0.18, side * wide * 0.95, -0.35), (0.3, 0.16, 0.75), material=hair))
    if number in (2, 6):
        parts.append(ellipsoid((front(0, -0.7) - 0.12, 0, -0.74), (0.25, wide * 0.6, 0.24), material=hair))
    return parts


def table(rng: np.random.Generator, number: int) -> list[Solid]:
    """A table: square or round top; four legs, a pedestal, trestles, drawers or a shelf."""
    wood = Material(float(rng.uniform(0.35, 0.85)), float(rng.uniform(0.05, 0.4)))
    deep, wide = rng.uniform(0.5, 0.65), rng.uniform(0.85, 1.05)
    height, thick, leg = rng.uniform(0.7, 0.95), rng.uniform(0.04, 0.08), rng.uniform(0.045, 0.08)
    top = (deep, wide, thick)
    if number in (1, 4):
        return _round_table(number, wide * 0.85, height, thick, leg, wood)
    parts = [box((0, 0, 0), top, material=wood)]
    if number == 5:
        return [*parts, *_trestles(deep, wide, height, leg, wood)]
    for x in (-deep * 0.88, deep * 0.88):
        for y in (-wide * 0.92, wide * 0.92):
            parts.append(cylinder((x, y, 0), (x, y, -height), leg, material=wood))
    if number in (2, 6):
        parts.append(
            box((0, wide * 0.55, -height * 0.42), (deep * 0.85, wide * 0.36, height * 0.4), material=wood)
        )
        for z in (-0.25, -0.5):
            parts.append(ellipsoid((deep * 0.88, wide * 0.55, z), (0.05,) * 3, material=Material(0.15, 0.6)))
    if number in (3, 7):
        parts.append(box((0, 0, -height * 0.7), (deep * 0.85, wide * 0.88, thick), material=wood))
    return parts


def _round_table(
    number: int, radius: float, height: float, thick: float, leg: float, wood: Material
) -> list[Solid]:
    """Round top on a pillar, which ends in a foot (number 1) or three legs."""
    parts = [
        cylinder((0, 0, -thick), (0, 0, thick), radius, material=wood),
        cylinder((0, 0, 0), (0, 0, -height), leg * 1.5, material=wood),
    ]
    if number == 1:
        return [*parts, cylinder((0, 0, -height - 0.05), (0, 0, -height), radius * 0.5, material=wood)]
    ends = [(0.5 * np.cos(a), 0.5 * np.sin(a), -height) for a in np.deg2rad([45, 165, 285])]
    return [*parts, *(cylinder((0, 0, -height * 0.6), end, leg, material=wood) for end in ends)]


def _trestles(deep: float, wide: float, height: float, leg: float, wood: Material) -> list[Solid]:
    """Two pairs of spread legs and the bar between them."""
    y = wide * 0.75
    legs = [
        cylinder((0, side * y, 0), (x, side * y, -height), leg, material=wood)
        for side in (-1, 1)
        for x in (-deep * 0.9, deep * 0.9)
    ]
    return [*legs, cylinder((0, -y, -0.3), (0, y, -0.3), leg * 0.7, material=wood)]


# Template and canonical view (turn about the vertical, tilt towards the viewer; degrees).
CATEGORIES: dict[str, tuple[Template, float, float]] = {
    "Animals": (animal, 28, 10),
    "Boats": (boat, 32, 10),
    "Cars": (car, 35, 14),
    "Chairs": (chair, 35, 16),
    "Faces": (face, 12, 0),
    "Fruits": (fruit, 15, 10),
    "Planes": (plane, 38, 22),
    "Tables": (table, 28, 16),
}


def object_names() -> list[tuple[str, str]]:
    """The 64 pairs (object_name, category_name), e.g. ``("car3", "Cars")``, category by category."""
    return [
        (f"{category.lower().rstrip('s')}{number + 1}", category)
        for category in CATEGORIES
        for number in range(OBJECTS_PER_CATEGORY)
    ]


def make_objects(seed: int) -> dict[str, list[Solid]]:
    """Build the 64 objects in canonical view, centred, of radius 1 in the image plane.

    Parameters
    ----------
    seed : int
        Picks proportions and materials; the sub-types stay.
    """
    objects = {}
    for index, (name, category) in enumerate(object_names()):
        template, turn, tilt = CATEGORIES[category]
        rng = np.random.default_rng([seed, 1, index])
        parts = template(rng, index % OBJECTS_PER_CATEGORY)
        view = rotation("y", tilt) @ rotation("z", turn)
        objects[name] = _normalised([part.moved(view, np.zeros(3)) for part in parts])
    return objects


def _normalised(parts: list[Solid]) -> list[Solid]:
    """Centre the parts' bounding box on the origin and scale half its diagonal in (y, z) to 1."""
    low = np.min([part.centre - part.half_extent() for part in parts], axis=0)
    high = np.max([part.centre + part.half_extent() for part in parts], axis=0)
    radius = np.linalg.norm((high - low)[1:]) / 2
    return [part.moved(np.eye(3) / radius, -(low + high) / 2 / radius) for part in parts]
