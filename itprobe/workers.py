"""Where the jobs of a sweep run: in processes of this machine, or on a Dask cluster.

Nothing that takes long to import stands at the top, so that a wrong address is known at once.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import TextIOWrapper
from queue import SimpleQueue
from threading import Lock, Thread
from time import sleep
from typing import Any, Protocol

from joblib import cpu_count
from joblib.externals.loky import ProcessPoolExecutor
from threadpoolctl import threadpool_info, threadpool_limits

from itprobe.errors import InputError

CONNECT_SECONDS = 5
"""How long a scheduler may take to answer; within ten the command says that it does not."""

ATTEMPTS = 3
"""How often a job is begun on this machine, when each time its process dies."""

_WATCH_SECONDS = 1
"""How often a process looks whether its sweep still runs."""


class WorkerDied(Exception):
    """The process of a job died each time that it was begun."""


class Workers(Protocol):
    """What runs jobs.

    Attributes
    ----------
    died : type of exception
        What a job's future holds when its workers died again and again.
    of_death : str
        What to say of it.
    name : str
        Where jobs run, for messages.
    """

    died: type[Exception]
    of_death: str
    name: str

    def submit(self, function: Callable[..., Any], *arguments: object) -> "Future[Any]":
        """Have a job done; it is begun again where its worker dies."""

    def close(self) -> None:
        """Do no further job, and end what can be ended."""


@contextmanager
def open_workers(jobs: int = 1, scheduler: str | None = None) -> Iterator[Workers | None]:
    """Give what runs the jobs of a sweep; None stands for this process.

    joblib's own front end runs lists of tasks that are known beforehand, and gives up all of them where one
    process dies. Jobs of a sweep wait for one another, and dying is what large networks do. So the two are
    used from one floor below: joblib's processes (loky), and Dask's client, whose scheduler repeats the jobs
    of workers that died.

    Parameters
    ----------
    jobs : int
        Processes of this machine.
    scheduler : str, optional
        Address of a Dask scheduler, e.g. ``tcp://10.0.0.5:8786``.

    Raises
    ------
    InputError
        If there is less than one process, both are given, the scheduler does not answer, or the package
        distributed is missing.
    """
    if jobs < 1:
        raise InputError(f"a sweep needs one process at least, not {jobs}: --jobs 1 is this one")
    if scheduler is not None and jobs > 1:
        raise InputError("jobs run either here (--jobs) or on a cluster (--scheduler); give one of the two")
    if scheduler is None and jobs == 1:
        yield None
        return
    workers: Workers = LocalWorkers(jobs) if scheduler is None else ClusterWorkers(scheduler)
    try:
        yield workers
    finally:
        workers.close()


class LocalWorkers:
    """Processes of this machine, each with its share of the cores.

    Each has an executor of its own: where one dies the others work on, and it is plain whose job it was.

    Parameters
    ----------
    n : int
    """

    died: type[Exception] = WorkerDied
    of_death = f"its process died {ATTEMPTS} times; where memory is short, give fewer --jobs"
    name = "this machine"

    def __init__(self, n: int) -> None:
        self._threads = ThreadPoolExecutor(n)
        self._limits = thread_limits(n)
        self._lock, self._closed = Lock(), False
        self._executors: list[ProcessPoolExecutor] = []
        self._idle: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
        for _ in range(n):
            self._idle.put(self._executor())

    def submit(self, function: Callable[..., Any], *arguments: object) -> "Future[Any]":
        """Have a job done by the next process that is free."""
        return self._threads.submit(self._attempt, function, arguments)

    def close(self) -> None:
        """End all processes, at work or not."""
        with self._lock:
            self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        idle = [self._idle.get() for _ in range(self._idle.qsize())]
        for executor in idle:  # a process that is killed leaves semaphores behind, of which Python complains
            executor.shutdown()
        for executor in self._executors:
            if executor not in idle:
                executor.shutdown(kill_workers=True)
        self._threads.shutdown()

    def _executor(self) -> ProcessPoolExecutor:
        """A process that starts with its first job."""
        executor = ProcessPoolExecutor(
            1, initializer=_prepare_process, initargs=(os.getpid(), *self._limits), env=_environment()
        )
        with self._lock:
            if self._closed:
                raise WorkerDied
            self._executors.append(executor)
        return executor

    def _attempt(self, function: Callable[..., Any], arguments: tuple[object, ...]) -> object:
        executor = self._idle.get()
        try:
            for _ in range(ATTEMPTS):
                try:
                    return executor.submit(function, *arguments).result()
                except BrokenExecutor:
                    executor = self._executor()
        finally:
            self._idle.put(executor)
        raise WorkerDied


def thread_limits(n: int) -> tuple[int, int]:
    """Threads of BLAS and of torch in each of `n` processes: their share of the cores, this one's at most."""
    _load_libraries()
    import torch

    share = max(1, cpu_count() // n)
    blas = [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
    return min(share, max(blas, default=share)), min(share, torch.get_num_threads())


def _load_libraries() -> None:
    """Load whatever has threads (numpy and scipy bring a BLAS each): only then can they be counted, and limited."""
    import scipy.linalg  # noqa: F401
    import torch  # noqa: F401


def _environment() -> dict[str, str]:
    """Keep quiet, as the command line does, what Brain-Score's classes set off at every import."""
    given = os.environ.get("PYTHONWARNINGS")
    return {"PYTHONWARNINGS": ",".join([*([given] if given else []), "ignore:xarray subclass:FutureWarning"])}


def _prepare_process(sweep: int, blas_threads: int, torch_threads: int) -> None:
    """Set up a process of this machine before its first job; `sweep` is the process that it works for."""
    _load_libraries()
    import torch

    Thread(target=_end_with, args=[sweep], daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the sweep's, which ends its processes
    sys.stderr = _NoTerminal(os.fdopen(os.dup(2), "wb"), line_buffering=True)
    threadpool_limits(blas_threads, "blas")
    torch.set_num_threads(torch_threads)


def _end_with(parent: int) -> None:
    """End this process soon after its parent, which may have been killed."""
    while os.getppid() == parent:
        sleep(_WATCH_SECONDS)
    os._exit(1)


class _NoTerminal(TextIOWrapper):
    """Lets warnings through, and keeps progress bars from drawing over the sweep's own."""

    def isatty(self) -> bool:
        return False


class ClusterWorkers:
    """The workers of a Dask scheduler.

    Parameters
    ----------
    address : str

    Raises
    ------
    InputError
        If the scheduler does not answer, or the package distributed is missing.
    """

    of_death = "workers died of it again and again; is there memory enough for one job on each?"

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client, KilledWorker
            from distributed.comm import parse_host_port
            from distributed.comm.addressing import parse_address
        except ModuleNotFoundError:
            raise InputError(
                "--scheduler needs the package distributed: pip install 'itprobe[cluster]'; "
                "without it --jobs N uses N processes of this machine"
            ) from None
        self.died: type[Exception] = KilledWorker
        self.name = f"the cluster of {address}"
        if not address.strip():  # Client would start a cluster of its own
            raise InputError("--scheduler is empty; give an address, e.g. tcp://10.0.0.5:8786, or --jobs N")
        try:
            # Without this, a Client that could never connect is half made, and complains for ten seconds.
            parse_host_port(parse_address(address)[1])
        except ValueError as error:
            raise InputError(
                f"--scheduler {address} is no address ({_first_line(error)}); write e.g. tcp://10.0.0.5:8786, or use "
                "processes of this machine: --jobs N"
            ) from None
        _check_answers(address)
        self._client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        self._executor = self._client.get_executor(pure=False)

    def submit(self, function: Callable[..., Any], *arguments: object) -> "Future[Any]":
        """Have a job done by a worker that is free."""
        future: Future[Any] = self._executor.submit(function, *arguments)
        return future

    def close(self) -> None:
        """Take back the jobs that nobody has begun; a job at work ends by itself."""
        self._executor.shutdown(wait=False)
        self._client.close()


def _check_answers(address: str) -> None:
    """Raise `InputError` where no Dask scheduler answers within `CONNECT_SECONDS`.

    Asked before there is a client: one that waits for a service which takes connections and says nothing waits
    without end, and one that could not connect complains when it is forgotten.
    """

    async def asked() -> None:
        from distributed.core import rpc

        async with rpc(address, timeout=CONNECT_SECONDS) as scheduler:
            await scheduler.identity()

    try:
        with ThreadPoolExecutor(1) as pool:  # a notebook's own thread has an event loop already
            pool.submit(lambda: asyncio.run(asyncio.wait_for(asked(), CONNECT_SECONDS))).result()
    except Exception as error:  # nobody there, no address, or bytes of another service, read as anything
        known = isinstance(error, OSError) and not isinstance(error, TimeoutError)
        reason = _first_line(error) if known else f"nothing that is one within {CONNECT_SECONDS:g} s"
        raise InputError(
            f"no Dask scheduler answers at {address} ({reason}); start one there (dask scheduler), or use processes "
            "of this machine: --jobs N"
        ) from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
