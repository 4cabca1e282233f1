"""A temporary folder for what does not fit in memory: with room checked before, and gone after a kill too."""

import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import psutil

from itprobe.errors import InputError
from itprobe.files import file_name_of, make_folder

_FOLDER = "itprobe-activations"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PROBE_BYTES = 2**25


class Scratch:
    """A folder under ``$ITPROBE_SCRATCH`` (else the system's temporary folder), made at first use.

    Folders of processes of this machine that were killed are removed when one is made.
    """

    def __init__(self) -> None:
        self.root = Path(os.environ.get("ITPROBE_SCRATCH") or tempfile.gettempdir()).expanduser()
        self._folder: Path | None = None

    def free(self) -> int:
        """Bytes that may be written, after leftovers are removed."""
        make_folder(self.root)
        remove_leftovers(self.root)
        return shutil.disk_usage(self.root).free

    def bandwidth(self) -> float:
        """Bytes a second that reach the disk, from one file of 32 MiB; 0 where it has no room for that."""
        try:
            with tempfile.TemporaryFile(dir=self.root) as stream:
                content = os.urandom(_PROBE_BYTES)
                started = perf_counter()
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
                return _PROBE_BYTES / (perf_counter() - started)
        except OSError:
            return 0.0

    def reserve(self, name: str, size: int) -> int:
        """Make a file of `size` bytes whose room on the disk is taken, and give its descriptor.

        Raises
        ------
        InputError
            If the disk has no room.
        """
        path = self._made() / file_name_of(name)
        with self.room(size):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                _reserve(descriptor, size)
            except BaseException:
                os.close(descriptor)
                raise
        return descriptor

    def discard(self, name: str) -> None:
        """Remove a file."""
        (self._made() / file_name_of(name)).unlink()

    @contextmanager
    def room(self, needed: int) -> Iterator[None]:
        """Turn what the system says of a full disk into `InputError`; `needed` bytes were to be written."""
        try:
            yield
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise no_room(needed, self.root) from error

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    def _made(self) -> Path:
        if self._folder is None:
            make_folder(self.root)
            prefix = f"{_FOLDER}-{_host()}-{_process_key(os.getpid())}-"
            self._folder = Path(tempfile.mkdtemp(prefix=prefix, dir=self.root))
        return self._folder


def no_room(needed: int, folder: Path, also: str = "") -> InputError:
    """Make the error for a disk that is too small; `also` says what else was tried."""
    return InputError(
        f"the activations need {needed / 1e9:.2f} GB of disk in {folder}, which has too little{also}; "
        "set ITPROBE_SCRATCH to a larger disk, or ask for fewer layers or pooled ones (LAYER~pool4)"
    )


def remove_leftovers(root: Path) -> None:
    """Remove folders under `root` that processes of this machine left behind when they were killed."""
    for folder in root.glob(f"{_FOLDER}-{_host()}-*"):
        pid, _, started = folder.name.removeprefix(f"{_FOLDER}-{_host()}-").partition("-")
        owner = f"{pid}-{started.partition('-')[0]}"
        if pid.isdigit() and owner != _process_key(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _reserve(descriptor: int, size: int) -> None:
    # In a sparse file, a disk that fills up would be noticed in the middle of the run.
    if hasattr(os, "posix_fallocate"):
        if size:
            os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)


def _host() -> str:
    return file_name_of(socket.gethostname()).replace("-", "_")


def _process_key(pid: int) -> str | None:
    """A process's id and start, or None if it is gone; ids are used again, their starts are not."""
    try:
        return f"{pid}-{int(psutil.Process(pid).create_time())}"
    except psutil.NoSuchProcess:
        return None
