"""Submissions as zip files: written the same byte for byte every time, read without trusting a word of them."""

import io
import pickletools
import re
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from itprobe.errors import InputError
from itprobe.files import atomic_file

MEGABYTE = 10**6
LARGEST_FILE = 100 * MEGABYTE
"""GitHub takes no larger file, and Brain-Score turns every submission into a pull request there."""
LARGEST_TOTAL = 500 * MEGABYTE
MOST_FILES = 1000
LONGEST_PATH = 200
HIGHEST_RATIO = 100
"""Of unpacked to packed size, for files above a megabyte; source code reaches 10."""

_FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can tell
_CENTRAL_ENTRY = 46 + LONGEST_PATH + 300  # bytes that the directory of a zip file has for one file, at most
_END_OF_DIRECTORY = b"PK\x05\x06"
_PORTABLE = re.compile(r"[\w.@+ ,=~-]+(/[\w.@+ ,=~-]+)*", re.ASCII)
_RUNS_CODE = {
    **dict.fromkeys((".pkl", ".pickle", ".dill", ".joblib", ".pt", ".pth", ".ckpt"), "a pickle"),
    **dict.fromkeys((".pyc", ".so", ".pyd", ".dll", ".dylib", ".exe"), "compiled code"),
}
_PICKLE_ACTS = {"STOP", "GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD"}
_ARCHIVES = {b"PK\x03\x04": "a zip file", b"\x1f\x8b": "a gzip file", b"7z\xbc\xaf": "a 7z file"}


def write_archive(files: Mapping[str, bytes], out: str | Path) -> Path:
    """Write files into a zip file: sorted, undated, with an entry for every folder, atomically.

    Brain-Score's website finds plugins by the entries of folders.

    Parameters
    ----------
    files : mapping of str to bytes
        Path in the zip file, with ``/`` -> content.
    out : str or Path

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    folders = {f"{parent}/" for path in files for parent in PurePosixPath(path).parents if str(parent) != "."}
    contents = {**dict.fromkeys(folders, b""), **files}
    with (
        atomic_file(out) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
    ):
        for path in sorted(contents):
            entry = zipfile.ZipInfo(path, _FIRST_DATE)
            entry.create_system = 3  # Unix, wherever it is written
            kind = stat.S_IFDIR | 0o755 if path.endswith("/") else stat.S_IFREG | 0o644
            entry.external_attr = kind << 16 | (0x10 if path.endswith("/") else 0)
            entry.compress_type = zipfile.ZIP_STORED if path.endswith("/") else zipfile.ZIP_DEFLATED
            archive.writestr(entry, contents[path])
    return Path(out)


def read_archive(path: str | Path) -> dict[str, bytes]:
    """Read a zip file that nobody vouches for; nothing in it is run, and nothing is written.

    Returns
    -------
    dict of str to bytes
        Path -> content of every file, sorted. No path leads out of the folder that it is unpacked to, and
        none differs from another in upper and lower case only.

    Raises
    ------
    InputError
        If it is no zip file or damaged; holds links, devices, encrypted files, pickles, compiled code or
        further archives; a path is absolute, leads upwards, is too long or has odd signs; or a size or
        number is above its limit (`LARGEST_FILE`, `LARGEST_TOTAL`, `MOST_FILES`, `HIGHEST_RATIO`).
    """
    raw = _content(Path(path))
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            entries = archive.infolist()
            _check_entries(entries)
            return {
                entry.filename: _unpacked(archive, entry)
                for entry in sorted(entries, key=lambda entry: entry.filename)
                if not entry.is_dir()
            }
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is no zip file that can be read ({error}); pack it again") from None


def unpack(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files of `read_archive` into an empty folder."""
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise InputError(f"{path} is no file; give a zip file")
        if size > LARGEST_TOTAL:
            raise InputError(f"{path} has {_megabytes(size)}; at most {_megabytes(LARGEST_TOTAL)} are read")
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    end = len(raw) - 22 if raw[-22:-18] == _END_OF_DIRECTORY else raw.rfind(_END_OF_DIRECTORY)
    # The directory is read at once, so its size is looked at before.
    if end >= 0 and int.from_bytes(raw[end + 12 : end + 16], "little") > MOST_FILES * _CENTRAL_ENTRY:
        raise InputError(f"{path} lists more than {MOST_FILES} files; a plugin needs a few")
    return raw


def _check_entries(entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > MOST_FILES:
        raise InputError(f"it holds {len(entries)} files and folders; at most {MOST_FILES} are taken")
    seen: dict[str, str] = {}
    for entry in entries:
        _check_path(entry)
        folded = entry.filename.rstrip("/").casefold()
        if folded in seen:
            raise InputError(f"{entry.filename!r} and {seen[folded]!r} would be one file; keep one of them")
        seen[folded] = entry.filename
        if entry.file_size > LARGEST_FILE:
            raise InputError(
                f"{entry.filename!r} unpacks to {_megabytes(entry.file_size)}; at most {_megabytes(LARGEST_FILE)} "
                "are taken (GitHub's limit): host it, and let model.py download it"
            )
        if entry.file_size > MEGABYTE and entry.file_size > HIGHEST_RATIO * max(entry.compress_size, 1):
            raise InputError(
                f"{entry.filename!r} unpacks to more than {HIGHEST_RATIO} times its size, as a zip bomb does; "
                "leave it out"
            )
    files = {entry.filename for entry in entries if not entry.is_dir()}
    for name in (entry.filename for entry in entries):
        for parent in PurePosixPath(name).parents:
            if str(parent) in files:
                raise InputError(f"{str(parent)!r} is a file and a folder; keep one of them")
    total = sum(entry.file_size for entry in entries)
    if total > LARGEST_TOTAL:
        raise InputError(f"it unpacks to {_megabytes(total)}; at most {_megabytes(LARGEST_TOTAL)} are taken")


def _check_path(entry: zipfile.ZipInfo) -> None:
    # zipfile cuts names at a null byte and turns backslashes on some systems; the name as it is stored counts.
    name = entry.orig_filename
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", name):
        raise InputError(
            f"{name[:100]!r} leads out of the folder that it is unpacked to; pack relative paths"
        )
    if len(name) > LONGEST_PATH or not _PORTABLE.fullmatch(name.removesuffix("/")) or "." in parts:
        raise InputError(
            f"{name[:100]!r} is no name that every system takes; use letters, digits and _ . - (at most "
            f"{LONGEST_PATH} signs)"
        )
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a symbolic link" if kind == stat.S_IFLNK else "no ordinary file"
        raise InputError(f"{name!r} is {what}; pack the file itself")
    if entry.flag_bits & 0x1:
        raise InputError(f"{name!r} is encrypted; pack it without a password")
    reason = _RUNS_CODE.get(PurePosixPath(name).suffix.lower())
    if reason:
        raise InputError(f"{name!r} is {reason}, {_what_to_do(reason)}")


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as stream:
        content = stream.read(entry.file_size + 1)
    if len(content) != entry.file_size:
        raise InputError(f"{entry.filename!r} is not as long as the zip file says; pack it again")
    for magic, what in _ARCHIVES.items():
        if content.startswith(magic):
            raise InputError(f"{entry.filename!r} is {what}, whose content cannot be checked; pack the files")
    if _is_pickle(content):
        raise InputError(f"{entry.filename!r} is a pickle, {_what_to_do('a pickle')}")
    return content


def _is_pickle(content: bytes) -> bool:
    """Whether unpickling bytes would make an object or call anything, even if it failed afterwards."""
    if content.startswith(b"\x93NUMPY"):
        return b"'|O'" in content[:256]  # an array of objects, which are pickled
    codes: list[str] = []
    end = 0
    try:
        for code, _, place in pickletools.genops(content):
            codes.append(code.name)
            end = (place or 0) + 1
    except (ValueError, IndexError, OverflowError):
        pass  # what came before it would have been run
    if codes[:1] == ["PROTO"]:
        return bool(_PICKLE_ACTS.intersection(codes))
    # Older pickles have no mark, and plain text can begin like one.
    return codes[-1:] == ["STOP"] and end == len(content.rstrip())


def _what_to_do(reason: str) -> str:
    if reason == "a pickle":
        return "and loading one can run any code; save weights as safetensors"
    return "which nobody can read; pack its source"


def _megabytes(size: int) -> str:
    return f"{size / MEGABYTE:,.0f} MB"
