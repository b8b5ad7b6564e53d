"""The options of cmim, and which of them do not go together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from brickwork.core.config import above, idle
from brickwork.core.errors import ConfigError
from brickwork.encoders.config import FRESH, ImageEncoderConfig, TextEncoderConfig
from brickwork.modules.sequence_decoder import SequenceDecoderConfig
from brickwork.systems.cmim.image_decoder import ImageDecoderConfig
from brickwork.systems.cmim.objective import parse_objective

_CONTRASTIVE = {"self", "info_nce", "info_nce_views"}


@dataclass(frozen=True, kw_only=True)
class Config:
    """``objective``: a sum of ``ae``, ``vae``, ``mim``, ``cmim`` and the terms ``nll``, ``log_q``, ``log_prior``, ``self``,
    ``info_nce``, ``info_nce_views`` (see ``objective.py``), such as ``mim + 2*self``. ``encoder``, ``decoder``:
    for images (``ImageEncoderConfig`` and ``ImageDecoderConfig``) or for molecules (``TextEncoderConfig`` from scratch and
    ``SequenceDecoderConfig``). A code has ``encoder.embedding_dim`` dimensions, of molecules ``encoder.projection``
    (None: 64); the encoder gives twice as many. ``temperature``: τ of ``self``, ``info_nce`` and ``info_nce_views``, None =
    0.1. ``reduction``: the nll of an example is the ``sum`` over its pixels or tokens, or their ``mean``.
    ``log_sigma_floor``: lower bound of log σ.
    """

    objective: str = "cmim"
    encoder: ImageEncoderConfig | TextEncoderConfig = field(default_factory=ImageEncoderConfig)
    decoder: ImageDecoderConfig | SequenceDecoderConfig = field(default_factory=ImageDecoderConfig)
    temperature: Annotated[float, above(0)] | None = None
    reduction: Literal["sum", "mean"] = "sum"
    log_sigma_floor: float = -6.0

    def validate(self) -> list[str]:
        errors = []
        weights: dict[str, float] = {}
        try:
            weights = parse_objective(self.objective)
        except ConfigError as error:
            errors.append(str(error))
        if weights and not weights.keys() & _CONTRASTIVE:
            errors += idle(self, ["temperature"], f"an objective without one of {sorted(_CONTRASTIVE)}")
        images = isinstance(self.encoder, ImageEncoderConfig)
        if images != isinstance(self.decoder, ImageDecoderConfig):
            errors.append("encoder and decoder are not both for images or both for molecules; change one")
        if isinstance(self.encoder, TextEncoderConfig):
            errors += _problems_of_molecules(self.encoder, weights)
        return errors


def _problems_of_molecules(encoder: TextEncoderConfig, weights: Mapping[str, float]) -> list[str]:
    errors = []
    if "info_nce_views" in weights:
        errors.append("info_nce_views shifts images; molecules have no such view: use info_nce")
    if encoder.backbone not in FRESH:
        errors.append(
            f"encoder.backbone is {encoder.backbone!r}; SMILES have their own tokens: use scratch or static"
        )
    if encoder.vocab_size is not None:
        errors.append("encoder.vocab_size has no effect: the tokens are those of the notation; leave it out")
    return errors
