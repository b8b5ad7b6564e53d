"""The networks that are cut into slots: teacher, meta network and student, each a vision transformer with its classifier.

Shape legend: B images, C classes, N tokens, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.errors import ConfigError, DataError
from brickwork.encoders.build_images import build_image_encoder
from brickwork.encoders.config import ImageEncoderConfig, PretrainedImageConfig
from brickwork.encoders.hub_images import HubImageEncoder
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.vit import Blocks, ViT
from brickwork.modules.expert_blocks import put_inside
from brickwork.modules.heads import classifier
from brickwork.modules.slots import Followed, Stitch, compose, cut, even_ranges
from brickwork.representation.load import load_representation
from brickwork.systems.m2mkd.circuit_student import CircuitsStudent
from brickwork.systems.m2mkd.config import DEPTH, PATCH, WIDTH, Circuits, Config, Experts

Shape = tuple[int, int, int]


class Read(nn.Module):
    """Logits of the last tokens: the class token under the last norm, through one or two matrices. All are shared."""

    def __init__(self, norm: nn.Module, maps: Sequence[nn.Module]):
        super().__init__()
        self.norm, self.maps = norm, nn.ModuleList(maps)

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch classes"]:
        """c + W·norm(x₀)."""
        return compose(list(self.maps), self.norm(x[:, 0]))


class Scale(nn.Module):
    """Numbers in −1 … 1 as a pretrained network wants them: a·x + b for each channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.a: Tensor
        self.b: Tensor
        self.register_buffer("a", torch.ones(channels, 1, 1))
        self.register_buffer("b", torch.zeros(channels, 1, 1))

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
        """a·x + b."""
        return x * self.a + self.b


@dataclass(frozen=True, kw_only=True)
class TowerShape:
    """Sizes of a teacher or meta network: of its blocks, and of a matrix before the classifier, where there is one."""

    patch: int
    width: int
    num_layers: int
    num_heads: int
    mlp_width: int
    norm_eps: float = 1e-12
    embedding_dim: int | None = None


class Tower(nn.Module):
    """Teacher or meta network."""

    def __init__(self, shape: TowerShape, image_shape: Shape, classes: int):
        super().__init__()
        self.scale = Scale(image_shape[2])
        self.vit = ViT(
            image_shape=image_shape,
            patch=shape.patch,
            width=shape.width,
            num_layers=shape.num_layers,
            num_heads=shape.num_heads,
            mlp_width=shape.mlp_width,
            norm_eps=shape.norm_eps,
        )
        spread(self.vit)
        dim = shape.embedding_dim
        before = [] if dim is None else [nn.Linear(shape.width, dim)]
        self.maps = nn.Sequential(*before, classifier(dim or shape.width, classes))

    def ranges(self, count: int) -> list[tuple[int, int]]:
        """The blocks of each of ``count`` slots."""
        return even_ranges(self.vit.num_layers, count)

    def slots(self, count: int) -> tuple[nn.Module, ...]:
        """M_1 … M_L, or T_1 … T_L: the same parameters in ``count`` parts."""
        first, *others = cut(self.vit, self.ranges(count), Read(self.vit.norm, list(self.maps)))
        return (nn.Sequential(self.scale, *first), *others)

    def vector(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch dim"]:
        """What the classifier reads."""
        return compose(list(self.maps)[:-1], self.vit(self.scale(x)).vector)


def spread(vit: ViT) -> None:
    """Fresh matrices of blocks from N(0, 0.55²/inputs): the deviation of 0.02 that is usual with 768 inputs, for narrow
    networks too, which hardly learn from 0.02. Patches and positions stay of one size."""
    for module in vit.blocks.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.55 * module.in_features**-0.5)


def own_shape(config: Config) -> TowerShape:
    """Of a teacher that is trained here."""
    width = config.teacher_width or WIDTH
    return TowerShape(
        patch=config.patch or PATCH,
        width=width,
        num_layers=config.teacher_depth or DEPTH,
        num_heads=max(1, width // 32),
        mlp_width=4 * width,
    )


@dataclass(frozen=True)
class Given:
    """A teacher that was trained before. ``head``: its matrix to vectors, ``a`` and ``b``: how it wants its pixels."""

    shape: TowerShape
    vit: ViT
    head: nn.Linear | None
    a: Tensor
    b: Tensor
    image_shape: Shape
    lineage: dict[str, Any]


def given_teacher(config: Config) -> Given:
    """The vision transformer in a run folder, or a pretrained one.

    Raises:
        ArtifactError: there is none, or it is damaged.
        ConfigError: it is no vision transformer that can be cut.
    """
    lineage: dict[str, Any]
    if config.teacher:
        if not Path(config.teacher).expanduser().is_dir():
            raise ConfigError(
                f"model.teacher={config.teacher}: there is no such folder; name that of a finished run"
            )
        found = load_representation(Path(config.teacher).expanduser())
        encoder: Any = found.encoder
        lineage = {"run": Path(config.teacher).name, "fingerprint": found.fingerprint}
        option = f"model.teacher={config.teacher}"
    else:
        assert config.backbone is not None, "no other teacher is given"
        encoder = build_image_encoder(
            PretrainedImageConfig(backbone=config.backbone, revision=config.revision)
        )
        lineage = {"backbone": config.backbone}
        option = f"model.backbone={config.backbone}"
    head: nn.Linear | None = None
    channels = encoder.image_shape[2] if encoder.kind == "image" else 0
    a, b = torch.ones(channels, 1, 1), torch.zeros(channels, 1, 1)
    if isinstance(encoder, HubImageEncoder):
        try:
            vit = ViT.of(encoder.model)
        except ConfigError as error:
            raise ConfigError(f"{option}: {error}") from error
        factor = 127.5 * encoder.preprocessing.factor
        mean, std = (
            torch.tensor(values or [default] * channels)[:, None, None]
            for values, default in ((encoder.preprocessing.mean, 0.0), (encoder.preprocessing.std, 1.0))
        )
        a, b = factor / std, (factor - mean) / std
    elif isinstance(getattr(encoder, "network", None), ViT) and encoder.inside is None:
        vit, head = encoder.network, encoder.head
    else:
        raise ConfigError(
            f"{option} holds no plain vision transformer of images, which alone can be cut into slots: train one "
            "(model.encoder.architecture=vit), name a pretrained ViT, or leave it out and one is trained here"
        )
    return Given(_shape_of(vit, head), vit, head, a, b, tuple(encoder.image_shape), lineage)


def _shape_of(vit: ViT, head: nn.Linear | None) -> TowerShape:
    block: Any = vit.blocks[0]
    return TowerShape(
        patch=vit.patch,
        width=vit.width,
        num_layers=vit.num_layers,
        num_heads=block.attention.num_heads,
        mlp_width=vit.mlp_width,
        norm_eps=vit.norm.eps,
        embedding_dim=None if head is None else head.out_features,
    )


def check_images(given: Given, image_shape: Shape, name: str) -> None:
    """Refuses images that a given teacher does not take.

    Raises:
        DataError: says which it takes.
    """
    if given.image_shape != image_shape:
        raise DataError(
            f"{name} holds images of shape {image_shape}, and the teacher takes {given.image_shape}: use "
            f"--set data.image_size={given.image_shape[0]}, or images like those that it was trained on"
        )


# ---- students --------------------------------------------------------------------------------------------------------


@runtime_checkable
class Student(Protocol):
    """What is trained slot by slot: an ``nn.Module`` that has, besides these, ``encoder``, what users take vectors from, and
    ``width``, of the tokens between its slots. ``slots``: as they stand in the meta network, the same parameters.
    ``assemble``: what is done once they have learnt there; ``logits``: of the assembled student."""

    def slots(self) -> tuple[nn.Module, ...]: ...

    def assemble(self, stitches: Sequence[nn.Module]) -> None: ...

    def logits(self, x: Tensor) -> Tensor: ...


class ExpertsStudent(nn.Module):
    """V-MoE: its slots are some blocks each; where stitches are kept, joints stand between them once it is assembled."""

    def __init__(
        self,
        config: Experts,
        image_shape: Shape,
        classes: int,
        *,
        slots: int,
        patch: int,
        joints: dict[str, Any] | None,
    ):
        super().__init__()
        dim = config.embedding_dim or config.width
        self.encoder = ImageEncoder(
            ImageEncoderConfig(
                architecture="vit",
                width=config.width,
                depth=config.depth,
                num_heads=config.num_heads,
                patch=patch,
                embedding_dim=dim,
            ),
            image_shape,
        )
        spread(self.encoder.network)  # type: ignore[arg-type]
        self.width = config.width
        self.ranges = even_ranges(config.depth, slots)
        after = {"after": [end - 1 for _, end in self.ranges[:-1]]}
        put_inside(
            self.encoder,
            {
                "experts": config.experts,
                "active": config.active,
                **({} if joints is None else {"joints": {**joints, **after}}),
            },
        )
        self.head = classifier(dim, classes)

    def slots(self) -> tuple[nn.Module, ...]:
        """S_1 … S_L, without the joints: as they stand in the meta network."""
        vit: Any = self.encoder.network
        return cut(_Unjoined(vit), self.ranges, Read(vit.norm, [self.encoder.head, self.head]))

    def assemble(self, stitches: Sequence[nn.Module]) -> None:
        """Puts ψ of each slot and φ of the next between them, where they are kept."""
        blocks: Any = self.encoder.network.blocks
        for place, block in enumerate(block for block in blocks if isinstance(block, Followed)):
            before, after = (cast(Stitch, stitches[place + step]) for step in (0, 1))
            assert before.out is not None, "only the last slot has no ψ"
            assert after.into is not None, "only the first slot has no φ"
            then: Any = block.then
            then[0].load_state_dict(before.out.state_dict())
            then[1].load_state_dict(after.into.state_dict())

    def logits(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch classes"]:
        """Of the assembled student."""
        last = self.encoder.num_layers
        return self.head(self.encoder(x, [last])[last])


class _Unjoined:
    """A vision transformer without the joints behind its blocks."""

    def __init__(self, vit: ViT):
        self.stem, self.num_layers = vit.stem, vit.num_layers
        self._blocks = [block.block if isinstance(block, Followed) else block for block in vit.blocks]

    def blocks_from_to(self, start: int, end: int) -> nn.Module:
        return Blocks(self._blocks[start:end])  # type: ignore[arg-type]


def student_of(
    config: Config,
    image_shape: Shape,
    classes: int,
    *,
    patch: int,
    outer: int | None,
    seed: int,
    fitted: bool,
) -> Any:
    """The untrained student; ``outer``: the width of the meta network, for joints. ``fitted``: whether the graph of a
    circuit is made, which weights that are loaded have."""
    kept = (config.stitches, outer) if config.keep_stitches and outer is not None else None
    if isinstance(config.student, Circuits):
        return CircuitsStudent(
            config.student,
            image_shape,
            classes,
            slots=config.slots,
            patch=patch,
            seed=seed,
            joints=kept,
            fitted=fitted,
        )
    joints = None if kept is None else {"kind": kept[0], "outer": kept[1]}
    return ExpertsStudent(
        config.student, image_shape, classes, slots=config.slots, patch=patch, joints=joints
    )
