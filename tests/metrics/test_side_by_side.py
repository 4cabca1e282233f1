"""Pieces of work at the same time: their order, their share of the cores, and what is left behind."""

from threading import Barrier, current_thread, main_thread

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from itprobe.metrics import PcrMapping
from itprobe.metrics.mapping import SplitRows
from itprobe.metrics.side_by_side import BYTES_TOGETHER, side_by_side


def blas_threads(*_):
    return max(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")


@pytest.fixture
def two_threads():
    with threadpool_limits(2, "blas"):
        if blas_threads() != 2:
            pytest.skip("this BLAS has no second thread")
        yield


def test_results_come_in_order_and_each_piece_has_one_thread(two_threads):
    threads = side_by_side(lambda piece: (piece, blas_threads()), range(7), 1.0)
    assert threads == [(piece, 1) for piece in range(7)]
    assert blas_threads() == 2


def test_a_library_that_knows_one_thread_only_is_no_reason_to_wait(two_threads, monkeypatch):
    others = [
        *threadpool_info(),
        {"user_api": "blas", "num_threads": 1},
        {"user_api": "openmp", "num_threads": 9},
    ]
    monkeypatch.setattr("itprobe.metrics.side_by_side.threadpool_info", lambda: others)
    meeting = Barrier(2, timeout=60)
    side_by_side(lambda _: meeting.wait(), range(2), 1.0)


def test_two_pieces_run_at_the_same_time(two_threads):
    meeting = Barrier(2, timeout=60)  # broken, and raises, if only one thread ever gets there
    side_by_side(lambda _: meeting.wait(), range(2), 1.0)


@pytest.mark.parametrize(("threads", "bytes_each"), [(1, 1.0), (2, BYTES_TOGETHER)])
def test_one_after_the_other_where_cores_or_memory_are_short(two_threads, threads, bytes_each):
    with threadpool_limits(threads, "blas"):
        found = side_by_side(lambda _: (current_thread(), blas_threads()), range(3), bytes_each)
    assert found == [(main_thread(), threads)] * 3


def test_an_error_reaches_the_caller_and_gives_the_threads_back(two_threads):
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda piece: 1 / piece, [1, 0, 1], 1.0)
    assert blas_threads() == 2


def test_who_stops_halfway_through_the_splits_leaves_the_threads_alone(two_threads):
    kernel = np.cov(np.random.default_rng(0).normal(size=(40, 60)))
    splits = [SplitRows(np.arange(30), np.arange(30, 40))] * 4
    predicted = PcrMapping(10).predict_splits([kernel], kernel[:, :2], splits)
    next(predicted)  # and the rest is never asked for, nor is the iterator closed
    assert blas_threads() == 2
    assert dict(side_by_side(lambda piece: (piece, blas_threads()), range(2), 1.0)) == {0: 1, 1: 1}


def test_a_second_one_meanwhile_leaves_the_threads_alone(two_threads, monkeypatch):
    everywhere = threadpool_info()
    monkeypatch.setattr("itprobe.metrics.side_by_side.threadpool_info", lambda: everywhere)

    def inner(piece):
        found = side_by_side(lambda within: (within, current_thread()), range(3), 1.0)
        assert found == [(within, current_thread()) for within in range(3)]
        return piece, blas_threads()

    assert side_by_side(inner, range(5), 1.0) == [(piece, 1) for piece in range(5)]
    assert blas_threads() == 2


def test_splits_at_the_same_time_predict_what_they_predict_alone(two_threads):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(90, 200))
    responses = features[:, :3] + rng.normal(size=(90, 3))
    splits = [SplitRows(order[:70], order[70:]) for order in (rng.permutation(90) for _ in range(5))]
    together = list(PcrMapping(30).predict_splits([features @ features.T], responses, splits))
    for split, prediction in zip(splits, together, strict=True):
        (alone,) = PcrMapping(30).predict_splits([features @ features.T], responses, [split])
        assert prediction.predictions == pytest.approx(alone.predictions, abs=1e-9)
        assert prediction.lambdas == pytest.approx(alone.lambdas)
