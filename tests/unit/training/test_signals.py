"""The first signal is noted, the second is the system's."""

import os
import signal
import threading

import pytest

from brickwork.training.signals import StopSignals, exit_code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_kills(number):
    before = {n: signal.getsignal(n) for n in StopSignals.SIGNALS}
    with StopSignals() as stop:
        assert stop.received is None
        os.kill(os.getpid(), number)
        assert stop.received == number
        # The default action of both ends the process at once.
        assert {signal.getsignal(n) for n in StopSignals.SIGNALS} == {signal.SIG_DFL}
    assert {n: signal.getsignal(n) for n in StopSignals.SIGNALS} == before


def test_codes_are_those_of_a_shell():
    assert (exit_code(signal.SIGINT), exit_code(signal.SIGTERM)) == (130, 143)


def test_in_a_thread_nothing_is_caught():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work():
        with StopSignals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
