"""A language model as a folder that transformers loads: weights, tokenizer with its settings, and a card."""

import json
from pathlib import Path
from typing import Any

from brickwork.core.files import atomic_folder, refuse_filled, write_json, write_text
from brickwork.encoders.causal_lm import HubCausalLM
from brickwork.encoders.partial import quiet_transformers
from brickwork.representation.card import front_matter

_CARD = """---
{front_matter}
---
# A language model {what}

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("this folder")
tokenizer = AutoTokenizer.from_pretrained("this folder")
```

The base was {base}. What this does to texts of other kinds was not measured here: `brickwork predict` and
`brickwork inspect` of the run show it.
"""


def write_merged(lm: HubCausalLM, folder: Path | str, what: str, base: str) -> Path:
    """Writes ``lm`` as it is now. ``what`` was done to it, and what its ``base`` is called, for the card.

    Raises:
        ConfigError: ``folder`` is not empty.
        ResourceError: disk full, read-only folder.
    """
    folder = Path(folder)
    refuse_filled(folder)
    with atomic_folder(folder) as place:
        with quiet_transformers():
            lm.model.save_pretrained(place)  # type: ignore[operator]
        write_text(place / "tokenizer.json", lm.tokenizer.to_str())
        write_json(place / "tokenizer_config.json", _tokenizer_settings(lm))
        about = front_matter(library_name="transformers", pipeline_tag="text-generation")
        write_text(place / "README.md", _CARD.format(front_matter=about, what=what, base=base))
    return folder


def _tokenizer_settings(lm: HubCausalLM) -> dict[str, Any]:
    """With them transformers takes ``tokenizer.json`` as it is; without, it builds one as models of this type have it."""
    config: Any = lm.model.config
    ids = {role: getattr(config, f"{role}_token_id", None) for role in ("bos", "eos", "pad")}
    firsts = {role: ids[0] if isinstance(ids, list) else ids for role, ids in ids.items()}
    tokens = {role: lm.tokenizer.id_to_token(token) for role, token in firsts.items() if token is not None}
    model = json.loads(lm.tokenizer.to_str())["model"]
    unknown = model.get("unk_token")  # of Unigram only its number is there
    if unknown is None and model.get("unk_id") is not None:
        unknown = lm.tokenizer.id_to_token(model["unk_id"])
    tokens["unk"] = unknown
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **({} if lm.max_positions is None else {"model_max_length": lm.max_positions}),
        **{f"{role}_token": token for role, token in tokens.items() if token is not None},
    }
