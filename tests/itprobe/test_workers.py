"""Processes and Dask clusters that do jobs: processes that die, clusters that are not there, shares of the cores."""

import gc
import os
import socket
import sys
from threading import Thread

import pytest
import torch

from itprobe import workers
from itprobe.cli import main
from itprobe.errors import InputError
from itprobe.sweeping import sweep
from itprobe.workers import LocalWorkers, WorkerDied, open_workers, thread_limits

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_process_that_always_dies_is_given_up(monkeypatch):
    monkeypatch.setattr(
        workers, "_prepare_process", max
    )  # itprobe takes seconds to import, and is not needed
    with open_workers(2) as made:
        dying = made.submit(os._exit, 1)
        assert made.submit(abs, -3).result() == 3  # the others work on
        with pytest.raises(WorkerDied):
            dying.result()


def test_a_scheduler_that_does_not_answer_is_named_with_the_alternative(monkeypatch, tmp_path):
    pytest.importorskip("distributed")
    assert workers.CONNECT_SECONDS <= 5  # of the 10 seconds that it may take
    monkeypatch.setattr(workers, "CONNECT_SECONDS", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    for wrong in (address, "nonsense://x", "no-such-host.invalid:8786"):
        # known before the recording is looked for
        with pytest.raises(
            InputError, match=r"(no Dask scheduler answers at|is no address) .*--jobs N"
        ) as raised:
            sweep(["pixels"], "no-such-recording", out=tmp_path / "out", scheduler=wrong)
        assert wrong in str(raised.value)
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="--scheduler is empty"), open_workers(scheduler=" "):
        pass


def test_a_service_of_another_kind_is_no_scheduler():
    pytest.importorskip("distributed")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            with server.accept()[0] as connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        Thread(target=answer, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(InputError, match="no Dask scheduler answers"), open_workers(scheduler=address):
            pass


def test_a_service_that_says_nothing_is_no_scheduler_and_is_not_waited_for(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(workers, "CONNECT_SECONDS", 0.5)
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with (
            pytest.raises(InputError, match=r"no Dask scheduler answers .*nothing that is one within 0.5 s"),
            open_workers(scheduler=address),
        ):
            pass
    gc.collect()
    assert not complaints


def test_what_cannot_be_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SystemExit) as raised:
        main(["sweep", "pixels", "--recording", "simulated_small", "--scheduler", "tcp://localhost:8786"])
    assert raised.value.code == 2
    message = capsys.readouterr().err
    assert "pip install 'itprobe[cluster]'" in message
    assert "--jobs N" in message
    for jobs, scheduler, text in (
        (0, None, "one process at least"),
        (2, "tcp://localhost:1", "one of the two"),
    ):
        with pytest.raises(InputError, match=text), open_workers(jobs, scheduler):
            pass
    with open_workers() as none:
        assert none is None


def test_processes_share_the_cores_and_take_no_more_than_this_one(monkeypatch):
    monkeypatch.setattr(workers, "cpu_count", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    assert thread_limits(2) == (1, 4)  # BLAS has one thread in these tests
    assert thread_limits(1) == (1, 6)
    assert thread_limits(100) == (1, 1)
    assert LocalWorkers.died is WorkerDied
