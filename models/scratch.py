"""A temporary folder for what does not fit in memory: with room checked before, and gone after a kill too."""

import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from itprobe.errors import InputError
from itprobe.files import NO_ROOM, file_name_of, make_folder

_FOLDER, _LOCK = "itprobe-activations", "lock"
_PROBE_BYTES = 2**25


class Scratch:
    """A folder under ``$ITPROBE_SCRATCH`` (else the system's temporary folder), made at first use.

    Folders that processes of this machine left behind when they were killed are removed.
    """

    def __init__(self) -> None:
        self.root = Path(os.environ.get("ITPROBE_SCRATCH") or tempfile.gettempdir()).expanduser()
        self._folder: Path | None = None
        if self.root.is_dir():
            remove_leftovers(self.root)

    def free(self) -> int:
        """Bytes that may be written."""
        make_folder(self.root)
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
            if error.errno not in NO_ROOM:
                raise
            raise no_room(needed, self.root) from error

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._lock.close()
            self._folder = None

    def _made(self) -> Path:
        if self._folder is None:
            make_folder(self.root)
            folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}-{_host()}-", dir=self.root))
            self._lock = (folder / _LOCK).open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._folder = folder
        return self._folder


def no_room(needed: int, folder: Path, also: str = "") -> InputError:
    """Make the error for a disk that is too small; `also` says what else was tried."""
    return InputError(
        f"the activations need {needed / 1e9:.2f} GB of disk in {folder}, which has too little{also}; "
        "set ITPROBE_SCRATCH to a larger disk, or ask for fewer layers or pooled ones (LAYER~pool4)"
    )


def remove_leftovers(root: Path) -> None:
    """Remove folders under `root` that processes of this machine left behind when they were killed.

    A process holds a lock on its folder's lock file for as long as it lives; the system lets go of it
    when the process ends, however it ends.
    """
    for folder in root.glob(f"{_FOLDER}-{_host()}-*"):
        try:
            with (folder / _LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # somebody holds it, is just making it, or has removed it
            continue


def _reserve(descriptor: int, size: int) -> None:
    # In a sparse file, a disk that fills up would be noticed in the middle of the run.
    if hasattr(os, "posix_fallocate"):
        if size:
            os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)


def _host() -> str:
    return file_name_of(socket.gethostname()).replace("-", "_")
