"""A model of transformers with the weights of a folder: safetensors only, and all of them in their places."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from brickwork.core.errors import ArtifactError, BrickworkError
from brickwork.encoders.partial import quiet_transformers

WEIGHTS = "model.safetensors"


@contextlib.contextmanager
def refused(what: str) -> Iterator[None]:
    """Whatever transformers raises over a damaged folder or description becomes one clear error, which begins with ``what``.

    Its checks of configurations, and safetensors over a damaged file, raise plain subclasses of ``Exception``; a size of
    0 divides by zero somewhere inside of a model.

    Raises:
        ArtifactError: with the reason.
    """
    try:
        yield
    except (BrickworkError, MemoryError):
        raise
    except Exception as error:
        raise ArtifactError(f"{what} ({str(error) or type(error).__name__}); use a good copy") from error


def read_pretrained(
    reader: Any,
    folder: Path,
    *,
    may_lack: Callable[[str], bool] = lambda name: False,
    may_have: Callable[[str], bool] = lambda name: False,
    **options: Any,
) -> Any:
    """What ``reader.from_pretrained`` makes of ``folder``, in float32; code of the folder is never run.

    ``may_lack``: names of parameters that nothing depends on; ``may_have``: of tensors that are not needed.

    Raises:
        ArtifactError: no safetensors, or weights that do not fit (with their names).
    """
    safe = {"use_safetensors": True, "trust_remote_code": False, "local_files_only": True}
    with refused(f"{folder} was refused"), quiet_transformers():
        model, info = reader.from_pretrained(
            str(folder), dtype=torch.float32, output_loading_info=True, **safe, **options
        )
    missing = [name for name in info["missing_keys"] if not may_lack(name)]
    unexpected = [name for name in info["unexpected_keys"] if not may_have(name)]
    misshapen = info.get("mismatched_keys") or []
    if missing or unexpected or misshapen:
        raise ArtifactError(
            f"{folder} was refused: its weights do not fit its config.json; missing {few(missing)}, unexpected "
            f"{few(unexpected)}, wrong shape {few(misshapen)}"
        )
    return model


def check_weights(folder: Path) -> None:
    """Refuses a folder without safetensors.

    Raises:
        ArtifactError: says which file is missing, and what is there in its place.
    """
    if any((folder / name).is_file() for name in (WEIGHTS, f"{WEIGHTS}.index.json")):
        return
    others = sorted(path.name for kind in ("*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.ckpt", "*.gguf")
                    for path in folder.glob(kind))  # fmt: skip
    there = (
        f"{', '.join(others[:3])} would have to be unpickled or converted. Take a revision of the model that has "
        "safetensors, or load it once with transformers and save it again"
        if others
        else "check the path, or take a revision of the model that has it"
    )
    raise ArtifactError(f"{folder / WEIGHTS} is missing, and only safetensors are read; {there}")


def few(names: Iterable[Any]) -> str:
    """The first of some names, and how many more there are."""
    shown = sorted(map(str, names))
    return f"{shown}" if len(shown) <= 4 else f"{shown[:4]} and {len(shown) - 4} more"
