"""Orthographic ray casting of convex solids with a depth buffer, and smooth edges.

Each ray runs along the world's x axis, so a solid is a map (y, z) -> nearest surface, and only the
pixels of its own bounding box are visited: a few milliseconds for an object of a dozen solids.
"""

from collections.abc import Sequence

import numpy as np

from itprobe.data.simulated.solids import Solid

SUPERSAMPLING = 2
KEY_LIGHT = np.array([0.62, -0.45, 0.64]) / np.linalg.norm([0.62, -0.45, 0.64])
# Halfway between the key light and the viewer, who looks along -x.
HALFWAY = (KEY_LIGHT + [1, 0, 0]) / np.linalg.norm(KEY_LIGHT + [1, 0, 0])
AMBIENT, SKY, DIFFUSE, SHININESS = 0.24, 0.20, 0.85, 24
TINY = np.float32(1e-9)


def render(solids: Sequence[Solid], background: np.ndarray) -> np.ndarray:
    """Draw solids before a background.

    Parameters
    ----------
    solids : sequence of Solid
        In world units: the image spans -1 to 1 in y and z.
    background : np.ndarray (size, size)
        Luminance, 0 to 1, first row on top.

    Returns
    -------
    np.ndarray (size, size) uint8
    """
    size = background.shape[0]
    fine = size * SUPERSAMPLING
    depth = np.full((fine, fine), -np.inf, dtype=np.float32)
    luminance = np.zeros((fine, fine), dtype=np.float32)
    inverses = np.linalg.inv(np.stack([solid.matrix for solid in solids]))
    for solid, inverse in zip(solids, inverses, strict=True):
        window = _window(solid, fine)
        if window is not None:
            _draw(solid, inverse, window, depth, luminance)
    covered = _average(np.isfinite(depth).astype(np.float32))
    image = _average(luminance) + (1 - covered) * background
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _average(fine: np.ndarray) -> np.ndarray:
    rows = sum(fine[k::SUPERSAMPLING] for k in range(SUPERSAMPLING))
    return sum(rows[:, k::SUPERSAMPLING] for k in range(SUPERSAMPLING)) / SUPERSAMPLING**2


def _window(solid: Solid, fine: int) -> tuple[slice, slice] | None:
    """Rows and columns of the fine grid that the solid may cover; None when it is out of view."""
    _, half_y, half_z = solid.half_extent()
    _, y, z = solid.centre
    left, right = ((y + np.array([-half_y, half_y]) + 1) / 2 * fine).clip(0, fine)
    top, bottom = ((1 - z + np.array([-half_z, half_z])) / 2 * fine).clip(0, fine)
    rows = slice(int(top), int(np.ceil(bottom)))
    columns = slice(int(left), int(np.ceil(right)))
    return None if rows.start >= rows.stop or columns.start >= columns.stop else (rows, columns)


def _draw(
    solid: Solid,
    inverse: np.ndarray,
    window: tuple[slice, slice],
    depth: np.ndarray,
    luminance: np.ndarray,
) -> None:
    """Draw one solid where it is nearer than what `depth` holds; both arrays are changed in place."""
    fine = depth.shape[0]
    rows, columns = window
    z = 1 - (np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + 0.5) * (2 / fine)
    y = (np.arange(columns.start, columns.stop, dtype=np.float32)[None] + 0.5) * (2 / fine) - 1
    # Unit-frame point at depth x: origin + x * direction.
    origin = [
        (row[1] * (y - solid.centre[1]) + row[2] * (z - solid.centre[2]) - row[0] * solid.centre[0]).astype(
            np.float32
        )
        for row in inverse
    ]
    near, face = _surface(solid, origin, inverse[:, 0].astype(np.float32))
    seen = near > depth[window]
    if not seen.any():
        return
    near, face = near[seen], face[seen]
    points = np.stack([o[seen] for o in origin]) + near * inverse[:, :1].astype(np.float32)
    depth[window][seen] = near
    luminance[window][seen] = _shade(solid, points, face, inverse.astype(np.float32))


def _surface(solid: Solid, origin: list[np.ndarray], direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the depth of the surface nearest to the viewer.

    Returns
    -------
    near : np.ndarray (rows, columns)
        -inf where the ray misses.
    face : np.ndarray (rows, columns) int
        -1 where the quadric is seen, else the index of the plane.
    """
    q, linear, constant = solid.quadric[:3].astype(np.float32), *solid.quadric[3:].astype(np.float32)
    far, near = np.float32(-1e6), np.float32(1e6)
    if q.any():
        square = (q * direction**2).sum() + TINY
        half = sum(q[k] * direction[k] * origin[k] for k in range(3)) + linear * direction[2] / 2
        rest = sum(q[k] * origin[k] ** 2 for k in range(3)) + linear * origin[2] + constant
        discriminant = half * half - square * rest
        root = np.sqrt(np.maximum(discriminant, 0))
        near = np.where(discriminant > 0, (root - half) / square, -np.inf)
        far = np.where(discriminant > 0, (-root - half) / square, np.inf)
    near = np.broadcast_to(near, origin[0].shape).copy()
    face = np.full(near.shape, -1, dtype=np.int8)
    for index, (*normal, offset) in enumerate(solid.planes.astype(np.float32)):
        slope = float(np.dot(normal, direction))
        bound = (offset - sum(normal[k] * origin[k] for k in range(3))) / (slope or TINY)
        if slope > 0:
            closer = bound < near
            near[closer], face[closer] = bound[closer], index
        else:
            far = np.maximum(far, bound)
    near[near < far] = -np.inf
    return near, face


def _shade(solid: Solid, points: np.ndarray, face: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Lambert, hemispheric ambient light and a Blinn-Phong highlight at unit-frame points (3, m)."""
    gradient = 2 * solid.quadric[:3, None].astype(np.float32) * points
    gradient[2] += np.float32(solid.quadric[3])
    flat = face >= 0
    if flat.any():
        gradient[:, flat] = solid.planes[face[flat], :3].T
    normal = inverse.T @ gradient
    normal /= np.sqrt((normal * normal).sum(axis=0)) + TINY
    lambert = np.maximum(KEY_LIGHT.astype(np.float32) @ normal, 0)
    highlight = np.maximum(HALFWAY.astype(np.float32) @ normal, 0) ** SHININESS
    strength, frequency = solid.stripes
    pattern = 1 - strength * (0.5 + 0.5 * np.sin(frequency * points[1])) if strength else 1.0
    light = AMBIENT + SKY * (0.5 + 0.5 * normal[2]) + DIFFUSE * lambert
    # Surfaces that turn away from the viewer darken a little, as in a cluttered room.
    light *= 0.72 + 0.28 * np.maximum(normal[0], 0)
    return solid.albedo * pattern * light + solid.gloss * highlight
