"""What a figure or a text of a result file may be."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

ROUNDING = 1e-6
"""By how much a figure may pass its bound."""


def _in_order(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] > interval[1]:
        raise ValueError(
            f"the interval's lower bound {interval[0]:g} is above its upper bound {interval[1]:g}"
        )
    return interval


def _is_time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time needs its offset from UTC")
    return text


Interval = Annotated[tuple[float, float], AfterValidator(_in_order)]
Count = Annotated[int, Field(ge=0, le=10**15)]
Correlation = Annotated[float, Field(ge=-1 - ROUNDING, le=1 + ROUNDING)]
Share = Annotated[float, Field(le=1 + ROUNDING)]
"""Of a variance: as far below 0 as it likes."""
Positive = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Id = Annotated[str, StringConstraints(min_length=1, max_length=4000)]
ShortId = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Time = Annotated[str, AfterValidator(_is_time)]
