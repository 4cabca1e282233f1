"""Result files of older schema versions, brought to this one step by step."""

from collections.abc import Callable
from typing import Any

from itprobe.errors import InputError
from itprobe.leaderboard.result import SCHEMA_VERSION

Content = dict[str, Any]


def migrate(content: dict[str, object]) -> dict[str, object]:
    """Bring the content of a result file to the schema version that this itprobe writes.

    Raises
    ------
    InputError
        If the version is none, or newer than this itprobe.
    """
    version = content.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InputError("is no result file: it has no schema version")
    if version > SCHEMA_VERSION:
        raise InputError(
            f"has schema version {version}; this itprobe reads versions up to {SCHEMA_VERSION}: update itprobe"
        )
    while version < SCHEMA_VERSION:
        try:
            content = MIGRATIONS[version](content)
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"is no valid result of schema version {version}: {error}") from None
        version += 1
    return content


def _from_1(content: Content) -> Content:
    """Version 2 counts what came after the first result files; a file of between the two keeps what it has.

    What was not computed is null. Version 1 ran in full precision and kept features in float32.
    """
    candidate, mapping, scores = (content[part] for part in ("candidate", "mapping", "scores"))
    neuroids = content["per_neuroid"]
    return content | {
        "schema_version": 2,
        "candidate": {"effective_dimensionality": None, "choice": None, **candidate},
        "mapping": {"spaces": [candidate["layer"] or candidate["id"]], **mapping},
        "scores": {"inter_animal": None, "noise_corrected": None, **scores},
        "per_neuroid": neuroids
        and [{"r2_er": None, "feve": None, "shares": None, **neuroid} for neuroid in neuroids],
        "training": content.get("training"),
        "provenance": {"precision": "full", "features": "float32", **content["provenance"]},
    }


MIGRATIONS: dict[int, Callable[[Content], Content]] = {1: _from_1}
"""From each older version to the next one."""
