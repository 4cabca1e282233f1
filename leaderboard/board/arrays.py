"""Arrays of netCDF files that strangers wrote, by way of a process that may hang or crash in our stead."""

import atexit
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any

import numpy as np

from itprobe.errors import InputError
from itprobe.leaderboard.board import hdf5_reader

MOST_VALUES = 50_000_000
"""Of one array: 10 splits of 25,000 test stimuli and 200 neuroids."""
LONGEST_ID = 500
SECONDS = 30
"""What a file may take; a large one takes two."""

Layout = dict[str, tuple[str, ...]]
"""Dimensions of each variable; a dimension of one name has one size."""


class _Reader:
    """The process that opens the files: started when it is needed, and anew after any file with a fault."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = Lock()

    def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Have a file read; raises `InputError` with what is wrong with it."""
        with self._lock:
            process = self._started()
            try:
                answered = self._exchange(process, request)
            except (TimeoutError, EOFError, BrokenPipeError) as error:
                self.stop()
                how = (
                    f"takes more than {SECONDS} s to read"
                    if isinstance(error, TimeoutError)
                    else "breaks its reader"
                )
                raise InputError(f"{how}: it is damaged, or made to do that") from None
            if "fault" in answered[0]:
                self.stop()  # what a broken file did to the library must not reach the next file
                raise InputError(answered[0]["fault"])
            return answered

    def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.communicate()

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._owner != os.getpid():  # a forked process needs one of its own
            self._owner = os.getpid()
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(Path(hdf5_reader.__file__).resolve())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
        return self._process

    def _exchange(
        self, process: "subprocess.Popen[bytes]", request: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        assert process.stdin is not None
        process.stdin.write(json.dumps(request).encode() + b"\n")
        stream = _Stream(process, monotonic() + SECONDS)
        header = json.loads(stream.line())
        arrays = {}
        for name, shape in header.get("shapes", {}).items():
            content = stream.exactly(8 * int(np.prod(shape, dtype=np.int64)))
            arrays[name] = np.frombuffer(content, dtype=np.float64).reshape(shape)
        return header, arrays


class _Stream:
    """What the process answers, up to a point in time."""

    def __init__(self, process: "subprocess.Popen[bytes]", until: float) -> None:
        assert process.stdout is not None
        self._handle, self._until, self._rest = process.stdout.fileno(), until, bytearray()

    def line(self) -> bytearray:
        while b"\n" not in self._rest:
            self._more()
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def exactly(self, count: int) -> bytearray:
        while len(self._rest) < count:
            self._more()
        content = self._rest[:count]
        del self._rest[:count]
        return content

    def _more(self) -> None:
        if not select.select([self._handle], [], [], max(0.0, self._until - monotonic()))[0]:
            raise TimeoutError
        chunk = os.read(self._handle, 2**20)
        if not chunk:
            raise EOFError
        self._rest += chunk


_reader = _Reader()
atexit.register(_reader.stop)


def check_arrays(path: Path, layout: Layout, texts: tuple[str, ...]) -> None:
    """Check declared sizes and types of a netCDF4 file's variables, without reading any.

    Parameters
    ----------
    path : Path
    layout : dict of str to tuple of str
    texts : tuple of str
        Variables that hold texts; the others hold numbers.

    Raises
    ------
    InputError
        If one lacks, is no array of that kind, is larger than `MOST_VALUES`, is stored outside of the file, or the
        file is no netCDF4 file.
    """
    _ask(path, layout, texts, [], [])


def read_arrays(
    path: Path, layout: Layout, texts: tuple[str, ...], attributes: tuple[str, ...] = ()
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read a netCDF4 file's variables, checked as by `check_arrays`, and attributes that are texts.

    Returns
    -------
    dict of str to ndarray
        Variables: numbers as float64, texts as str.
    dict of str to str
        Those of the attributes that are there.

    Raises
    ------
    InputError
    """
    return _ask(path, layout, texts, list(layout), list(attributes))


def _ask(
    path: Path, layout: Layout, texts: tuple[str, ...], wanted: list[str], attributes: list[str]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    request = {
        "path": os.fspath(path.absolute()),
        "variables": layout,
        "texts": texts,
        "most": MOST_VALUES,
        "longest": LONGEST_ID,
        "wanted": wanted,
        "attributes": attributes,
    }
    try:
        header, numbers = _reader.ask(request)
    except InputError as error:
        raise InputError(f"{path.name!a} {' '.join(ascii(str(error))[1:-1].split())}") from None
    named = {name: np.array(values, dtype=str) for name, values in header["texts"].items()}
    return numbers | named, header["attributes"]
