"""JSON that strangers wrote: read as a plain file, within limits, every value of it checked."""

import json
import math
import os
import stat
import unicodedata
from pathlib import Path

from itprobe.errors import InputError

LARGEST_JSON = 8 * 2**20
"""Bytes; a result of 25,000 neuroids has about as many."""
DEEPEST = 16
LONGEST_TEXT = 20_000
LONGEST_NUMBER = 40
"""Characters: what a float or an integer that counts something needs is fewer."""

_ALLOWED_CONTROLS = "\n\t"
_KINDS_REFUSED = {
    "Cc": "control",
    "Cf": "invisible",
    "Cs": "surrogate",
    "Zl": "line-break",
    "Zp": "line-break",
}


def read_bytes(path: Path, limit: int = LARGEST_JSON) -> bytes:
    """Read a plain file that is no larger than `limit` bytes; a link, pipe or device is not opened.

    Raises
    ------
    InputError
    """
    try:
        # Without O_NONBLOCK a pipe would wait for its writer for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        kind = "a link; a copy of the file itself is needed" if path.is_symlink() else error.strerror
        raise InputError(f"cannot be opened: {kind}") from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise InputError("is no plain file")
        if status.st_size > limit:
            raise InputError(f"has {status.st_size:,} bytes; the limit is {limit:,}")
        with os.fdopen(handle, "rb", closefd=False) as stream:
            return stream.read(limit)
    finally:
        os.close(handle)


def parse_json(content: bytes) -> dict[str, object]:
    """Parse one JSON object and check all that is in it.

    Refused are text that is not UTF-8, NaN and infinities (spelt out or as 1e400), overlong numbers, keys that occur
    twice, nesting deeper than `DEEPEST`, texts longer than `LONGEST_TEXT`, and texts with control characters or
    characters that change the direction of what follows.

    Raises
    ------
    InputError
        With the reason.
    """
    try:
        parsed = json.loads(
            content.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_float,
            object_pairs_hook=_object,
        )
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise InputError(f"is no JSON: {error}") from None
    except RecursionError:
        raise InputError(f"is nested deeper than {DEEPEST} levels") from None
    if not isinstance(parsed, dict):
        raise InputError("holds no JSON object")
    _check_values(parsed)
    return parsed


def _refuse_constant(name: str) -> float:
    raise InputError(f"holds {name}, which is no number")


def _integer(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise InputError(f"holds a number of {len(text):,} characters")
    return int(text)


def _float(text: str) -> float:
    if len(text) > LONGEST_NUMBER or not math.isfinite(float(text)):
        raise InputError(f"holds a number that is too large or too long: {text[:LONGEST_NUMBER]}")
    return float(text)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InputError(f"names {printable(twice)} twice in one object")
    return result


def _check_values(content: object) -> None:
    """Walk through everything, without recursion."""
    waiting: list[tuple[object, int]] = [(content, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > DEEPEST:
            raise InputError(f"is nested deeper than {DEEPEST} levels")
        if isinstance(value, str):
            _check_text(value)
        elif isinstance(value, dict):
            for key in value:
                _check_text(key)
            waiting += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            waiting += [(item, depth + 1) for item in value]


def _check_text(text: str) -> None:
    if len(text) > LONGEST_TEXT:
        raise InputError(f"holds a text of {len(text):,} characters; the limit is {LONGEST_TEXT:,}")
    if text.isascii() and text.isprintable():
        return
    for character in text:
        kind = _KINDS_REFUSED.get(unicodedata.category(character))
        if kind and character not in _ALLOWED_CONTROLS:
            raise InputError(f"holds the {kind} character U+{ord(character):04X} in {printable(text)}")


def printable(text: str, longest: int = 60) -> str:
    """A stranger's text for a message: quoted, escaped and cut."""
    return ascii(text if len(text) <= longest else f"{text[:longest]}...")
