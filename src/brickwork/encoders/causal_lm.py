"""Pretrained causal language models: a folder, a model of the hub, or a packaged one.

Llama, Qwen, Gemma, GPT-2, Phi, OLMo and all others of transformers whose layers attend to what stands before.
"""

from pathlib import Path

from brickwork.core.config import nearest
from brickwork.core.errors import ArtifactError
from brickwork.core.types import CausalLM
from brickwork.encoders.build import find_backbone
from brickwork.encoders.folder_tokenizer import folder_tokenizer, read_object
from brickwork.encoders.gguf_file import read_gguf
from brickwork.encoders.hub_causal import HubCausalLM
from brickwork.encoders.hub_weights import check_weights, read_pretrained
from brickwork.encoders.packaged import is_gguf, packaged

__all__ = ["CausalLM", "HubCausalLM", "load_causal_lm"]


def load_causal_lm(name: str | Path, revision: str | None = None) -> HubCausalLM:
    """A language model by ``name``: ``smollm2-135m`` (packaged), a folder of transformers, or a hub id at ``revision``.

    Raises:
        ArtifactError: it is missing, damaged, unsafe, or no causal language model.
        ConfigError: a revision of what has none.
    """
    folder = find_backbone(str(name), revision)
    if is_gguf(name):
        model, tokenizer, _ = read_gguf(packaged(str(name)))
        return HubCausalLM.of(model, tokenizer)
    if folder is None or name == "minilm":
        raise ArtifactError(
            f"'{name}' is no language model that was trained; use smollm2-135m, a folder or a hub id"
        )
    return _from_folder(folder)


def _from_folder(folder: Path) -> HubCausalLM:
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM

    kind = str(read_object(folder / "config.json").get("model_type"))
    if kind not in CONFIG_MAPPING:
        raise ArtifactError(
            f"{folder}: model type '{kind}' is not known to the installed transformers "
            f"({nearest(kind, CONFIG_MAPPING)}), and code from model folders is never run"
        )
    if CONFIG_MAPPING[kind] not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ArtifactError(
            f"{folder} holds a '{kind}', which is no causal language model; choose another model"
        )
    check_weights(folder)
    tokenizer, _ = folder_tokenizer(folder, as_it_is=False, lower_case=False)
    model = read_pretrained(AutoModelForCausalLM, folder, may_have=lambda name: name.endswith(".inv_freq"))
    return HubCausalLM.of(model, tokenizer)
