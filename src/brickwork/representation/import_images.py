"""A folder of transformers with a model of images, or of images and texts, as a representation."""

from pathlib import Path

from brickwork.core.elastic import ElasticAxes
from brickwork.encoders.build_images import (
    backbone_kind,
    image_folder,
    load_image_folder,
    load_image_text_folder,
)
from brickwork.representation.model import Representation


def is_image_model(folder: Path) -> bool:
    """Whether ``folder`` holds a pretrained encoder of images, or CLIP or SigLIP.

    Raises:
        ArtifactError: its config.json is damaged.
    """
    return image_folder(folder).joinpath("config.json").is_file() and backbone_kind(folder) != "text"


def import_images(folder: Path) -> Representation:
    """The model in ``folder``, with its own preprocessing; of a dual encoder both towers and the tokenizer. Its one trained
    size is the full one.

    Raises:
        ArtifactError: files are missing, damaged or unsafe.
    """
    dual = backbone_kind(folder) == "image-text"
    encoder = load_image_text_folder(folder) if dual else load_image_folder(folder)
    axes = ElasticAxes(dims=(encoder.embedding_dim,), layers=(encoder.num_layers,))
    return Representation(encoder.eval(), axes, lineage={"source": "transformers"}, card={})
