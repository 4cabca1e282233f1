"""Progress bars that stay silent when nobody looks."""

from typing import Any

from tqdm import tqdm


def progress_bar(total: int, description: str, unit: str) -> "tqdm[Any]":
    """Make a tqdm bar on stderr; it shows nothing where stderr is no terminal."""
    return tqdm(total=total, desc=description, unit=unit, disable=None, leave=False)
