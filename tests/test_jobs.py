"""The device worker: order, isolation of errors, withdrawal, closing."""

from __future__ import annotations

import threading

import pytest

from arc2face.errors import CancelledError
from arc2face.jobs import DeviceWorker


def test_tasks_run_in_order_on_one_thread() -> None:
    worker = DeviceWorker()
    seen: list[tuple[int, str]] = []
    for i in range(5):
        worker.call(lambda i=i: seen.append((i, threading.current_thread().name)))
    assert seen == [(i, "arc2face-device") for i in range(5)]
    worker.close()


def test_an_error_reaches_its_caller_and_no_other() -> None:
    worker = DeviceWorker()
    with pytest.raises(ZeroDivisionError):
        worker.call(lambda: 1 / 0)
    assert worker.call(lambda: 7) == 7
    worker.close()


def test_calls_from_the_worker_itself_do_not_wait_for_themselves() -> None:
    worker = DeviceWorker()
    assert worker.call(lambda: worker.call(lambda: 3)) == 3
    worker.close()


def test_inline_runs_in_the_calling_thread() -> None:
    worker = DeviceWorker(inline=True)
    assert worker.call(threading.current_thread) is threading.current_thread()


def test_a_closed_worker_refuses() -> None:
    worker = DeviceWorker()
    worker.call(lambda: None)
    worker.close()
    with pytest.raises(CancelledError):
        worker.call(lambda: None)
