"""The supervisor, with workers that are no processes. (With processes: tests/reliability/test_service_load.py.)"""

import signal
import socket

import pytest
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import multiprocess

from brickwork.service import supervisor as supervisor_module
from brickwork.service.config import ServiceConfig
from brickwork.service.process import Started

STARTED = Started(url="http://here", model="m", dims=(8,), layers=(1,), documents=None, keys=0, workers=2)


class FakeProcess:
    """A worker of uvicorn's supervisor that lives until ``exitcode`` is set."""

    made = 0

    def __init__(self, config, sockets):
        FakeProcess.made += 1
        self.pid, self.exitcode, self.ready = 10**9 + FakeProcess.made, None, True
        self.process = self

    def start(self):
        pass

    def is_alive(self, timeout=0.0):
        return self.exitcode is None

    def ping(self, timeout):
        return self.ready

    def is_ready(self, timeout=0.0):
        return self.ready and self.is_alive()

    def kill(self):
        self.exitcode = -9 if self.exitcode is None else self.exitcode

    terminate = kill

    def join(self, timeout=None):
        pass


@pytest.fixture
def supervisor(monkeypatch, tmp_path):
    monkeypatch.setattr(multiprocess, "Process", FakeProcess)
    monkeypatch.setattr(supervisor_module, "Process", FakeProcess)
    monkeypatch.setattr(supervisor_module, "mark_process_dead", lambda pid: forgotten.append(pid))
    forgotten, announced = [], []
    before = {number: signal.getsignal(number) for number in multiprocess.SIGNALS}
    with socket.socket() as listener:
        config = ServiceConfig(target=str(tmp_path), workers=2)
        made = supervisor_module.Workers(config, listener, announced.append)
        made.forgotten, made.announced = forgotten, announced
        yield made
    for number, handler in before.items():
        signal.signal(number, handler)


def test_it_says_once_that_all_answer(supervisor):
    supervisor.reports.put(STARTED)
    supervisor.reports.put(STARTED)
    supervisor.init_processes()
    assert supervisor.announced == [STARTED]
    assert not supervisor.should_exit.is_set()


def test_a_worker_that_cannot_start_ends_the_service_with_its_reason(supervisor, monkeypatch):
    monkeypatch.setattr(FakeProcess, "start", lambda self: setattr(self, "exitcode", STARTUP_FAILURE))
    supervisor.reports.put(("no model there", 4))
    supervisor.init_processes()
    assert supervisor.should_exit.is_set()
    assert (str(supervisor.failure), supervisor.failure.exit_code) == ("no model there", 4)
    assert not supervisor.announced


def test_a_worker_that_is_killed_before_it_is_ready_ends_the_service(supervisor, monkeypatch):
    monkeypatch.setattr(FakeProcess, "start", lambda self: setattr(self, "exitcode", -9))
    supervisor.init_processes()
    assert "ended with status -9 before it was ready" in str(supervisor.failure)


def test_a_worker_that_died_is_replaced_and_its_gauges_go(supervisor):
    supervisor.reports.put(STARTED)
    supervisor.init_processes()
    supervisor.keep_subprocess_alive()
    victim = supervisor.processes[0]
    victim.exitcode = -9
    supervisor.keep_subprocess_alive()
    assert len(supervisor.processes) == 2
    assert victim not in supervisor.processes
    assert supervisor.forgotten == [victim.pid]
    assert not supervisor.should_exit.is_set()


def test_a_worker_hangs_after_a_minute_without_an_answer_not_before(supervisor, monkeypatch):
    supervisor.reports.put(STARTED)
    supervisor.init_processes()
    now = 0.0
    monkeypatch.setattr(supervisor_module, "monotonic", lambda: now)
    victim = supervisor.processes[1]
    supervisor.keep_subprocess_alive()
    victim.ready = False
    now = 59.0
    supervisor.keep_subprocess_alive()
    assert victim in supervisor.processes
    now = 61.0
    supervisor.keep_subprocess_alive()
    assert victim not in supervisor.processes
    assert victim.exitcode == -9


def test_workers_that_die_again_and_again_end_the_service(supervisor):
    supervisor.reports.put(STARTED)
    supervisor.init_processes()
    for _ in range(6):
        assert not supervisor.should_exit.is_set()
        supervisor.processes[0].exitcode = -11
        supervisor.keep_subprocess_alive()
    assert supervisor.should_exit.is_set()
    assert "workers died 6 times within 60 s, the last with status -11" in str(supervisor.failure)


def test_a_replacement_that_cannot_start_ends_the_service_with_its_reason(supervisor):
    supervisor.reports.put(STARTED)
    supervisor.init_processes()
    supervisor.reports.put(("the folder is damaged", 4))
    supervisor.processes[1].exitcode = STARTUP_FAILURE
    supervisor.keep_subprocess_alive()
    assert supervisor.should_exit.is_set()
    assert str(supervisor.failure) == "the folder is damaged"


@pytest.mark.parametrize(("name", "number"), [("term", signal.SIGTERM), ("int", signal.SIGINT)])
def test_a_signal_is_no_failure(supervisor, name, number):
    getattr(supervisor, f"handle_{name}")()
    supervisor._fail("a worker ended meanwhile")
    assert supervisor.should_exit.is_set()
    assert (supervisor.stopped, supervisor.failure) == (number, None)


def test_sighup_goes_to_the_workers_that_are_ready(supervisor, monkeypatch):
    supervisor.reports.put(STARTED)
    supervisor.init_processes()
    supervisor.processes[0].ready = False
    sent = []
    monkeypatch.setattr(supervisor_module.os, "kill", lambda pid, number: sent.append((pid, number)))
    supervisor.handle_hup()
    assert sent == [(supervisor.processes[1].pid, signal.SIGHUP)]
