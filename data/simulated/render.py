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
TINY, FAR = np.float32(1e-9), np.float32(1e6)


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
    """Average blocks of pixels: (size * SUPERSAMPLING,) * 2 -> (size, size)."""
    size = fine.shape[0] // SUPERSAMPLING
    return fine.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING).mean(axis=(1, 3))


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
    centre_x, centre_y, centre_z = solid.centre
    along_x, along_y, along_z = inverse.T.astype(np.float32)[:, :, None, None]
    origin = along_y * (y - np.float32(centre_y)) + along_z * (z - np.float32(centre_z))
    origin -= along_x * np.float32(centre_x)
    near, face = _surface(solid, origin, inverse[:, 0].astype(np.float32))
    seen = near > depth[window]
    if not seen.any():
        return
    near, face = near[seen], face[seen]
    points = origin[:, seen] + near * inverse[:, :1].astype(np.float32)
    depth[window][seen] = near
    luminance[window][seen] = _shade(solid, points, face, inverse.astype(np.float32))


def _surface(solid: Solid, origin: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the depth of the surface nearest to the viewer.

    Parameters
    ----------
    solid : Solid
    origin : np.ndarray (3, rows, columns)
        Points of the unit frame at depth 0.
    direction : np.ndarray (3,)
        Change of the point per unit of depth.

    Returns
    -------
    near : np.ndarray (rows, columns)
        -inf where the ray misses.
    face : np.ndarray (rows, columns) int
        -1 where the quadric is seen, else the index of the plane.
    """
    near, far = _quadric_interval(solid.quadric.astype(np.float32), origin, direction)
    face = np.full(near.shape, -1, dtype=np.int8)
    for index, (*normal, offset) in enumerate(solid.planes.astype(np.float32)):
        slope = float(np.dot(normal, direction))
        # A plane along the ray bounds nothing inside it, and everything outside.
        bound = (offset - np.tensordot(normal, origin, 1)) / (slope or -TINY)
        if slope > 0:
            closer = bound < near
            near[closer], face[closer] = bound[closer], index
        else:
            far = np.maximum(far, bound)
    near[near < far] = -np.inf
    return near, face


def _quadric_interval(
    quadric: np.ndarray, origin: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Largest and smallest depth x (rows, columns) at which a ray is inside the quadric."""
    q, linear, constant = quadric[:3], quadric[3], quadric[4]
    if not q.any():
        return np.full(origin.shape[1:], FAR), np.full(origin.shape[1:], -FAR)
    square = (q * direction**2).sum() + TINY
    half = np.tensordot(q * direction, origin, 1) + linear * direction[2] / 2
    rest = np.tensordot(q, origin**2, 1) + linear * origin[2] + constant
    discriminant = half * half - square * rest
    root = np.sqrt(np.maximum(discriminant, 0))
    missed = discriminant <= 0
    near, far = (root - half) / square, (-root - half) / square
    near[missed], far[missed] = -np.inf, np.inf
    return near, far


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
    strength, frequency = solid.material.stripes
    pattern = 1 - strength * (0.5 + 0.5 * np.sin(frequency * points[1])) if strength else 1.0
    light = AMBIENT + SKY * (0.5 + 0.5 * normal[2]) + DIFFUSE * lambert
    # Surfaces that turn away from the viewer darken a little, as in a cluttered room.
    light *= 0.72 + 0.28 * np.maximum(normal[0], 0)
    return solid.material.albedo * pattern * light + solid.material.gloss * highlight
