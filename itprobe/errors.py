"""The one exception that means "the input is wrong", and the help with misspelt names."""

from collections.abc import Iterable
from difflib import get_close_matches

MOST_LISTED, FIRST_LISTED = 20, 5
"""Up to so many names are all listed where none is near; of more, the first few."""


class InputError(ValueError):
    """What a user gave cannot be used; the message says what, where and what to do, in one line.

    The command line prints the message without a traceback and exits with code 2.
    """


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str = "") -> InputError:
    """Make the error for a name that is in no registry, with the nearest names or, where none is near, others.

    Parameters
    ----------
    kind : str
        What was looked for, e.g. ``"layer of torchvision/resnet50"``.
    name : str
        What the user wrote.
    known : iterable of str
        The names that exist.
    hint : str
        What to do, put last.
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    folded = {candidate.lower(): candidate for candidate in names}
    near = near or [folded[low] for low in get_close_matches(name.lower(), folded, n=3, cutoff=0.4)]
    near = near or [candidate for candidate in names if name.lower() in candidate.lower()][:3]
    suggestion = f"; did you mean {' or '.join(near)}?" if near else _listed(names)
    tail = f" {hint}" if hint else ""
    return InputError(f"unknown {kind}: {name!r}{suggestion}{tail}")


def _listed(names: list[str]) -> str:
    if len(names) > MOST_LISTED:
        return f"; known: {', '.join(names[:FIRST_LISTED])}, ... ({len(names)} in all)"
    return f"; known: {', '.join(names)}" if names else ""
