"""The pretrained model that a run goes back to, as it was published: what a training has to beat."""

from typing import TYPE_CHECKING, Any

from brickwork.encoders.config import FRESH

if TYPE_CHECKING:
    from brickwork.core.elastic import ElasticAxes
    from brickwork.representation.model import Representation
    from brickwork.training.run import RunConfig

_TOKENS = 512  # of a text for a language model, which sets no limit of use here


def untouched(run: "RunConfig", axes: "ElasticAxes") -> "Representation | None":
    """The pretrained model of ``run``, with its own token limit and prompts, to be cut to the sizes of ``axes`` that it has.
    Without one, the run that it starts from; ``None`` for fresh weights.

    Raises:
        ArtifactError: it is not there any more.
    """
    return _published(start_of(run), axes)


def untouched_by_card(representation: "Representation") -> "Representation | None":
    """The same of a model without its run, as an index has it: by what its card says of its start.

    Raises:
        ArtifactError: it is not there any more.
    """
    start = representation.card.get("start")
    return _published(start if isinstance(start, dict) else {}, representation.axes)


def start_of(run: "RunConfig") -> dict[str, Any]:
    """What a card says of the pretrained model of a run, or without one of the run that it starts from: ``name``, and of
    models of a hub their ``revision``."""
    encoder: Any = getattr(run.model, "encoder", None)
    name = getattr(encoder, "backbone", None)
    if isinstance(name, str) and name not in FRESH:
        return {"name": name, "revision": encoder.revision}
    return {"name": run.start, "revision": None} if run.start else {}


def _published(start: dict[str, Any], axes: "ElasticAxes") -> "Representation | None":
    from brickwork.core.elastic import ElasticAxes
    from brickwork.encoders.build import find_backbone, load_published_encoder
    from brickwork.encoders.packaged import is_gguf
    from brickwork.representation.load import load_representation
    from brickwork.representation.model import Representation

    name = start.get("name")
    folder = find_backbone(name, start.get("revision")) if isinstance(name, str) else None
    if folder is None:
        return None
    if is_gguf(str(name)):  # a language model in one file, whose last token is pooled
        encoder = load_published_encoder(str(name), None, _TOKENS)
        own = ElasticAxes(dims=(encoder.embedding_dim,), layers=(encoder.num_layers,))
        model = Representation(encoder, own)
    else:
        model = load_representation(folder)
    full = model.axes
    sizes = ElasticAxes(
        dims=tuple(sorted({full.full_dim, *(dim for dim in axes.dims if dim < full.full_dim)})),
        layers=tuple(sorted({full.num_layers, *(depth for depth in axes.layers if depth < full.num_layers)})),
    )
    return Representation(model.encoder, sizes, prompts=model.prompts)
