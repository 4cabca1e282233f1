"""Processes that do not outlive the work they were started for, whichever way it ends."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

ENDED = 128 + signal.SIGTERM
"""Exit code that shells give a process that SIGTERM ended."""


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end what is done here by an exception, as Ctrl-C does, so that processes and folders go with it.

    A handler that was set by somebody is left alone, and so is everything outside the main thread, which alone hears
    of signals.

    Raises
    ------
    SystemExit
        With the code `ENDED`, on SIGTERM.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def run_process(
    command: Sequence[str],
    minutes: float,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run a process; it and all that it started are killed where it takes too long or this one is interrupted.

    Raises
    ------
    OSError
        If it cannot be started.
    subprocess.TimeoutExpired
        If it is not done after so many minutes.
    """
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=minutes * 60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(ENDED)
