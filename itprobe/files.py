"""Files that are never half-written, and digests that tell whether two things are the same."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import numpy as np

from itprobe.errors import InputError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says of a full disk, a used-up quota and a file that may not grow."""

SMALLEST_ROOM = 2**20
"""A disk with less than this is full."""

LONGEST_NAME = 180
"""File systems allow 255 bytes for a name; endings and temporary prefixes need some of them."""


def cache_home() -> Path:
    """Folder of everything that can be made again: ``$ITPROBE_HOME``, else ``~/.cache/itprobe``."""
    return Path(os.environ.get("ITPROBE_HOME", "~/.cache/itprobe")).expanduser()


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it replaces `path`, on failure nothing is left.

    Parameters
    ----------
    path : str or Path
        The file to write. Its folder is made.

    Raises
    ------
    InputError
        If the folder cannot be made or written.
    """
    path = Path(path)
    make_folder(path.parent)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}-", suffix=path.suffix)
    except OSError as error:
        raise InputError(f"cannot write in {path.parent}: {error.strerror}; choose another folder") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        # netCDF reports a full disk as a lack of permission
        if error.errno in NO_ROOM or not _has_room(path.parent):
            raise InputError(
                f"cannot write {path}: the disk is full; make room or choose another folder"
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _has_room(folder: Path) -> bool:
    return shutil.disk_usage(folder).free > SMALLEST_ROOM


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`; on success it becomes `path`, on failure it is removed.

    A folder that another process finished in the meantime is kept and ours dropped.

    Raises
    ------
    InputError
        If the parent folder cannot be made or written.
    """
    path = Path(path)
    make_folder(path.parent)
    try:
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:40]}-"))
    except OSError as error:  # root may write to every folder, but not to every file system
        raise InputError(
            f"the folder {path.parent} cannot be written: {error.strerror}; choose another one"
        ) from None
    try:
        yield temporary
        temporary.chmod(0o755)
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def make_folder(path: Path) -> None:
    """Make `path` and its parents, or raise `InputError` with what stood in the way."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {path}: {error.strerror}; choose another one") from None
    if not os.access(path, os.W_OK):
        raise InputError(f"the folder {path} cannot be written; choose another one or change its permissions")


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be written, which is better known before hours of work.

    What is missing of it is made when there is something to put into it: a run that is refused leaves none behind.
    """
    make_folder(next(part for part in (folder, *folder.parents) if os.access(part, os.F_OK)))


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_values(*values: object) -> str:
    """SHA-256 of arrays, texts and numbers, in order; dtype and shape of an array count.

    Object arrays count as the text of their elements. Arrays of texts have the same digest whatever
    the width of their items is.
    """
    digest = hashlib.sha256()
    for value in values:
        if isinstance(value, np.ndarray) and value.dtype.kind not in "OUS":
            digest.update(f"{value.dtype.str}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).data)
        elif isinstance(value, np.ndarray):
            digest.update(f"text{value.shape}".encode())
            for item in value.ravel():
                digest.update(f"{len(str(item))}:{item}".encode())
        else:
            digest.update(f"{type(value).__name__}:{value!r}".encode())
        digest.update(b";")
    return digest.hexdigest()


def file_name_of(*identifiers: str) -> str:
    """Turn ids into one file name, without ending: ``a/b:c``, ``d`` -> ``a%2Fb%3Ac__d``.

    A name longer than `LONGEST_NAME` is cut, with a digest of the whole behind it. A leading dot is encoded, too:
    hidden files are those that are still being written.
    """
    name = "__".join(quote(identifier, safe="") for identifier in identifiers)
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 17]}-{sha256_values(name)[:16]}"
