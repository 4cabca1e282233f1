"""Templates of the categories that travel: boats, cars and planes (their front towards -y)."""

import numpy as np

from itprobe.data.simulated.solids import (
    Material,
    Solid,
    box,
    bullet,
    cylinder,
    ellipsoid,
    half_ellipsoid,
    wedge,
)

GLASS = Material(0.10, 0.7)
RUBBER = Material(0.07, 0.08)
METAL = Material(0.45, 0.7)


def boat(rng: np.random.Generator, number: int) -> list[Solid]:
    """A sailing boat (numbers 0 to 3), a tug, a liner, a freighter or a rowing boat."""
    paint = Material(float(rng.uniform(0.25, 0.9)), float(rng.uniform(0.1, 0.4)))
    deck = Material(float(rng.uniform(0.5, 0.9)), 0.1)
    beam, draught = rng.uniform(0.26, 0.36), rng.uniform(0.26, 0.38)
    parts = [
        half_ellipsoid((0, 0, 0), (beam, 1.0, draught), upper=False, material=paint),
        box((0, 0.25, -draught * 0.25), (beam * 0.93, 0.6, draught * 0.3), material=paint),
    ]
    if number < 4:
        return [*parts, *_rigging(rng, number, deck)]
    if number == 7:
        for y in (-0.35, 0.1, 0.5):
            parts.append(box((0, y, 0.03), (beam * 0.9, 0.07, 0.03), material=deck))
        for side in (-1, 1):
            parts.append(
                cylinder((side * beam * 0.9, 0.1, 0.08), (side * 1.0, 0.3, -0.25), 0.035, material=deck)
            )
        return parts
    decks = {4: 1, 5: 3, 6: 1}[number]
    start, end = {4: (-0.35, 0.35), 5: (-0.55, 0.6), 6: (0.45, 0.75)}[number]
    tall = 0.34 if number != 5 else 0.17
    for level in range(decks):
        middle, half = (start + end) / 2 + 0.04 * level, (end - start) / 2 - 0.08 * level
        size = (beam * (0.75 - 0.08 * level), half, tall / 2)
        parts.append(box((0, middle, tall * (level + 0.5)), size, taper=(0.95, 0.95), material=deck))
        stripe = (size[0] * 1.02, half * 0.9, tall * 0.16)
        parts.append(box((0, middle, tall * (level + 0.6)), stripe, material=GLASS))
    top = decks * tall
    for funnel in range(2 if number == 5 else 1):
        y = (start + end) / 2 + 0.05 + 0.3 * funnel
        parts.append(cylinder((0, y, top), (0, y + 0.06, top + 0.42), 0.09, material=Material(0.15, 0.3)))
    if number == 6:
        for y in (-0.5, -0.15, 0.2):
            parts.append(
                box((0, y, 0.12), (beam * 0.7, 0.15, 0.13), material=Material(float(rng.uniform(0.2, 0.8))))
            )
    return parts


def _rigging(rng: np.random.Generator, number: int, deck: Material) -> list[Solid]:
    """Mast, sails and cabin; a second mast for number 3, no jib for number 2."""
    sail = Material(float(rng.uniform(0.75, 0.95)), 0.02)
    mast = rng.uniform(1.3, 1.7)
    parts = [
        cylinder((0, -0.1, -0.1), (0, -0.1, mast), 0.035, material=deck),
        wedge([(0, -0.05, 0.18), (0, 0.8, 0.18), (0, -0.05, mast * 0.97)], 0.03, "x", material=sail),
        box((0, 0.2, 0.06), (0.15, 0.3, 0.07), material=deck),
    ]
    if number != 2:
        parts.append(
            wedge([(0, -0.17, 0.2), (0, -0.95, 0.1), (0, -0.17, mast * 0.85)], 0.03, "x", material=sail)
        )
    if number == 3:
        parts.append(cylinder((0, 0.62, -0.1), (0, 0.62, mast * 0.75), 0.03, material=deck))
        parts.append(wedge([(0, 0.66, 0.2), (0, 1.1, 0.2), (0, 0.66, mast * 0.7)], 0.03, "x", material=sail))
    return parts


def car(rng: np.random.Generator, number: int) -> list[Solid]:
    """A saloon, estate, van, pick-up, beetle, sports car, lorry or off-road car."""
    paint = Material(float(rng.uniform(0.2, 0.9)), float(rng.uniform(0.3, 0.7)))
    # Half height of the body; start, end and height of the cabin; wheel radius.
    low, start, end, tall, wheel = [
        (0.17, -0.42, 0.55, 0.34, 0.18),
        (0.17, -0.35, 0.93, 0.36, 0.18),
        (0.26, -0.72, 0.97, 0.50, 0.18),
        (0.19, -0.45, 0.15, 0.38, 0.20),
        (0.17, -0.55, 0.75, 0.46, 0.19),
        (0.13, -0.15, 0.55, 0.24, 0.18),
        (0.14, -0.95, -0.45, 0.60, 0.19),
        (0.22, -0.35, 0.92, 0.42, 0.25),
    ][number]
    half = rng.uniform(0.38, 0.44)
    low, tall = low * rng.uniform(0.93, 1.07), tall * rng.uniform(0.93, 1.07)
    middle, reach = (start + end) / 2, (end - start) / 2
    parts = [
        box((0, 0, 0), (half, 1.0, low), taper=(0.9, 0.94), material=paint),
        ellipsoid((0, -0.93, -0.02), (half * 0.93, 0.14, low * 0.85), material=paint),
    ]
    if number == 4:
        parts += [
            half_ellipsoid((0, middle, low * 0.8), (half * 0.88, reach * 1.15, tall), material=paint),
            half_ellipsoid((0, middle, low * 0.95), (half * 0.93, reach * 0.8, tall * 0.72), material=GLASS),
        ]
    else:
        centre = (0, middle, low + tall / 2)
        lean = 0.9 if number in (2, 6) else 0.66
        roof = (half * 0.62, reach * lean * 0.95, 0.03)
        parts += [
            box(centre, (half * 0.86, reach, tall / 2), taper=(0.74, lean), material=GLASS),
            box((0, middle, low + tall), roof, material=paint),
            box(
                (0, middle, low + tall / 2), (half * 0.87, 0.05, tall / 2), taper=(0.74, 0.8), material=paint
            ),
        ]
    if number == 6:
        parts.append(
            box((0, 0.32, 0.45), (half, 0.66, 0.42), material=Material(float(rng.uniform(0.6, 0.9))))
        )
    if number == 3:
        parts.append(box((0, 0.6, low), (half * 0.7, 0.32, 0.02), material=RUBBER))
    for side in (-1, 1):
        for y in (-0.62, 0.6):
            outer = (side * (half + 0.04), y, -low)
            parts.append(cylinder((side * (half - 0.14), y, -low), outer, wheel, material=RUBBER))
            parts.append(
                cylinder((side * half, y, -low), (side * (half + 0.05), y, -low), wheel * 0.5, material=METAL)
            )
        parts.append(
            ellipsoid((side * half * 0.68, -1.03, 0.02), (0.09, 0.06, 0.06), material=Material(1.0, 0.6))
        )
    return parts


def plane(rng: np.random.Generator, number: int) -> list[Solid]:
    """An air liner, a fighter, a propeller plane or a biplane."""
    paint = Material(float(rng.uniform(0.4, 0.9)), float(rng.uniform(0.2, 0.6)))
    # Fuselage radius, half span, sweep, chord at the root, chord at the tip, height of the wing.
    radius, span, sweep, root, tip, level = [
        (0.13, 1.00, 0.45, 0.34, 0.12, -0.06),  # liner, two engines
        (0.12, 0.95, 0.02, 0.26, 0.20, 0.12),  # propeller, high wing
        (0.12, 0.55, 0.55, 0.80, 0.10, 0.0),  # delta fighter
        (0.12, 0.85, 0.0, 0.24, 0.22, -0.12),  # biplane
        (0.16, 1.05, 0.50, 0.36, 0.10, -0.08),  # jumbo, four engines
        (0.09, 1.20, 0.05, 0.16, 0.09, 0.06),  # glider
        (0.11, 0.70, 0.35, 0.45, 0.16, 0.0),  # fighter, twin fins
        (0.14, 0.95, 0.06, 0.30, 0.16, -0.10),  # propeller, low wing
    ][number]
    span, sweep = span * rng.uniform(0.93, 1.07), sweep * rng.uniform(0.9, 1.1)
    nose = -0.55 if number in (2, 6) else -0.75
    parts = [
        cylinder((0, nose, 0), (0, 0.3, 0), radius, material=paint),
        bullet((0, nose, 0), (0, nose - 0.35, 0), radius, material=paint),
        bullet((0, 0.3, 0), (0, 1.05, radius * 0.5), radius, material=paint),
        ellipsoid((0, nose - 0.02, radius * 0.7), (radius * 0.6, 0.16, radius * 0.6), material=GLASS),
    ]
    parts += _wings(span, sweep, root, tip, level, paint)
    if number == 3:
        parts += _wings(span, sweep, root, tip, 0.32, paint)
        for side in (-1, 1):
            for y in (-0.2, -0.05):
                strut = side * span * 0.7
                parts.append(cylinder((strut, y, level), (strut, y, 0.32), 0.02, material=METAL))
    parts += _tail(rng, radius, twin=number == 6, paint=paint)
    for place in {0: [0.38], 4: [0.32, 0.62]}.get(number, []):
        for side in (-1, 1):
            y = -0.28 + sweep * place
            x, z = side * span * place, level - 0.10
            parts.append(cylinder((x, y - 0.12, z), (x, y + 0.14, z), 0.07, material=METAL))
    if number in (1, 3, 7):
        front = nose - 0.34
        parts.append(ellipsoid((0, front, 0), (0.045, 0.015, 0.3), material=RUBBER))
        parts.append(ellipsoid((0, front, 0), (0.3, 0.015, 0.045), material=RUBBER))
        for side in (-1, 1):
            parts.append(cylinder((0, -0.3, -radius), (side * 0.2, -0.32, -0.32), 0.02, material=METAL))
            wheel = (side * 0.2, -0.32, -0.34)
            parts.append(ellipsoid(wheel, (0.04, 0.08, 0.08), material=RUBBER))
    return parts


def _wings(span: float, sweep: float, root: float, tip: float, level: float, paint: Material) -> list[Solid]:
    """Both wings as plates, swept back by `sweep` at their tips."""
    front = -0.15 - root / 2
    wings = []
    for side in (-1, 1):
        outline: list[tuple] = [
            (0, front, level),
            (side * span, front + sweep, level),
            (side * span, front + sweep + tip, level),
            (0, front + root, level),
        ]
        wings.append(wedge(outline, 0.035, "z", material=paint))
    return wings


def _tail(rng: np.random.Generator, radius: float, twin: bool, paint: Material) -> list[Solid]:
    """One or two fins and the tail planes."""
    height, half = rng.uniform(0.34, 0.44), rng.uniform(0.32, 0.42)
    fins = []
    for x in (-0.14, 0.14) if twin else (0.0,):
        fin: list[tuple] = [(x, 0.6, 0), (x, 0.92, height), (x, 1.06, height), (x, 1.0, 0)]
        fins.append(wedge(fin, 0.035, "x", material=paint))
    level = radius * 0.4
    for side in (-1, 1):
        outline: list[tuple] = [
            (0, 0.7, level),
            (side * half, 0.88, level),
            (side * half, 1.02, level),
            (0, 0.98, level),
        ]
        fins.append(wedge(outline, 0.03, "z", material=paint))
    return fins
