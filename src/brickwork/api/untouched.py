"""The pretrained model that a run goes back to, as it was published: what a training has to beat."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brickwork.core.elastic import ElasticAxes
    from brickwork.representation.model import Representation
    from brickwork.training.run import RunConfig


def untouched(run: "RunConfig", axes: "ElasticAxes") -> "Representation | None":
    """The pretrained model of ``run``, with its own token limit and prompts, to be cut to the sizes of ``axes`` that it has.
    Without one, the run that it starts from; ``None`` for fresh weights.

    Raises:
        ArtifactError: it is not there any more.
    """
    from brickwork.core.elastic import ElasticAxes
    from brickwork.encoders.build import find_backbone
    from brickwork.representation.load import load_representation
    from brickwork.representation.model import Representation

    encoder: Any = getattr(run.model, "encoder", None)
    name = getattr(encoder, "backbone", None)
    published = find_backbone(name, encoder.revision) if isinstance(name, str) else None
    folder: Any = published or run.start or None
    if folder is None:
        return None
    start = load_representation(folder)
    full = start.axes
    sizes = ElasticAxes(
        dims=tuple(sorted({full.full_dim, *(dim for dim in axes.dims if dim < full.full_dim)})),
        layers=tuple(sorted({full.num_layers, *(depth for depth in axes.layers if depth < full.num_layers)})),
    )
    return Representation(start.encoder, sizes, prompts=start.prompts)
