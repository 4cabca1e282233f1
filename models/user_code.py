"""Code that a user gave: whatever it raises is told in one line, and is no fault of ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from itprobe.errors import InputError

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@contextmanager
def user_code(step: str, hint: str) -> Iterator[None]:
    """Run a user's code; anything it raises, and an exit, becomes an `InputError`.

    Parameters
    ----------
    step : str
        Who does what, e.g. ``"the forward pass of Net on stimuli 'a' to 'd'"``.
    hint : str
        What to do about it.

    Raises
    ------
    InputError
        With step, error and hint in one line; where memory ran out, with what needs less of it.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{step}: {error}") from error
    except (Exception, SystemExit) as error:
        if _is_out_of_memory(error):
            hint = "ask for fewer layers or pooled ones (LAYER~pool4), or use another device"
        raise InputError(f"{step} raised {one_line(error)}; {hint}") from error


def one_line(error: BaseException) -> str:
    """Type and message of an error, without line breaks and not too long."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' if text else ''}{text}"[:300]


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _OUT_OF_MEMORY)
