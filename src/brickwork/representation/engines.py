"""Which engine encodes: PyTorch, or a network in 8-bit numbers (representation/int8.py). Chosen here and nowhere else.

``torch``   bf16 where the processor has instructions for it, else fp32
``int8``    OpenVINO, calibrated on texts of the user's own; kept beside the model
``auto``    what the folder was saved with, as an index is; else ``torch``
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from brickwork.core.errors import ConfigError, MissingExtraError, warn
from brickwork.data.sets.source import cache_folder
from brickwork.representation import int8
from brickwork.representation.folder import MANIFEST
from brickwork.representation.inference import use_engine

ENGINES = ("auto", "torch", "int8")
Texts = Iterable[str] | Callable[[], Iterable[str]]


def check_engine(engine: str) -> None:
    """Raises ConfigError for an unknown name, MissingExtraError where what it needs is not installed."""
    if engine not in ENGINES:
        raise ConfigError(f"engine is {engine!r}; choose one of {', '.join(map(repr, ENGINES))}")
    if engine == "int8":
        int8.check_extra()


def choose_engine(
    representation: Any, engine: str, folder: Path | None, calibration: Texts | None = None
) -> None:
    """Has ``representation`` encode by ``engine`` from now on, wherever no precision is asked for.

    ``folder``: where the model was read from. The int8 network is kept in it, or in the cache where it is no folder of
    Brickwork's; if there is one already, that is taken, and ``calibration`` (or what calling it gives) is not read.

    Raises:
        ConfigError: an unknown engine, a model that it does not run, or nothing kept and nothing to calibrate on.
        MissingExtraError: the engine is not installed.
        ArtifactError: what is kept is damaged.
    """
    check_engine(engine)
    if engine == "auto":
        _as_saved(representation, folder)
        return
    if engine == "torch":
        use_engine(representation.encoder, None)
        return
    int8.check_runs(representation)
    place = folder if folder is not None and (folder / MANIFEST).is_file() else cache_folder()
    made = int8.kept(place, representation)
    if made is None and calibration is None:
        raise ConfigError(
            "this model has no int8 network yet, and it is made by calibration on some hundred texts of your own: "
            'brickwork.load(MODEL, engine="int8", calibration=texts), or brickwork index MODEL DOCUMENTS --engine int8, '
            "which takes them from the documents"
        )
    if made is None and calibration is not None:
        texts = calibration() if callable(calibration) else calibration
        made = int8.make(representation, texts, place)
    use_engine(representation.encoder, made)


def engine_saved(folder: Path) -> str:
    """What the model in ``folder`` encoded by when it was saved there: ``torch``, or ``int8`` and which network."""
    return f"int8-{int8.id_in_use(folder)}" if int8.was_in_use(folder) else "torch"


def _as_saved(representation: Any, folder: Path | None) -> None:
    """The engine that a copy of a model, in an index, was saved with; with a warning where it is not installed."""
    if folder is None or not int8.was_in_use(folder):
        return
    try:
        int8.check_extra()
    except MissingExtraError as error:
        warn(
            f"{folder} was saved with the engine int8, and PyTorch encodes now, a little differently: {error}"
        )
        return
    use_engine(representation.encoder, int8.kept(folder, representation))
