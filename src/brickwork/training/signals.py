"""Ctrl-C and SIGTERM while training: the first asks the loop to stop, the second kills."""

import signal
import threading
from types import FrameType
from typing import Any


class StopSignals:
    """While entered, SIGINT and SIGTERM only set :attr:`received`; the loop looks at it after each step.

    After the first signal the system's own handlers stand again, so a second one ends the process at once.
    Outside the main thread, where Python allows no handlers, nothing is caught.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        for each in self.SIGNALS:
            signal.signal(each, signal.SIG_DFL)


def exit_code(number: int) -> int:
    """128 + the signal's number, as shells count: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + number
