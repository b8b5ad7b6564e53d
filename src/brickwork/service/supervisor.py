"""Several workers on one socket: uvicorn's supervisor, with what it leaves out."""

import logging
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from dataclasses import replace
from functools import partial
from multiprocessing.queues import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING

from prometheus_client.multiprocess import mark_process_dead
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import SIGNALS, Multiprocess, Process

from brickwork.core.errors import BrickworkError, ResourceError
from brickwork.service import logs
from brickwork.service.config import ServiceConfig
from brickwork.service.metrics import SHARED_FOLDER
from brickwork.service.process import OnReady, Started, settings, stopped_by, url_of, worker_app

if TYPE_CHECKING:
    from fastapi import FastAPI

_MOST_RESTARTS, _RESTARTS_SECONDS = 5, 60.0
# A worker is asked for a sign of life and given so long; it is taken for hung after a minute without one, because a
# library may hold Python's lock while it loads.
_ANSWER_SECONDS, _HUNG_SECONDS = 0.2, 60.0
# What a worker says to its supervisor: that it is ready, or why it cannot be (message, exit code).
Report = Started | tuple[str, int]


def serve_with_workers(config: ServiceConfig, listener: socket.socket, on_ready: OnReady) -> None:
    """Serves with ``config.workers`` processes until a signal; raises as ``server.serve``."""
    logs.configure(quiet=config.quiet)
    threads = config.threads or max(1, (os.cpu_count() or 1) // config.workers)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    shared = tempfile.mkdtemp(prefix="brickwork-metrics-")
    os.environ[SHARED_FOLDER] = shared  # the workers count into files there
    try:
        workers = Workers(replace(config, threads=threads), listener, on_ready)
        try:
            workers.run()
        finally:  # has no effect on workers that have ended
            workers.terminate_all()
            workers.join_all()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        del os.environ[SHARED_FOLDER]
        shutil.rmtree(shared, ignore_errors=True)
    if workers.failure is not None:
        raise workers.failure
    if workers.stopped is not None:
        raise stopped_by(workers.stopped)


class Workers(Multiprocess):
    """uvicorn's supervisor, which starts workers on one socket, takes signals, adds and takes away workers, asks them
    for signs of life, and ends them.

    Ours: a worker that cannot start says why; workers that die again and again end the service; SIGHUP loads the model
    anew inside the workers instead of starting others; waiting for the last answers has an end.
    """

    def __init__(self, config: ServiceConfig, listener: socket.socket, on_ready: OnReady):
        self.reports: SimpleQueue[Report] = multiprocessing.get_context("spawn").SimpleQueue()
        app = partial(_start, config, url_of(listener), self.reports)
        more = {"factory": True, "workers": config.workers}
        super().__init__(settings(config, app, **more), [listener])
        self.on_ready = on_ready
        self.join_seconds = config.limits.drain_seconds + 5
        self.failure: BrickworkError | None = None
        self.stopped: int | None = None
        self._started: Started | None = None
        self._heard: dict[int | None, float] = {}  # when each last answered, by its process id
        self._restarts: list[float] = []

    def init_processes(self) -> None:
        """Starts the workers, and waits until all of them answer or one has failed."""
        super().init_processes()
        while not all(worker.is_ready(timeout=1) for worker in self.processes):
            self.handle_signals()
            self._read_reports()
            if self.should_exit.wait(0.1):
                return
            ended = [worker for worker in self.processes if not worker.process.is_alive()]
            if ended:
                self._read_reports()
                self._fail(
                    f"a worker ended with status {ended[0].exitcode} before it was ready; see its lines above"
                )
                return
        self._read_reports()
        assert self._started is not None
        self.on_ready(self._started)

    def keep_subprocess_alive(self) -> None:
        """Replaces workers that died or hang, unless that happens all the time or one could not start.

        uvicorn's own takes a worker for hung that misses one answer, and waits for the answer of one that was killed
        while it was asked; neither suits workers that load libraries for seconds, or a supervisor that is to stop.
        """
        self._read_reports()
        for place, worker in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            now = monotonic()
            heard = self._heard.setdefault(worker.pid, now)
            if worker.process.is_alive():
                if worker.ping(timeout=_ANSWER_SECONDS):
                    self._heard[worker.pid] = now
                    continue
                if now - heard < _HUNG_SECONDS:
                    continue
            worker.kill()
            worker.join()
            if worker.exitcode == STARTUP_FAILURE:
                self._read_reports()
                self._fail("a worker could not start again; see the lines above")
                return
            self._note_restart(worker.exitcode, now)
            self.processes[place] = Process(self.config, self.sockets)
            self.processes[place].start()
        self._forget_the_gone()

    def _note_restart(self, status: int | None, now: float) -> None:
        logs.log("worker_restarted", level=logging.ERROR, status=status)
        self._restarts = [then for then in self._restarts if now - then < _RESTARTS_SECONDS] + [now]
        if len(self._restarts) > _MOST_RESTARTS:
            self._fail(
                f"workers died {len(self._restarts)} times within {_RESTARTS_SECONDS:g} s, the last with "
                f"status {status}; see the lines above"
            )

    def _forget_the_gone(self) -> None:
        """Takes the gauges of workers that are no more out of the metrics."""
        for pid in self._heard.keys() - {worker.pid for worker in self.processes}:
            del self._heard[pid]
            mark_process_dead(pid)

    def join_all(self) -> None:
        """Waits for the workers; those that do not end in time are killed."""
        for worker in self.processes:
            worker.process.join(self.join_seconds)
            if worker.process.is_alive():
                worker.kill()
                worker.join()

    def handle_hup(self) -> None:
        """Has the workers load the model anew, each beside the old one; those that still start do so anyway."""
        for worker in self.processes:
            if worker.pid is not None and worker.is_ready(timeout=1):
                os.kill(worker.pid, signal.SIGHUP)

    def handle_term(self) -> None:
        self.stopped = signal.SIGTERM
        super().handle_term()

    def handle_int(self) -> None:
        self.stopped = signal.SIGINT
        super().handle_int()

    def _read_reports(self) -> None:
        while not self.reports.empty():
            report = self.reports.get()
            if isinstance(report, Started):
                self._started = report
            else:
                self._fail(*report)

    def _fail(self, message: str, exit_code: int = ResourceError.exit_code) -> None:
        """Ends the service, unless it is ending already."""
        if self.failure is None and self.stopped is None:
            self.failure = BrickworkError(message)
            self.failure.exit_code = exit_code
        self.should_exit.set()


def _start(config: ServiceConfig, url: str, reports: "SimpleQueue[Report]") -> "FastAPI":
    """The application of a worker; in its process."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        return worker_app(config, url, reports.put)
    except BrickworkError as error:
        reports.put((str(error), error.exit_code))
        sys.exit(STARTUP_FAILURE)
