"""How figures and strangers' texts are written on the pages."""

import json
import re
import unicodedata
from collections.abc import Mapping

from markupsafe import Markup

from itprobe.files import sha256_values
from itprobe.leaderboard.result import Interval

LONGEST_TEXT = 400
"""Characters of a stranger's text that a page shows."""

MINUS, NOTHING = "\N{MINUS SIGN}", "\N{EN DASH}"


def plain(text: object, longest: int = LONGEST_TEXT) -> str:
    """Text on one line that cannot hide or turn round what stands beside it.

    Control, format and surrogate characters become the replacement character, white space a space; what is longer than
    `longest` is cut.
    """
    shown = "".join(" " if character.isspace() else character for character in str(text))
    if not shown.isprintable():
        shown = "".join(
            "\N{REPLACEMENT CHARACTER}" if unicodedata.category(character)[0] == "C" else character
            for character in shown
        )
    return shown if len(shown) <= longest else shown[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"


def breakable(text: object) -> Markup:
    """Text as `plain` gives it, escaped, that may be broken after the signs that ids are made of."""
    parts = re.findall(r"[^@:/+,~]{1,28}[@:/+,~]?|[@:/+,~]", plain(text))
    return Markup("<wbr>").join(parts)  # joining escapes what is joined


def number(value: float | None, digits: int = 3) -> str:
    """Format a score; a dash where there is none."""
    if value is None:
        return NOTHING
    text = f"{value:.{digits}f}" if abs(value) < 1e6 else f"{value:.2e}"
    return f"{MINUS}{text[1:]}" if text.startswith("-") and float(text) != 0 else text.removeprefix("-")


def between(interval: Interval | None, digits: int = 3) -> str:
    """Format an interval, e.g. ``0.512 to 0.561``."""
    return NOTHING if interval is None else f"{number(interval[0], digits)} to {number(interval[1], digits)}"


def small(value: float | None) -> str:
    """Format a figure of any size with three digits, e.g. ``0.0123``, ``76,500``, ``2.16e9``."""
    if value is None:
        return NOTHING
    if 1000 <= abs(value) < 1e7:
        text = f"{float(f'{value:.3g}'):,.0f}"
    else:
        text = re.sub(r"e([+-])0*", r"e\1", f"{value:.3g}").replace("e+", "e")
    return text.replace("-", MINUS)


def count(value: int | None) -> str:
    """Format a whole number; a dash where there is none."""
    return NOTHING if value is None else f"{value:,}"


def parameters(params: Mapping[str, object]) -> list[tuple[str, str]]:
    """Names and values of parameters, as text."""
    return [
        (
            plain(name, 80),
            plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 200),
        )
        for name, value in params.items()
    ]


def page_name(*parts: object) -> str:
    """File name for a page: readable letters and digits of the first part, and a digest of all of them."""
    readable = re.sub(r"[^a-z0-9]+", "-", str(parts[0]).lower())[:48].strip("-")
    digest = sha256_values(*map(str, parts))[:10]
    return f"{readable}-{digest}" if readable else digest


def in_natural_order(text: str) -> list[tuple[bool, int, str]]:
    """Sorting key by which ``layer2`` comes before ``layer10``."""
    parts = re.split(r"([0-9]{1,18})", text)
    return [(index % 2 == 1, int(part) if index % 2 else 0, part) for index, part in enumerate(parts)]
