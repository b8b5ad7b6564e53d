"""What a person sees while a model trains."""

import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from brickwork.core.console import plain_console, visible

LINE_EVERY_SECONDS = 5.0
MOST_SHOWN = 6
"""Validation numbers that are shown, of those that a system has."""


class Progress:
    """A live bar on a terminal, a plain line every few seconds elsewhere; both on standard error.

    Shows step, loss, the newest validation numbers, examples/s, time elapsed and left. For silence, pass no
    progress at all.
    """

    def __init__(self, console: Console | None = None):
        self.console = console or plain_console(error=True)
        self._bar: Bar | None = None
        self._steps = 0
        self._started = self._printed = time.monotonic()
        self._first = 0
        self._stage = ""

    def start(self, steps: int, done: int) -> None:
        """Begins at ``done`` of ``steps``."""
        self._steps, self._first = steps, done
        self._started = self._printed = time.monotonic()
        if self.console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]}"),
                TextColumn("{task.fields[quality]}", markup=False, style="green"),
                TextColumn("{task.fields[speed]}/s"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self.console,
                expand=True,
            )
            self._bar.add_task("training", total=steps, completed=done, loss="…", quality="", speed="…")
            self._bar.start()

    def stage(self, name: str) -> None:
        """A stage begins; the time left is always that of all stages."""
        self._stage = f"{name}, " if name else ""
        if self._bar is not None and name:
            self._bar.update(self._bar.task_ids[0], description=f"training: {visible(name)}")

    def update(self, step: int, loss: float, examples_per_second: float) -> None:
        """After each step: ``step`` of them are done."""
        if self._bar is not None:
            speed = f"{examples_per_second:,.0f} examples"
            self._bar.update(self._bar.task_ids[0], completed=step, loss=f"{loss:.4f}", speed=speed)
        elif time.monotonic() - self._printed >= LINE_EVERY_SECONDS or step == self._steps:
            self._printed = time.monotonic()
            elapsed = self._printed - self._started
            left = elapsed / max(1, step - self._first) * (self._steps - step)
            # Validation numbers have lines of their own: repeated here, they would look like new ones.
            self._print(
                f"{self._stage}step {step}/{self._steps}  loss {loss:.4f}  {examples_per_second:,.0f} examples/s"
                f"  elapsed {_clock(elapsed)}  left {_clock(left)}"
            )

    def validated(self, step: int, values: Mapping[str, float]) -> None:
        """New validation numbers: the first few, as a system gives them; all are in ``metrics.jsonl``."""
        first = [f"{name} {value:.3f}" for name, value in list(values.items())[:MOST_SHOWN]]
        more = [f"and {len(values) - MOST_SHOWN} more"] if len(values) > MOST_SHOWN else []
        quality = visible("  ".join(first + more))
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], quality=f"{quality} at {step:,}")
        elif quality:
            self._print(f"{self._stage}step {step}/{self._steps}  {quality}")

    def message(self, text: str) -> None:
        """A line of its own; also before the start and after the end."""
        self._print(text)

    def close(self) -> None:
        """Ends the bar and leaves its last state on the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _print(self, text: str) -> None:
        self.console.print(visible(text), markup=False, emoji=False, soft_wrap=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
