"""Convex solids: a quadric cut by half-spaces, in a unit frame, placed in the world by a matrix.

One kind of solid serves for all shapes, so that one intersection routine renders them: the points p
of the unit frame with ``sum_k q_k p_k^2 + l p_z + c <= 0`` and ``n_i . p <= d_i`` for each plane i.
All ``q_k`` are non-negative, so that the quadric is convex.

The world frame is that of the HvM stimuli: x towards the viewer, y to the right, z up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

UP = np.array([0.0, 0.0, 1.0])


Point = tuple[float, float, float]


@dataclass(frozen=True)
class Material:
    """How a surface looks.

    Attributes
    ----------
    albedo : float
        Share of the light that the surface gives back, 0 to 1.
    gloss : float
        Strength of the highlight.
    stripes : tuple of float
        Depth and spatial frequency of a stripe pattern along the solid's own y.
    """

    albedo: float
    gloss: float = 0.2
    stripes: tuple[float, float] = (0.0, 1.0)

    def striped(self, depth: float, frequency: float) -> "Material":
        """The same surface with stripes."""
        return replace(self, stripes=(depth, frequency))


@dataclass(frozen=True)
class Solid:
    """A convex solid with a material.

    Attributes
    ----------
    quadric : np.ndarray (5,)
        Coefficients ``q_x, q_y, q_z, l, c``.
    planes : np.ndarray (k, 4)
        Half-spaces ``n_x, n_y, n_z, d`` of the unit frame.
    matrix : np.ndarray (3, 3)
        World point = matrix @ unit point + centre. The solid lies in [-1, 1]^3 of its unit frame.
    centre : np.ndarray (3,)
    material : Material
    """

    quadric: np.ndarray
    planes: np.ndarray
    matrix: np.ndarray
    centre: np.ndarray
    material: Material

    def moved(self, matrix: np.ndarray, shift: np.ndarray) -> "Solid":
        """Apply the world map p -> matrix @ p + shift."""
        return replace(self, matrix=matrix @ self.matrix, centre=matrix @ self.centre + shift)

    def half_extent(self) -> np.ndarray:
        """Half sides (3,) of the world's axis-parallel box that holds the solid."""
        return np.abs(self.matrix).sum(axis=1)


def rotation(axis: str, degrees: float) -> np.ndarray:
    """Matrix (3, 3) of a right-handed rotation about world axis ``"x"``, ``"y"`` or ``"z"``."""
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    angle = np.deg2rad(degrees)
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[second, first], matrix[first, second] = np.sin(angle), -np.sin(angle)
    return matrix


def ellipsoid(centre: Point, half: Point, turn: np.ndarray | None = None, *, material: Material) -> Solid:
    """Ellipsoid with half axes `half`, turned by the matrix `turn` about its centre."""
    return _place([1, 1, 1, 0, -1], [], centre, half, turn, material)


def half_ellipsoid(
    centre: Point, half: Point, turn: np.ndarray | None = None, *, upper: bool = True, material: Material
) -> Solid:
    """Upper (or lower) half of an ellipsoid, flat at its centre: domes, bowls and hulls."""
    return _place([1, 1, 1, 0, -1], [[0, 0, -1 if upper else 1, 0]], centre, half, turn, material)


def box(
    centre: Point,
    half: Point,
    turn: np.ndarray | None = None,
    taper: tuple[float, float] = (1.0, 1.0),
    *,
    material: Material,
) -> Solid:
    """Box whose top is `taper` times as wide as its base in x and y (0 makes a ridge or a point)."""
    planes = [[0, 0, 1, 1], [0, 0, -1, 1]]
    for axis, share in enumerate(taper):
        slope = (1 - share) / 2
        for sign in (-1, 1):
            plane = np.zeros(4)
            plane[axis], plane[2], plane[3] = sign, slope, 1 - slope
            planes.append(plane.tolist())
    return _place([0, 0, 0, 0, -1], planes, centre, half, turn, material)


def cylinder(start: Point, end: Point, radius: float, *, material: Material) -> Solid:
    """Round rod from `start` to `end`."""
    return _along(start, end, radius, [1, 1, 0, 0, -1], material)


def bullet(start: Point, end: Point, radius: float, *, material: Material) -> Solid:
    """Paraboloid with its wide end at `start` and its tip at `end`: noses, horns, leaves."""
    return _along(start, end, radius, [1, 1, 0, 0.5, -0.5], material)


def wedge(corners: list[Point], thickness: float, normal: str, *, material: Material) -> Solid:
    """Plate of a convex outline: wings, sails, fins.

    Parameters
    ----------
    corners : list of (3,) points
        In order around the outline, all in a plane perpendicular to `normal`.
    thickness : float
        Extent along `normal`.
    normal : str
        ``"x"``, ``"y"`` or ``"z"``.
    """
    points = np.array(corners, dtype=float)
    axis = "xyz".index(normal)
    flat = [k for k in range(3) if k != axis]
    low, high = points.min(axis=0), points.max(axis=0)
    centre, half = (low + high) / 2, (high - low) / 2
    half[axis] = thickness / 2
    unit = (points - centre) / half
    planes = []
    for here, there in zip(unit, np.roll(unit, -1, axis=0), strict=True):
        edge = (there - here)[flat]
        outward = np.array([edge[1], -edge[0]])
        outward *= np.sign(outward @ (here - unit.mean(axis=0))[flat])
        plane = np.zeros(4)
        plane[flat], plane[3] = outward, outward @ here[flat]
        planes.append(plane)
    for sign in (-1.0, 1.0):
        plane = np.zeros(4)
        plane[axis], plane[3] = sign, 1.0
        planes.append(plane)
    return _place([0, 0, 0, 0, -1], planes, tuple(centre), tuple(half), None, material)


def _along(start: Point, end: Point, radius: float, quadric: Sequence[float], material: Material) -> Solid:
    """Place a round solid whose unit z axis runs from `start` to `end`."""
    start_point, end_point = np.array(start, dtype=float), np.array(end, dtype=float)
    axis = (end_point - start_point) / 2
    length = float(np.linalg.norm(axis))
    helper = np.array([1.0, 0.0, 0.0]) if abs(axis[0]) < 0.9 * length else UP
    side = np.cross(axis / length, helper)
    side /= np.linalg.norm(side)
    turn = np.column_stack([np.cross(side, axis / length), side, axis / length])
    middle = tuple((start_point + end_point) / 2)
    planes = [[0, 0, 1, 1], [0, 0, -1, 1]]
    return _place(quadric, planes, middle, (radius, radius, length), turn, material)


def _place(
    quadric: Sequence[float],
    planes: Sequence[Sequence[float] | np.ndarray],
    centre: Point,
    half: Point,
    turn: np.ndarray | None,
    material: Material,
) -> Solid:
    matrix = np.diag(np.array(half, dtype=float))
    return Solid(
        quadric=np.array(quadric, dtype=float),
        planes=np.array(planes, dtype=float).reshape(-1, 4),
        matrix=matrix if turn is None else turn @ matrix,
        centre=np.array(centre, dtype=float),
        material=material,
    )
