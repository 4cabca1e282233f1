"""Geometry of the site's pictures: the templates turn it into SVG, colours and themes come from the style sheet.

All coordinates are in the units of a picture's view box, y downwards.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from itprobe.leaderboard.result import Interval, Neuroid
from itprobe.leaderboard.site.words import MINUS, in_natural_order, number, plain


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Axis:
    """A linear axis from `low` to `high`, drawn from pixel `start` to pixel `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Pixel of a value, to a tenth; values beyond the axis lie on its ends."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def round_values(self, most: int) -> tuple[list[float], int]:
        """Round values on the axis, about `most` of them, and the digits that they need."""
        step = _round_step((self.high - self.low) / most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [k * step for k in range(first, last + 1)], max(0, -math.floor(math.log10(step) + 1e-9))

    def ticks(self, most: int = 6) -> list[Tick]:
        """Ticks at round values."""
        values, digits = self.round_values(most)
        return [Tick(self.at(value), number(value, digits)) for value in values]


def _round_step(least: float) -> float:
    """Smallest of 1, 2, 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def reach(values: Sequence[float | None], least: tuple[float, float] = (0.0, 0.1)) -> tuple[float, float]:
    """Range of values between -1 and 1.5, with a margin; it holds `least`."""
    inside = [min(max(value, -1.0), 1.5) for value in values if value is not None and math.isfinite(value)]
    low, high = min([least[0], *inside]), max([least[1], *inside])
    margin = 0.04 * (high - low)
    return (low - margin if low < 0 else 0.0), high + margin


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram."""

    x: float
    y: float
    width: float
    height: float
    label: str
    count: int


@dataclass(frozen=True)
class Histogram:
    """Bars, and what was left out."""

    bars: list[Bar]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    width: int
    height: int
    base: float


@dataclass(frozen=True)
class Point:
    """A dot, with its interval where it has one."""

    x: float
    y: float
    label: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """Points that belong together, and the polyline through them."""

    label: str
    points: list[Point]

    @property
    def polyline(self) -> str:
        """As an SVG attribute."""
        return " ".join(f"{point.x:g},{point.y:g}" for point in self.points)


@dataclass(frozen=True)
class Curve:
    """Scores of a model's layers."""

    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    ceiling: float | None
    zero: float
    width: int
    height: int
    left: int
    right: int
    base: int


@dataclass(frozen=True)
class Scatter:
    """Each neuroid's r against its own ceiling; `diagonal` runs where r equals it."""

    points: list[Point]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    diagonal: tuple[float, float, float, float]
    zero: float
    size: int
    left: int
    base: int
    n_left_out: int


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

LONGEST_LABEL = 22
MOST_LABELS = 24


def layer_curve(
    layers: Sequence[str],
    values: Sequence[float | None],
    intervals: Sequence[Interval | None],
    ceiling: float | None,
) -> Curve | None:
    """Curve over layers in their natural order; None where fewer than two have a score.

    Pooled variants of a layer (``NAME~pool4``) stand at its place, on a line of their own.
    """
    known = [
        (layer, value, interval)
        for layer, value, interval in zip(layers, values, intervals, strict=True)
        if value is not None
    ]
    bases = sorted({layer.partition("~")[0] for layer, _, _ in known}, key=in_natural_order)
    if len(bases) < 2:
        return None
    longest = max(len(plain(base, LONGEST_LABEL)) for base in bases)
    width, left, right, top, base = 640, 52, 632, 14, 250
    limits = [limit for _, _, interval in known if interval for limit in interval]
    y = Axis(*reach([*(value for _, value, _ in known), *limits, ceiling]), base, top)
    x = Axis(-0.5, len(bases) - 0.5, left, right)
    lines: dict[str, list[tuple[int, Point]]] = defaultdict(list)
    for layer, value, interval in known:
        name, _, pooled = layer.partition("~")
        place = bases.index(name)
        low, high = (y.at(interval[0]), y.at(interval[1])) if interval else (None, None)
        lines[pooled].append(
            (place, Point(x.at(place), y.at(value), f"{plain(layer, 80)}: {number(value)}", low, high))
        )
    every = math.ceil(len(bases) / MOST_LABELS)
    return Curve(
        [
            Line(plain(pooled, 20), [point for _, point in sorted(found, key=lambda pair: pair[0])])
            for pooled, found in sorted(lines.items())
        ],
        [Tick(x.at(k), plain(name, LONGEST_LABEL)) for k, name in enumerate(bases) if k % every == 0],
        y.ticks(),
        None if ceiling is None else y.at(ceiling),
        y.at(0),
        width,
        base + 16 + round(6.6 * longest),
        left,
        right,
        base,
    )


def ceiling_scatter(neuroids: Sequence[Neuroid]) -> Scatter | None:
    """R of each neuroid against √ρ, which caps it; None where no neuroid has a reliability."""
    pairs = [
        (math.sqrt(max(neuroid.reliability, 0.0)), neuroid.pearson_r, neuroid.neuroid_id)
        for neuroid in neuroids
        if neuroid.reliability is not None and neuroid.pearson_r is not None
    ]
    if not pairs:
        return None
    size, left, base = 330, 46, 290
    low = min(0.0, max(-1.0, min(r for _, r, _ in pairs)))
    x, y = Axis(0.0, 1.0, left, size - 8), Axis(low * 1.05, 1.0, base, 10)
    points = [
        Point(x.at(cap), y.at(r), f"{plain(name, 60)}: r {number(r)}, ceiling {number(cap)}")
        for cap, r, name in pairs
    ]
    diagonal = (x.at(0), y.at(0), x.at(1), y.at(1))
    return Scatter(
        points, x.ticks(5), y.ticks(), diagonal, y.at(0), size, left, base, len(neuroids) - len(pairs)
    )


def histogram(values: Sequence[float], text: Callable[[float], str], most: int = 14) -> Histogram | None:
    """Histogram with equal, round bins; None without values. `text` writes a place on the x axis."""
    finite = np.array([value for value in values if math.isfinite(value)])
    if not len(finite):
        return None
    step = _round_step(max((finite.max() - finite.min()) / most, 1e-6 * max(1.0, abs(finite).max())))
    first = math.floor(finite.min() / step + 1e-9)
    bins = np.floor(finite / step + 1e-9).astype(int) - first
    counts = np.bincount(bins)
    width, height, left, top, base = 330, 250, 46, 10, 210
    x = Axis(first * step, (first + len(counts)) * step, left, width - 8)
    y = Axis(0.0, float(counts.max()) * 1.05, base, top)
    bars = [
        Bar(
            x.at(edge := (first + k) * step),
            y.at(amount),
            round(x.at(edge + step) - x.at(edge) - 1, 1),
            round(base - y.at(amount), 1),
            f"{text(edge)} to {text(edge + step)}",
            int(amount),
        )
        for k, amount in enumerate(counts)
    ]
    ticks = [Tick(x.at(value), text(value)) for value in x.round_values(4)[0]]
    y_ticks = [tick for tick in y.ticks(4) if "." not in tick.label]
    return Histogram(bars, ticks, y_ticks, width, height, base)


def power_of_ten(exponent: float) -> str:
    """Text of 10 to the power of `exponent`."""
    mantissa, tens = 10 ** (exponent % 1), math.floor(exponent)
    if mantissa > 9.95:
        mantissa, tens = 1.0, tens + 1
    if mantissa >= 1.05:
        return f"{mantissa:.1f}e{tens}".replace("-", MINUS)
    return "10" + str(tens).translate(_RAISED)


@dataclass(frozen=True)
class Whisker:
    """A score and its interval on the axis that all rows of a table share, in per cent of its width."""

    dot: float
    low: float | None
    high: float | None


def whisker(axis: Axis, value: float | None, interval: Interval | None) -> Whisker | None:
    """Place a score; None where there is none."""
    if value is None:
        return None
    low, high = (None, None) if interval is None else (axis.at(interval[0]), axis.at(interval[1]))
    return Whisker(axis.at(value), low, high)
