"""A model of transformers with the weights of a folder: safetensors only, and all of them in their places."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from brickwork.core.errors import ArtifactError, BrickworkError
from brickwork.core.files import check_tensor_file, read_json
from brickwork.encoders.partial import quiet_transformers

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"


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
        ArtifactError: no safetensors, a description that nothing can be built from, or weights that do not fit (with their
            names).
    """
    check_weights(folder)
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
    """Refuses a folder whose weights are not all in safetensors, by what transformers would open, and damaged files.

    Raises:
        ArtifactError: says which file is missing, unsafe or damaged, and what is there in its place.
    """
    _check_no_other_file(folder)
    if (folder / WEIGHTS).is_file():
        check_tensor_file(folder / WEIGHTS)
        return
    if (folder / INDEX).is_file():
        for name in _parts(folder / INDEX):
            check_tensor_file(folder / name)
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


def _check_no_other_file(folder: Path) -> None:
    """Refuses a config.json that names a file of weights: transformers opens it whatever its kind, a pickle too."""
    path = folder / "config.json"
    description = read_json(path) if path.is_file() else {}
    name = description.get("transformers_weights") if isinstance(description, dict) else None
    if name not in (None, WEIGHTS, INDEX):
        raise ArtifactError(
            f"{path} names {name!r} as its weights (transformers_weights), and only {WEIGHTS} or {INDEX} are read; take "
            "another revision, or load it once with transformers and save it again"
        )


def _parts(index: Path) -> list[str]:
    """The files that an index names; transformers opens each by its ending, and unpickles what is not safetensors."""
    values = read_json(index)
    places = values.get("weight_map") if isinstance(values, dict) else None
    if not isinstance(places, dict) or not places:
        raise ArtifactError(f"{index} names no files of weights (weight_map); use a good copy")
    names = sorted({str(name) for name in places.values()})
    if wrong := [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]:
        raise ArtifactError(
            f"{index} was refused: it names {few(wrong)}, and only safetensors in the same folder are read; take a "
            "revision of the model that has them"
        )
    return names


def few(names: Iterable[Any]) -> str:
    """The first of some names, and how many more there are."""
    shown = sorted(map(str, names))
    return f"{shown}" if len(shown) <= 4 else f"{shown[:4]} and {len(shown) - 4} more"
