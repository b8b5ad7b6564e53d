"""Pretrained encoders of images, as transformers builds them, behind the contract of our own.

ViT, DINOv2, DINOv3, the image towers of CLIP and SigLIP: blocks of one width, each of which is an exit. An exit is what
the model would give if its blocks ended there: its final norm and pooling are applied to it. ConvNeXt, ResNet and Swin are
stages that grow wider, so vectors have one exit, at the end; what their stages give is in :meth:`HubImageEncoder.features`.

Shape legend: B images, N patches (h × w of them), W width of the hidden states, D width of the vectors.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.core.flops import count_flops
from brickwork.core.framing import Framing
from brickwork.encoders.feature_cache import FeatureCache, keys_of
from brickwork.encoders.features import Features
from brickwork.encoders.hub_weights import refused
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.partial import quiet_transformers, run_first
from brickwork.encoders.preprocessing import Preprocessing


@dataclass(frozen=True)
class _Tower:
    """Where the parts of a type of model are. ``layers``: its blocks, or its stages where ``staged``; ``norm``: the last
    one; ``plain``: tokens are given without it, as in transformers; ``options``: what is not built."""

    layers: str
    norm: str
    staged: bool = False
    plain: bool = False
    options: tuple[str, ...] = ()


TOWERS = {
    "vit": _Tower("layers", "layernorm", options=("add_pooling_layer",)),
    "dinov2": _Tower("encoder.layer", "layernorm"),
    "dinov2_with_registers": _Tower("encoder.layer", "layernorm"),
    "dinov3_vit": _Tower("model.layer", "norm"),
    "clip_vision_model": _Tower("encoder.layers", "post_layernorm", plain=True),
    "siglip_vision_model": _Tower("encoder.layers", "post_layernorm"),
    "convnext": _Tower("encoder.stages", "layernorm", staged=True),
    "convnextv2": _Tower("encoder.stages", "layernorm", staged=True),
    "dinov3_convnext": _Tower("model.stages", "layer_norm", staged=True),
    "resnet": _Tower("encoder.stages", "", staged=True),
    "swin": _Tower("encoder.layers", "layernorm", staged=True),
}
"""Types of models (``model_type`` of their config.json) that can be loaded."""
_DERIVED = (
    *("_name_or_path", "architectures", "transformers_version"),
    *("out_features", "out_indices", "stage_names"),
)
# Their weights are for images of one size.
_FIXED = ("vit", "clip_vision_model", "siglip_vision_model")


class HubImageEncoder(ImageEncoder):
    """A pretrained model of images with its own preprocessing. ``config``: the model's configuration as plain values,
    ``projection``: a matrix without bias to vectors of so many dimensions. Weights are fresh;
    :func:`brickwork.encoders.build_images.load_image_folder` gives it those of a folder.

    Images of exactly ``image_shape`` are taken as prepared by :attr:`framing`; all others are scaled and cut by it.

    Raises:
        ArtifactError: a type of model that is not known, or images of another size than the weights are for.
    """

    def __init__(
        self, *, config: dict[str, Any], preprocessing: Preprocessing, projection: int | None = None
    ):
        nn.Module.__init__(self)
        self._adopt(_fresh(config), preprocessing)
        if projection is not None:
            self.projection = nn.Linear(self.width, projection, bias=False)

    projection: nn.Linear | None
    frozen = False
    """Whether its pretrained weights stay as they are (representation/adapting.py)."""
    adapters: Any = None

    @classmethod
    def of(
        cls, model: nn.Module, preprocessing: Preprocessing, projection: nn.Linear | None = None
    ) -> "HubImageEncoder":
        """The encoder of a model of transformers, with its weights. Raises as the class."""
        encoder = cls.__new__(cls)
        nn.Module.__init__(encoder)
        encoder._adopt(model, preprocessing)
        encoder.projection = projection
        return encoder

    def _adopt(self, model: nn.Module, preprocessing: Preprocessing) -> None:
        config: Any = model.config
        self._tower = _known(config.model_type)
        self.arguments = {"config": plain_config(config)}
        self.preprocessing = preprocessing
        self.model = model
        self.projection = None
        self.cache = FeatureCache()
        stack: Any = model.get_submodule(self._tower.layers)
        self.num_stages = len(stack)
        self.num_layers = 1 if self._tower.staged else len(stack)
        self.width: int = config.hidden_sizes[-1] if hasattr(config, "hidden_sizes") else config.hidden_size
        wanted, given = getattr(config, "image_size", None), self.image_shape
        if config.model_type in _FIXED and isinstance(wanted, int) and given[:2] != (wanted, wanted):
            raise ArtifactError(
                f"the preprocessing makes images of {given[0]} × {given[1]} pixels, and the weights of this "
                f"'{config.model_type}' are for {wanted} × {wanted}; use the preprocessor_config.json that belongs to them"
            )
        self.train(self.training)

    @property
    def framing(self) -> Framing:
        """How images of any size become those that the model takes."""
        return self.preprocessing.framing

    @property
    def image_shape(self) -> tuple[int, int, int]:  # type: ignore[override]
        """Height, width and channels of the images that the model takes."""
        return self.framing.shape

    @property
    def embedding_dim(self) -> int:
        """D."""
        return self.width if self.projection is None else self.projection.out_features

    @property
    def token_width(self) -> int:
        """Dimensions of a patch token of :meth:`features`."""
        return self.width

    def train(self, mode: bool = True) -> "HubImageEncoder":
        """As always, but for a model that is ``frozen``, which stays in evaluation mode, and for batch norms, which keep the
        statistics that they were trained with: an image's vector never depends on what else is in the batch."""
        super().train(mode)
        if self.frozen:
            self.model.eval()
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def project_to(self, dim: int) -> None:
        """Ends in vectors of ``dim`` dimensions, through a fresh matrix where the model's own are of another width."""
        if dim != self.embedding_dim:
            self.projection = nn.Linear(self.width, dim, bias=False)

    def prepare(self, images: np.ndarray) -> Float[Tensor, "n c h w"]:
        """Images (N, H, W, C) of 0 … 255, of any one size, as the model's own preprocessing makes numbers of them.

        Raises:
            DataError: not uint8 images of one or three channels.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
            raise DataError(
                f"images are {images.dtype} of shape {images.shape}; this model takes uint8 of shape (number, height, "
                "width, 3), or 1 in place of 3 for grey ones"
            )
        return self.preprocessing.normalised(self.framing.of_arrays(images))

    def forward(self, images: Float[Tensor, "n c h w"], layers: Sequence[int] = ()) -> dict[int, Tensor]:
        """Layer → vectors (B, D) of prepared images, in float32 or better, not normalised; none: after the last layer.
        Deeper layers do not run.

        Raises:
            ConfigError: a layer that this encoder does not have.
        """
        layers = layers or (self.num_layers,)
        first = 1 if self._tower.staged else 0
        if wrong := [layer for layer in layers if not first <= layer <= self.num_layers]:
            raise ConfigError(f"layers {wrong}: this image encoder has layers {first} … {self.num_layers}")
        if self.frozen and self.training:

            def compute(layer: int, places: list[int]) -> Tensor:
                return self._vectors(images[places], (layer,))[layer]

            return {
                layer: self._project(
                    self.cache.rows(keys_of(list(images), layer), partial(compute, layer), images)
                )
                for layer in layers
            }
        return {layer: self._project(vector) for layer, vector in self._vectors(images, layers).items()}

    def _vectors(self, images: Tensor, layers: Sequence[int]) -> dict[int, Float[Tensor, "batch width"]]:
        """Layer → pooled vectors, before the last matrix."""
        hidden, output = self._run(images, self.num_stages if self._tower.staged else max(layers))
        if self._tower.staged:
            return {1: _pooled(output)}
        return {layer: self._vector(hidden[layer]) for layer in layers}

    def features(self, images: Float[Tensor, "n c h w"], upto: int | None = None) -> Features:
        """Vector, patch tokens and hidden states of prepared images, after ``upto`` blocks or stages (none: all); later
        ones do not run. The vector of a model in stages that is cut short is the mean of its tokens, not projected.

        Raises:
            ConfigError: more blocks or stages than there are.
        """
        upto = self.num_stages if upto is None else upto
        first = 1 if self._tower.staged else 0
        if not first <= upto <= self.num_stages:
            raise ConfigError(f"upto={upto}: this image encoder has {first} … {self.num_stages}")
        hidden, output = self._run(images, upto)
        if not self._tower.staged:
            skip = self._specials(hidden[0].shape[1])
            tokens = hidden[-1] if self._tower.plain else self._norm(hidden[-1])
            vector = self._project(self._vector(hidden[-1]))
            return Features(vector, tokens[:, skip:], self._grid(0), tuple(h[:, skip:] for h in hidden))
        flat = tuple(_flat(h) for h in hidden)
        if upto < self.num_stages:
            return Features(flat[-1].mean(1), flat[-1], self._grid(upto, hidden[-1]), flat)
        last = _flat(output.last_hidden_state)
        tokens = last[:, last.shape[1] - flat[-1].shape[1] :]  # DINOv3's ConvNeXt puts its vector before them
        return Features(self._project(_pooled(output)), tokens, self._grid(upto, hidden[-1]), flat)

    def flops(self, num_images: int = 1) -> int:
        """Floating-point operations of matrix products, convolutions and attention, counted in one pass."""
        height, width, channels = self.image_shape
        weight = next(self.model.parameters())
        return num_images * count_flops(lambda: self(weight.new_zeros(1, channels, height, width)))

    def architecture(self) -> dict[str, Any]:
        """JSON values from which :meth:`from_architecture` rebuilds this encoder, without its weights."""
        return {
            "kind": self.kind,
            "body": "hub",
            "arguments": dict(self.arguments),
            "preprocessing": self.preprocessing.to_dict(),
            **({} if self.projection is None else {"projection": self.projection.out_features}),
        }

    @classmethod
    def from_architecture(cls, architecture: Mapping[str, Any]) -> "HubImageEncoder":
        """The encoder that ``architecture`` describes, with fresh weights.

        Raises:
            ArtifactError: the description does not fit this version.
        """
        try:
            preprocessing = Preprocessing.from_dict(architecture["preprocessing"])
            config = dict(architecture["arguments"]["config"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"the description of the encoder is damaged: {error!r}") from error
        return cls(config=config, preprocessing=preprocessing, projection=architecture.get("projection"))

    def _run(self, images: Tensor, upto: int) -> tuple[list[Tensor], Any]:
        """The hidden states before and after each of the first ``upto`` blocks (of stages: after each), and the output of
        the model that ends there; without its final norm where this is of another width."""
        without = self._tower.norm if self._tower.staged and upto < self.num_stages else ""
        hidden, output = run_first(self.model, self._tower.layers, upto, self._typed(images), without=without)
        return hidden[1:] if self._tower.staged else hidden, output

    def _typed(self, images: Tensor) -> Tensor:
        # A copy that is packed for inference keeps the weights of its linear layers elsewhere; a convolution is left.
        return images.to(next(self.model.parameters()).dtype)

    def _norm(self, hidden: Tensor) -> Tensor:
        return self.model.get_submodule(self._tower.norm)(hidden)

    def _vector(self, hidden: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch width"]:
        """The pooled vector of hidden states: SigLIP's attention pooling, else the normalised first token."""
        head = getattr(self.model, "head", None)
        if head is not None:
            return head(self._norm(hidden))
        return self._norm(hidden[:, 0])

    def _project(self, pooled: Float[Tensor, "batch width"]) -> Float[Tensor, "batch dim"]:
        vectors = pooled
        if self.projection is not None:
            vectors = self.projection(pooled.to(self.projection.weight.dtype))
        return vectors.to(torch.promote_types(vectors.dtype, torch.float32))

    def _specials(self, tokens: int) -> int:
        """The tokens that come before the patches."""
        height, width = self._grid(0)
        return tokens - height * width

    def _grid(self, stages: int, hidden: Tensor | None = None) -> tuple[int, int]:
        """Rows and columns of patches, after some stages of a model that has them."""
        if hidden is not None and hidden.ndim == 4:
            return hidden.shape[2], hidden.shape[3]
        config: Any = self.model.config
        height, width = (-(-side // config.patch_size) for side in self.image_shape[:2])
        if not self._tower.staged:
            return self.image_shape[0] // config.patch_size, self.image_shape[1] // config.patch_size
        for _ in range(min(stages, self.num_stages - 1)):  # Swin: each stage but the last joins patches
            height, width = (height + 1) // 2, (width + 1) // 2
        return height, width


def _fresh(config: dict[str, Any]) -> nn.Module:
    """A model with fresh weights."""
    from transformers import AutoConfig, AutoModel

    tower = _known(config.get("model_type"))
    values = {k: v for k, v in config.items() if k not in ("auto_map", "architectures", "model_type")}
    with refused("no model can be built from its description"), quiet_transformers():
        parsed = AutoConfig.for_model(config["model_type"], **values)
        options = dict.fromkeys(tower.options, False)
        return AutoModel.from_config(parsed, trust_remote_code=False, **options)


def plain_config(config: Any) -> dict[str, Any]:
    """A configuration of transformers as plain values, without where it was read and what follows from the rest."""
    values = json.loads(config.to_json_string(use_diff=False))
    return {name: value for name, value in values.items() if name not in _DERIVED}


def _known(model_type: Any) -> _Tower:
    if model_type not in TOWERS:
        raise ArtifactError(
            f"models of type '{model_type}' are no image encoders that can be loaded; known: {', '.join(TOWERS)}"
        )
    return TOWERS[model_type]


def _flat(hidden: Tensor) -> Float[Tensor, "batch patches width"]:
    """(B, W, h, w) as (B, h·w, W); what is in that order is left as it is."""
    return hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden


def _pooled(output: Any) -> Float[Tensor, "batch width"]:
    return output.pooler_output.flatten(1)


def image_encoder_from(architecture: Mapping[str, Any]) -> ImageEncoder:
    """The encoder of images that an ``architecture()`` describes, ours or a pretrained one, with fresh weights.

    Raises:
        ArtifactError: the description does not fit this version.
    """
    cls = HubImageEncoder if architecture.get("body") == "hub" else ImageEncoder
    return cls.from_architecture(architecture)
