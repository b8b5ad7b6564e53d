"""Adapters of one rank as a folder that Hugging Face's ``peft`` loads: an ordinary LoRA.

    adapter_config.json         rank, α, the layers, the backbone's name
    adapter_model.safetensors   lora_A (b, d) and lora_B (m, b) of every layer
    README.md                   how to load it

peft scales by lora_alpha / r (or / √r with use_rslora), which is the scale of the adapters at that rank for every
``scaling``, with the right ``lora_alpha``. peft itself is not needed to write it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from brickwork.core.errors import ConfigError
from brickwork.core.files import atomic_folder, refuse_filled, save_tensors, write_json, write_text
from brickwork.modules.adapters import LoraAdapters
from brickwork.modules.low_rank import is_transposed
from brickwork.representation.card import front_matter

_CARD = """---
{front_matter}
---
# LoRA adapter of rank {rank}

Cut from a training for all ranks up to {full}. Load it onto the same backbone:

```python
from peft import PeftModel
{loading}
model = PeftModel.from_pretrained(backbone, "this folder")
```
{more}"""
_TRANSFORMERS = "from transformers import {kind}\n\nbackbone = {kind}.from_pretrained({base!r})"
_CLASSES = {"FEATURE_EXTRACTION": "AutoModel", "CAUSAL_LM": "AutoModelForCausalLM"}
_OTHER = "\nbackbone = ...  # the network that was adapted, as a torch module"


def export_peft(
    adapters: LoraAdapters,
    folder: Path | str,
    rank: int | None = None,
    *,
    base: str | None = None,
    task: Literal["FEATURE_EXTRACTION", "CAUSAL_LM"] = "FEATURE_EXTRACTION",
    head: Mapping[str, Tensor] | None = None,
    about_head: Mapping[str, Any] | None = None,
    inside: str = "",
) -> Path:
    """Writes the adapters, cut to ``rank`` (default: the largest), and returns the folder.

    ``base``: name or folder of the transformers model that they belong to; ``None`` for a network of another kind.
    ``task``: what that model does, under peft's name. ``inside``: the part of it that has the adapters; empty: all of it.
    ``head``: weights of a classifier that was trained with them, for ``head.safetensors``; ``about_head`` beside it as
    ``head.json``.

    Raises:
        ConfigError: ``folder`` is not empty, a rank that the adapters do not have, or linear layers of both layouts in one
            adapter.
        ResourceError: disk full, read-only folder.
    """
    refuse_filled(folder)
    rank = adapters.max_rank if rank is None else rank
    factors = adapters.factors(rank)
    before = f"{inside}." if inside else ""
    tensors = {
        f"base_model.model.{before}{name}.lora_{letter}.weight": factor
        for name, pair in factors.items()
        for letter, factor in zip("AB", _as_weights(pair))
    }
    with atomic_folder(folder) as temporary:
        write_json(temporary / "adapter_config.json", _configuration(adapters, rank, base, task, before))
        save_tensors(temporary / "adapter_model.safetensors", tensors, {"format": "pt"})
        if head is not None:
            save_tensors(temporary / "head.safetensors", head, {"format": "pt"})
            write_json(temporary / "head.json", dict(about_head or {}))
        more = "\n`head.safetensors` is the classifier that reads the backbone's vectors; `head.json` says how.\n"
        card = _CARD.format(
            front_matter=front_matter(library_name="peft", base_model=base),
            rank=rank,
            full=adapters.max_rank,
            loading=_TRANSFORMERS.format(base=base, kind=_CLASSES[task]) if base else _OTHER,
            more=more if head is not None else "",
        )
        write_text(temporary / "README.md", card)
    return Path(folder)


def _as_weights(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """A and B as peft keeps them: for a convolution, B is one of 1 × 1."""
    down, up = pair
    return (down, up) if down.ndim == 2 else (down, up[:, :, None, None])


def _configuration(
    adapters: LoraAdapters, rank: int, base: str | None, task: str, before: str
) -> dict[str, Any]:
    layouts = {is_transposed(layer.base) for layer in adapters.layers.values()}
    if len(layouts) > 1:
        raise ConfigError(
            "peft has one setting for the layout of all weights (fan_in_fan_out), and these adapters are on layers of "
            "both; adapt only one kind with targets"
        )
    alpha = adapters.alpha * (rank / adapters.max_rank if adapters.scaling == "alpha/r" else 1)
    return {
        "peft_type": "LORA",
        "task_type": task if base else None,
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": int(alpha) if float(alpha).is_integer() else alpha,
        "use_rslora": adapters.scaling == "alpha/sqrt(b)",
        "target_modules": sorted(before + name for name in adapters.layers),
        "fan_in_fan_out": layouts == {True},
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
        "init_lora_weights": True,
    }
