"""What the house derives of a system, so that its ``system.py`` holds the paper and little else.

A system's module has ``Config`` and ``System``. ``System(config, encoder, seed=…, **facts)`` is a plain module (without
an ``encoder`` where its configuration has none); what
follows from its ``encoder``, ``config``, ``axes`` and ``loss_from`` is added by one of two decorators, unless the class
has a method of that name itself:

    @complete   collate, loss, architecture
    @encodes    the same, and encode and representation: its encoder's vectors are for users

:func:`build_system` and :func:`restore_system` make systems, fresh or as they were described, and note on each what it
is: ``slug``, ``facts`` and ``lineage``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import nn

from brickwork.core import registry
from brickwork.core.config import from_dict, to_dict
from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ConfigError, DataError
from brickwork.core.seeding import seed_everything
from brickwork.core.types import Batch, LossOutput
from brickwork.data.types import TaskData
from brickwork.encoders.build import build_text_encoder
from brickwork.encoders.build_images import build_image_encoder
from brickwork.encoders.config import (
    ImageEncoderConfig,
    PretrainedImageConfig,
    TextEncoderConfig,
    modality_of,
)
from brickwork.encoders.image import ImageEncoder
from brickwork.representation.adapting import adapt_system
from brickwork.representation.model import Representation
from brickwork.representation.rebuilt import rebuilt_encoder

S = TypeVar("S", bound=type[nn.Module])

# Kind of data, or modality -> what to bring, for whoever has brought something else.
_READS = {
    "pairs": "pairs of texts (columns anchor and positive, or plain documents)",
    "triplets": "triplets of texts (columns anchor, positive and negative)",
    "scored": "scored pairs of texts (columns anchor, positive and score)",
    "labelled": "inputs with labels (columns input and label, or a folder of images for each class)",
    "texts": "plain texts",
    "inputs": "inputs without labels",
    "multitask": "tables with columns to predict",
    "image-text": "images with texts: a folder of images with captions.csv or a .txt beside each, or a table with a "
    "column of images and one of texts",
    "image": "images: a known set, arrays (.npy, .npz) or a folder",
}


def complete(cls: S) -> S:
    """Class decorator: the methods of a system that follow from its parts, where it has none of its own."""
    return _with(cls, collate, architecture, *([loss] if hasattr(cls, "loss_from") else []))


def encodes(cls: S) -> S:
    """Class decorator: :func:`complete`, for a system whose encoder's vectors are what users take from it."""
    return _with(complete(cls), encode, representation)


def _with(cls: S, *functions: Any) -> S:
    if not hasattr(cls, "slug") and ".systems." in cls.__module__:
        cls.slug = registry.slug_of(cls)  # type: ignore[attr-defined]
    for function in functions:
        if not hasattr(cls, function.__name__):
            setattr(cls, function.__name__, function)
    return cls


def collate(self: Any, columns: Mapping[str, Any]) -> Batch:
    """Columns of examples as a batch for training, as the encoder prepares them: texts cut to ``train_tokens``."""
    limit = train_tokens(self.config)
    return self.encoder.collate(columns) if limit is None else self.encoder.collate(columns, limit)


def train_tokens(config: Any) -> int | None:
    """Where texts are cut in training, if the configuration of a text encoder in it says so."""
    encoders = (getattr(config, name, None) for name in ("encoder", "text"))
    return next((limit for encoder in encoders if (limit := getattr(encoder, "train_tokens", None))), None)


def loss(self: Any, batch: Batch) -> LossOutput:
    """The loss of a batch."""
    return self.loss_from(self.embed(batch), batch)


def architecture(self: Any) -> dict[str, Any]:
    """JSON values from which :func:`restore_system` rebuilds this system, without its weights."""
    encoder = {"encoder": self.encoder.architecture()} if hasattr(self, "encoder") else {}
    return {"config": to_dict(self.config), **encoder, "facts": self.facts}


def encode(self: Any, inputs: Any, dim: int | None = None, layers: int | None = None, **options: Any) -> Any:
    """Vectors of inputs: :meth:`brickwork.representation.model.Representation.encode`."""
    return self.representation().encode(inputs, dim=dim, layers=layers, **options)


def representation(self: Any) -> Representation:
    """The encoder, with its prompts, and the sizes that it may be cut to; all else stays with the system."""
    axes = getattr(self, "axes", None) or ElasticAxes(
        dims=(self.encoder.embedding_dim,), layers=(self.encoder.num_layers,)
    )
    lineage = {"system": self.slug, **getattr(self, "lineage", {})}
    prompts = getattr(self.encoder, "prompts", None)
    return Representation(self.encoder, axes, lineage, getattr(self, "card", {}), prompts)


def build_system(slug: str, config: Any, data: TaskData, seed: int, assets: Path | None = None) -> Any:
    """The untrained system for ``data``: a function of its arguments alone.

    Its class has ``reads``, kinds or modalities of data, and may have, as static methods, ``facts(config, data)`` (what
    else its ``__init__`` takes, as JSON values), ``variant(config)`` (a subclass to take), ``build_encoder(config, data,
    assets)`` in place of :func:`build_encoder`, or ``build(config, data, assets, seed)`` in place of all this.
    ``assets``: a folder whose tokenizer is used instead of training one.

    Raises:
        DataError: the data is of a kind or modality that the system cannot use.
        ConfigError: an option that has no effect with this data, or that does not fit the encoder; a fact that is no JSON
            value.
    """
    module = registry.load(slug, "system")
    seed_everything(seed)
    cls = _class(module, config)
    check_data(slug, cls.reads, data)
    if hasattr(cls, "build"):
        return _adapted(_noted(cls.build(config, data, assets, seed), slug), config)
    facts = facts_of(slug, cls, config, data)
    make = getattr(cls, "build_encoder", build_encoder if hasattr(config, "encoder") else None)
    encoder = [] if make is None else [make(config, data, assets)]
    return _adapted(_noted(cls(config, *encoder, seed=seed, **facts), slug, facts), config)


def _adapted(system: Any, config: Any) -> Any:
    adapt_system(system, config)
    return system


def facts_of(slug: str, cls: Any, config: Any, data: TaskData) -> dict[str, Any]:
    """What a system's ``__init__`` takes besides configuration and encoder: its class's ``facts``, as JSON values.

    Raises:
        ConfigError: a fact that is no JSON value, or an option that does not fit the data.
        DataError: data that the system cannot use.
    """
    return _restored(slug, cls.facts(config, data)) if hasattr(cls, "facts") else {}


def _restored(slug: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts as a restored system is given them: once through JSON."""
    results = {}
    for name, value in facts.items():
        try:
            results[name] = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{slug}: facts() gives {name} as {value!r}, which JSON does not have ({error}); give plain numbers, "
                "texts, lists and dictionaries, as int(value) or array.tolist()"
            ) from error
    return results


def restore_system(slug: str, architecture: Mapping[str, Any], tokenizer_json: str | None) -> Any:
    """The system that its ``architecture()`` described, with fresh weights.

    Its class may have ``restore(architecture, tokenizer_json)`` in place of this.

    Raises:
        ArtifactError, ConfigError, KeyError, TypeError: the description does not fit this version.
    """
    module = registry.load(slug, "system")
    if hasattr(module.System, "restore"):
        return _noted(module.System.restore(architecture, tokenizer_json), slug)
    config = from_dict(module.Config, architecture["config"])
    cls = _class(module, config)
    described = architecture.get("encoder")
    encoder = [] if described is None else [rebuilt_encoder(described, tokenizer_json)]
    facts = dict(architecture["facts"])
    return _noted(cls(config, *encoder, seed=0, **facts), slug, facts)


def _class(module: Any, config: Any) -> Any:
    """``System``, or the subclass of it that its ``variant(config)`` chooses."""
    return module.System.variant(config) if hasattr(module.System, "variant") else module.System


def _noted(system: Any, slug: str, facts: dict[str, Any] | None = None) -> Any:
    system.slug = slug
    if facts is not None or not isinstance(getattr(system, "facts", None), dict):
        system.facts = facts or {}
    return system


def check_data(slug: str, reads: tuple[str, ...], data: TaskData) -> None:
    """Refuses data that the system does not read.

    Raises:
        DataError: says what the data is, and what to bring.
    """
    if data.kind not in reads and data.modality not in reads:
        needs = "; or ".join(_READS.get(name, name) for name in reads)
        others = [other for other in registry.slugs() if {data.kind, data.modality} & _reads(other)]
        instead = f"a system that learns from this: {', '.join(others)}" if others else "another system"
        raise DataError(
            f"{data.name} is {data.kind} ({data.modality}), which {slug} does not learn from: it needs {needs}. Bring "
            f"such data, or take {instead}"
        )


def _reads(slug: str) -> set[str]:
    return set(getattr(getattr(registry.load(slug, "system"), "System", None), "reads", ()))


def build_encoder(config: Any, data: TaskData, assets: Path | None = None) -> Any:
    """The encoder of ``config.encoder`` with fresh or pretrained weights, for the inputs of ``data``.

    Raises:
        DataError: it is for inputs of another modality.
    """
    described = config.encoder
    kind = modality_of(described)
    if data.modality != kind:
        known = data.modality in ("text", "image")
        recipe = f"take a recipe for {data.modality}s (`brickwork info SLUG` lists them: --recipe NAME), or other data"
        instead = recipe if known else "take other data"
        raise DataError(f"{data.name} holds {data.modality}s, and model.encoder is for {kind}s; {instead}")
    if isinstance(described, PretrainedImageConfig):
        return build_image_encoder(described)
    if isinstance(described, TextEncoderConfig):
        return build_text_encoder(described, data.texts(), assets)
    assert isinstance(described, ImageEncoderConfig), "the only other kind"
    return ImageEncoder(described, image_shape(data))


def image_shape(data: TaskData, column: str = "input") -> tuple[int, int, int]:
    """Height, width and channels of the images of ``data``."""
    height, width, channels = np.asarray(data.train.columns[column]).shape[1:]
    return height, width, channels
