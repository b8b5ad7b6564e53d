"""The errors that a user can meet, each with the exit code that the command line leaves with.

A message names the file, row, field or option and says what to do. Anything that is not one of these is
a defect of ours and shows a traceback.
"""

import contextlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from types import FrameType


class BrickworkError(Exception):
    """Something the user can put right. ``exit_code`` is what the command line returns."""

    exit_code = 1


class BrickworkWarning(UserWarning):
    """Something the user should know that does not stop the work, with counts where rows are concerned."""


def warn(message: str) -> None:
    """A :class:`BrickworkWarning` that points to the line outside of this package from which it was called."""
    frame: FrameType | None = sys._getframe(1)
    level = outside = 2
    while frame is not None:
        level += 1
        if frame.f_globals.get("__name__", "").partition(".")[0] == __package__.partition(".")[0]:
            outside = level  # of the frame that called this one
        frame = frame.f_back
    warnings.warn(message, BrickworkWarning, stacklevel=outside)


class ConfigError(BrickworkError):
    """An option or configuration field that is unknown, of the wrong type or out of range."""

    exit_code = 2


class DataError(BrickworkError):
    """The user's data cannot be used as it is: empty, wrong column, unreadable file."""

    exit_code = 3


class ArtifactError(BrickworkError):
    """A model, checkpoint or index that is missing, damaged, unsafe or does not belong here."""

    exit_code = 4


class AbsentModelError(ArtifactError):
    """A pretrained model that a kept one reads with, and does not hold, is not here or is another one by now."""


class NonFiniteError(BrickworkError):
    """A loss or gradient became NaN or infinite; training stopped before the update."""

    exit_code = 5


class ResourceError(BrickworkError):
    """The machine refused: disk full, folder not writable, lock held, out of memory."""

    exit_code = 6


class MissingExtraError(BrickworkError):
    """An optional package is needed for what was asked; the message has the install line."""

    exit_code = 7

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(f"{purpose} needs the package '{package}': pip install 'brickwork[{extra}]'")


_EXTRA_OF = {
    **dict.fromkeys(
        ("lightning_fabric", "sklearn", "scipy", "jinja2", "markupsafe", "threadpoolctl"), "train"
    ),
    **dict.fromkeys(
        ("fastapi", "starlette", "pydantic", "pydantic_core", "uvicorn", "prometheus_client"), "serve"
    ),
    **dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), "onnx"),
    **dict.fromkeys(("psycopg", "pgvector"), "postgres"),
    "bm25s": "train",
    "gguf": "gguf",
    **dict.fromkeys(("openvino", "nncf"), "openvino"),
    "tensorboard": "tensorboard",
    "mteb": "peers",
    "ray": "ray",
    "qdrant_client": "qdrant",
}
"""Top-level module → the extra that installs it, for what shared rooms need; a system names an extra of its own itself."""


def missing_extra(error: ModuleNotFoundError, purpose: str = "this") -> MissingExtraError | None:
    """The error that names the extra with the module that was not found; ``None`` for a module of no extra."""
    package = (error.name or "").partition(".")[0]
    extra = _EXTRA_OF.get(package)
    return MissingExtraError(package, extra, purpose) if extra else None


@contextlib.contextmanager
def naming_extras(purpose: str) -> Iterator[None]:
    """Around imports, or a function that imports: a package of an extra that is not installed is named with the extra.

    Raises:
        MissingExtraError: a package of an extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if missing := missing_extra(error, purpose):
            raise missing from error
        raise


def need_extra(extra: str, purpose: str) -> None:
    """Looks whether every package of ``extra`` is there, before long work that needs some of them at its end.

    Raises:
        MissingExtraError: names the first that is not.
    """
    for package, its in _EXTRA_OF.items():
        if its == extra and importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, extra, purpose)


class Interrupted(BrickworkError):
    """Ctrl-C (130) or SIGTERM (143): work was saved before leaving."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


EXIT_CODES = {
    0: "success",
    1: "error (any other)",
    ConfigError.exit_code: "wrong option or configuration",
    DataError.exit_code: "the data cannot be used",
    ArtifactError.exit_code: "model, checkpoint or index missing or damaged",
    NonFiniteError.exit_code: "loss or gradient not finite; stopped before the update",
    ResourceError.exit_code: "disk full, folder not writable, lock held or out of memory",
    MissingExtraError.exit_code: "an optional package is not installed",
    130: "stopped by Ctrl-C, work saved",
    143: "stopped by SIGTERM, work saved",
}
