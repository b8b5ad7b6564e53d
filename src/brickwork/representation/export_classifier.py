"""A classifier on an encoder as a folder that transformers loads: the encoder under its own names, the classes beside it.

    AutoModel.from_pretrained(folder)                 the encoder
    SentenceTransformer(folder).encode(texts)         of texts: the logits of the classes
    classifier.safetensors                            of images: ``weight`` and ``bias`` on its vectors

``config.json`` names the classes (``id2label``). No code of ours is needed to use it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from brickwork.core.errors import ArtifactError
from brickwork.core.files import atomic_folder, read_json, refuse_filled, save_tensors, write_json, write_text
from brickwork.encoders.dense import Dense, DenseShape
from brickwork.encoders.hub_images import HubImageEncoder
from brickwork.encoders.text import TextEncoder
from brickwork.modules.heads import linear_weights
from brickwork.representation.card import front_matter
from brickwork.representation.export_sentence_transformers import (
    after_pooling,
    write_chain,
    write_dense,
    write_transformer,
)

_CARD = """---
{front_matter}
---
# A classifier of {what} into {count} classes

{classes}

It was trained with Brickwork{base}, and is dense: every part of it is used for every input.

```python
{usage}
```
"""
_TEXTS = """\
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("this folder")
logits = model.encode(["a text"])  # (texts, classes); the names are those of id2label in config.json"""
_IMAGES = """\
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModel

encoder = AutoModel.from_pretrained("this folder")
processor = AutoImageProcessor.from_pretrained("this folder")
classifier = load_file("this folder/classifier.safetensors")  # logits = vector @ weight.T + bias, of the encoder's vector"""
_MOST_NAMED = 50  # classes in the card; config.json has all of them
_PROCESSOR = "CLIPImageProcessor"
"""It scales, cuts and normalises in any way that a preprocessing here does."""


def export_classifier(
    encoder: Any, head: nn.Module, classes: Sequence[str], folder: Path | str, *, base: str = ""
) -> Path:
    """Writes ``encoder`` and what classifies its vectors, with a card. ``base``: the model that the training started from.

    Raises:
        ConfigError: ``folder`` is not empty.
        ArtifactError: the encoder has no equal in transformers.
        ResourceError: disk full, read-only folder.
    """
    folder = Path(folder)
    refuse_filled(folder)
    linear = linear_weights(head, encoder.embedding_dim)
    with atomic_folder(folder) as temporary:
        if isinstance(encoder, TextEncoder):
            _write_texts(encoder, linear, temporary)
        elif isinstance(encoder, HubImageEncoder):
            _write_images(encoder, linear, temporary)
        else:
            raise ArtifactError(
                f"an encoder of kind '{encoder.kind}' of our own has no equal in transformers"
            )
        _name_classes(temporary / "config.json", classes)
        write_text(temporary / "README.md", _card(isinstance(encoder, TextEncoder), classes, base))
    return folder


def _card(texts: bool, classes: Sequence[str], base: str) -> str:
    about = front_matter(
        library_name="sentence-transformers" if texts else "transformers",
        pipeline_tag="text-classification" if texts else "image-classification",
        base_model=base if base.count("/") == 1 and " " not in base and not Path(base).exists() else None,
    )
    more = f" and {len(classes) - _MOST_NAMED} more" if len(classes) > _MOST_NAMED else ""
    named = ", ".join(" ".join(name.split()) for name in classes[:_MOST_NAMED])
    return _CARD.format(
        front_matter=about,
        what="texts" if texts else "images",
        count=len(classes),
        classes=f"{named}{more}.",
        base=f" from {base}" if base else "",
        usage=_TEXTS if texts else _IMAGES,
    )


def _write_texts(encoder: TextEncoder, linear: dict[str, torch.Tensor], folder: Path) -> None:
    maps = after_pooling(encoder, encoder.embedding_dim, encoder.num_layers)
    with torch.device("meta"):
        last = Dense(DenseShape(encoder.embedding_dim, len(linear["weight"]), True, "Identity"))
    last.linear.load_state_dict({name: tensor.detach() for name, tensor in linear.items()}, assign=True)
    chain = write_transformer(encoder, folder, encoder.num_layers)
    chain += [write_dense(folder, number, part) for number, part in enumerate((*maps, last), 2)]
    write_chain(folder, chain)
    settings = {"model_type": "SentenceTransformer", "similarity_fn_name": "cosine"}
    write_json(folder / "config_sentence_transformers.json", {**settings, **encoder.prompts.to_dict()})


def _write_images(encoder: HubImageEncoder, linear: dict[str, torch.Tensor], folder: Path) -> None:
    architecture = [type(encoder.model).__name__]
    write_json(folder / "config.json", {**encoder.arguments["config"], "architectures": architecture})
    save_tensors(folder / "model.safetensors", encoder.model.state_dict(), {"format": "pt"})
    write_json(folder / "preprocessor_config.json", encoder.preprocessing.for_transformers(_PROCESSOR))
    if encoder.projection is not None:  # W·(P·x) + b is (W·P)·x + b
        linear = {**linear, "weight": linear["weight"] @ encoder.projection.weight}
    save_tensors(folder / "classifier.safetensors", {name: t.detach() for name, t in linear.items()})


def _name_classes(path: Path, classes: Sequence[str]) -> None:
    names = dict(enumerate(classes))
    labels = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    write_json(path, {**read_json(path), **labels})
