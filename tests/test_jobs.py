"""The device worker: order, isolation of errors, withdrawal, closing."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from arc2face import GenerationRequest, IdentityEmbedding
from arc2face.errors import CancelledError
from arc2face.jobs import DeviceWorker, Job

REQUEST = GenerationRequest(identity=IdentityEmbedding(np.ones(512, np.float32)))


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


def test_light_tasks_are_served_between_steps_and_before_what_waits() -> None:
    """B5: where readers share the device with the denoiser."""
    worker = DeviceWorker()
    started, go_on, order = threading.Event(), threading.Event(), []
    light_done = threading.Event()

    def long_run() -> None:
        started.set()
        while not light_done.wait(0.01):
            worker.serve()
        order.append("run")
        assert go_on.wait(60)

    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(worker.call, long_run)
        assert started.wait(60)
        waiting = pool.submit(worker.call, lambda: order.append("waited"))
        assert worker.light(lambda: order.append(threading.current_thread().name)) is None
        light_done.set()
        go_on.set()
        running.result(60)
        waiting.result(60)
    assert order == ["arc2face-device", "run", "waited"]
    assert worker.call(lambda: worker.light(lambda: 5)) == 5
    worker.close()


def test_an_error_of_a_light_task_is_its_callers_alone() -> None:
    worker = DeviceWorker()
    with pytest.raises(ZeroDivisionError):
        worker.light(lambda: 1 / 0)
    assert worker.call(lambda: 7) == 7
    worker.close()


def test_an_idle_worker_remembers_nothing() -> None:
    """A5: the last visitor's embedding and pictures do not stay in memory."""

    class Visitor:
        pass

    worker = DeviceWorker()
    visitor = Visitor()
    trace = weakref.ref(visitor)
    worker.call(lambda kept=visitor: None)
    worker.light(lambda kept=visitor: None)
    del visitor
    worker.call(lambda: None)  # the thread is past the others
    gc.collect()
    assert trace() is None
    worker.close()


def test_the_callers_number_of_torch_threads_reaches_the_worker() -> None:
    """E8: torch counts threads per thread."""
    import torch

    worker = DeviceWorker()
    before = torch.get_num_threads()
    try:
        assert worker.call(torch.get_num_threads) == before
        torch.set_num_threads(before + 1)
        assert worker.call(torch.get_num_threads) == before + 1
    finally:
        torch.set_num_threads(before)
    worker.close()


def test_closing_fails_what_waits_and_stops_what_runs() -> None:
    """B3: every result() ends."""
    worker = DeviceWorker()
    started = threading.Event()
    running, waiting = Job(REQUEST), Job(REQUEST)

    def run() -> None:
        started.set()
        while not running.cancelled:
            time.sleep(0.01)
        running.finish(CancelledError("stopped"))

    worker.submit(run, running)
    worker.submit(lambda: None, waiting)
    assert started.wait(60)
    worker.close()
    for job in (running, waiting):
        with pytest.raises(CancelledError):
            job.result(60)
    worker.close()


def test_only_the_first_outcome_counts() -> None:
    job = Job(REQUEST)
    job.finish(CancelledError("first"))
    job.finish(RuntimeError("second"))
    with pytest.raises(CancelledError, match="first"):
        job.result(1)
    assert list(job.events()) == []
