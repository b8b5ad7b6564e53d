"""ERW: a generator of images whose first blocks learn what a frozen encoder knows before all of it learns to draw.

Liu, Sun, Li, Lin: Efficient Generative Model Training via Embedded Representation Warmup. arXiv 2504.10188 (third version).
Authors' code: LINs-lab/ERW, on REPA (Yu et al., arXiv 2410.06940). Generator: SiT (Ma et al., arXiv 2401.08740).

What is learnt: the velocity of flow matching, v(z_t, t, y), by a transformer. In the warm-up its first blocks, on images
without noise, are trained to give the patches of a frozen encoder; then the whole network is trained, and a part of the
loss, which may fade, still compares hidden states with these patches.

| paper            | here               | shape        | meaning                                                      |
|------------------|--------------------|--------------|--------------------------------------------------------------|
| z₀               | x                  | (B, C, H, W) | images in −1 … 1 (the paper: latents of an autoencoder)      |
| z_t, t           | interpolate, t     | (B, …), (B)  | (1 − t) z₀ + t ε; 0 is data                                  |
| F_θ              | generator          |              | SiT: blocks told of t and of the class y                     |
| f                | encoder            |              | frozen; its patch tokens are the target r                    |
| T_θ              | projector          |              | hidden state → width of a patch token, for each patch        |
| d_w              | warm_from, warm_to |              | the blocks of the warm-up                                    |
| λ(k) = c₀ 2^(−k/K)| align, half_life  |              | weight of the comparison in batch k                          |

Flow: data (images with classes) → encoders.image | hub_images (patch tokens) → transformer.py → modules.flow →
generate, evaluation.frechet. Differences from the paper: see README.md.
Shape legend: B images, C channels, H × W pixels, N patches, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from brickwork.core.config import nearest
from brickwork.core.errors import ConfigError, DataError
from brickwork.core.seeding import uniforms
from brickwork.core.types import Batch, LossOutput
from brickwork.data.augment import two_views
from brickwork.data.classes import with_classes
from brickwork.data.config import ImageDataConfig
from brickwork.data.load import load_task
from brickwork.data.types import Examples, TaskData
from brickwork.encoders.feature_cache import FeatureCache, keys_of
from brickwork.encoders.image import ImageEncoder
from brickwork.evaluation.frechet import frechet_distance
from brickwork.inspection.drawings import Drawing
from brickwork.modules.flow import Sampler, flow_matching, guided, interpolate, sample
from brickwork.objectives.classification import cross_entropy
from brickwork.objectives.contrastive import info_nce
from brickwork.objectives.self_supervised import simclr
from brickwork.representation.contract import complete, image_shape
from brickwork.systems.erw.config import TRAINED, VIEWS, Config, stages_of
from brickwork.systems.erw.drawing import album_drawing, cost_drawing
from brickwork.systems.erw.progress import Album, Spent
from brickwork.systems.erw.requests import check_request
from brickwork.systems.erw.transformer import SiT
from brickwork.training.config import Stage

__all__ = ["Config", "Data", "System"]

Data = ImageDataConfig
TEACHER, JUDGE, WARM_UP, FULL = "teacher", "judge", "warm-up", "full"
STAGES = (TEACHER, JUDGE, WARM_UP, FULL)
_CHUNK = 64
_STEPS = 25  # of Heun's method, where nothing else is asked for
_WARM_WEIGHT = 0.5  # of the comparison in the warm-up, where it is the whole loss
_TEMPERATURE = 0.07  # of nt_xent


@complete
class System(nn.Module):
    """A generator, the average of its weights that draws, a frozen encoder, and a judge of samples."""

    reads = ("labelled",)

    def __init__(
        self,
        config: Config,
        encoder: ImageEncoder,
        *,
        seed: int,
        classes: Sequence[str],
        image_shape: Sequence[int],
    ):
        super().__init__()
        self.config, self.encoder, self.seed, self.classes = config, encoder, seed, tuple(classes)
        height, width, channels = image_shape
        self.image_shape = (height, width, channels)
        self.generator = SiT(
            image_shape=self.image_shape,
            num_classes=len(classes),
            patch=config.patch,
            width=config.width,
            num_layers=config.depth,
            num_heads=config.num_heads,
        )
        self.average: Any = AveragedModel(
            self.generator, multi_avg_fn=get_ema_multi_avg_fn(0.5 ** (1 / config.average))
        )
        pixels = config.patch**2 * channels
        target = pixels if config.chosen == "pixels" else encoder.token_width
        self.projector = nn.Sequential(
            nn.Linear(config.width, 2 * config.width),
            nn.SiLU(),
            nn.Linear(2 * config.width, 2 * config.width),
            nn.SiLU(),
            nn.Linear(2 * config.width, target),
        )
        size = encoder.embedding_dim
        heads = {
            "simclr": lambda: nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size)),
            "labels": lambda: nn.Linear(size, len(classes)),
        }
        self.teacher_head = heads.get(config.chosen, nn.Identity)()
        self.judge = ImageEncoder(config.judge, self.image_shape)
        self.judge_head = nn.Linear(config.judge.embedding_dim, len(classes))
        self.album = Album(self.image_shape)
        self.spent = Spent(config.judge.embedding_dim, len(classes))
        self._cache = FeatureCache()
        self._stage, self._begun = FULL, set[str]()
        # The stages of a run say what else is trained.
        for part in (self.average, self.encoder, self.teacher_head, self.judge, self.judge_head):
            part.requires_grad_(False)

    @staticmethod
    def facts(config: Config, data: TaskData) -> dict[str, Any]:
        """The names of the classes, and the shape of the images.

        Raises:
            DataError: texts with labels.
        """
        if data.modality != "image":
            raise DataError(
                f"{data.name} holds {data.modality}s with labels; erw learns to make images: bring a folder of "
                "images with a sub-folder for each class"
            )
        classes = data.class_names or tuple(map(str, range(data.num_classes or 0)))
        return {"classes": list(classes), "image_shape": list(image_shape(data))}

    def collate(self, columns: Mapping[str, Any]) -> Batch:
        """Images in −1 … 1, and as they are for an encoder with a preprocessing of its own."""
        images = np.asarray(columns["input"])
        return {
            "input": _numbers(images),
            "label": torch.from_numpy(np.asarray(columns["label"]).astype(np.int64)),
            "image": torch.from_numpy(np.ascontiguousarray(images)),
        }

    def load_data(self, config: ImageDataConfig, seed: int) -> TaskData:
        """Other data with the classes that were learnt, counted as they were, and images of the shape that was.

        Raises:
            DataError: it has another class, or images of another shape.
        """
        height, width, _ = self.image_shape
        if height == width and config.framing is None and Path(config.source).expanduser().is_dir():
            config = replace(config, image_size=height)
        task = with_classes(load_task(config, seed), self.classes)
        if (shape := image_shape(task)) != self.image_shape:
            raise DataError(
                f"{task.name} has images of shape {shape}, and the model has learnt {self.image_shape} (height, width, "
                "channels): bring such images"
            )
        return task

    # ---- learning ----------------------------------------------------------------------------------------------------

    @staticmethod
    def plan_stages(config: Config, steps: int) -> tuple[Stage, ...]:
        """The stages of a run that names none."""
        return stages_of(config, steps)

    def start_stage(self, stage: str) -> None:
        """Looks at what the stage needs.

        Raises:
            ConfigError: no stage of that name, or a teacher that was to be trained before and was not.
        """
        if stage not in STAGES:
            raise ConfigError(f"erw has no stage '{stage}': {nearest(stage, STAGES)}")
        learns = self.config.chosen in TRAINED and stage in (WARM_UP, FULL)
        if learns and TEACHER not in self._begun and not self.spent.teacher_trained:
            raise ConfigError(
                f"model.teacher={self.config.chosen} learns in a stage '{TEACHER}', and this run has none before '{stage}'; "
                "add it (recipe small has it), or set model.teacher=random to do without"
            )
        self._begun.add(stage)
        self._stage = stage

    def loss(self, batch: Batch) -> LossOutput:
        """The loss of the stage: of the encoder, of the judge, of the warm-up, or, L = L_flow + λ(k)·L_align."""
        stage = batch.get("stage", FULL)
        if stage == TEACHER:
            return self._teacher_loss(batch)
        if stage == JUDGE:
            logits = self.judge_head(self.judge(batch["input"])[1])
            return LossOutput.of({"judge": cross_entropy(logits, batch["label"])})
        return self._warm_up_loss(batch) if stage == WARM_UP else self._full_loss(batch)

    def _teacher_loss(self, batch: Batch) -> LossOutput:
        """Without labels, two views of each image; or the classes."""
        config, last = self.config, self.encoder.num_layers
        if config.chosen not in TRAINED:
            raise ConfigError(
                f"stages.{TEACHER}: teacher={config.chosen} is not trained; leave the stage out, or set "
                f"model.teacher to one of {', '.join(TRAINED)}"
            )
        views_each = 2 if config.chosen == "simclr" else 1
        self.spent.teacher(3 * views_each * len(batch["input"]) * self._encoder_flops)
        if config.chosen == "labels":
            logits = self.teacher_head(self.encoder(batch["input"])[last])
            return LossOutput.of({"teacher": cross_entropy(logits, batch["label"])})
        views = two_views(
            (batch["input"] + 1) / 2,
            config.views or VIEWS,
            seed=self.seed,
            step=batch["step"],
            rows=batch["indices"],
        )[:2]
        z = [self.teacher_head(self.encoder(2 * view - 1)[last]) for view in views]
        return LossOutput.of({"teacher": simclr(*z)})

    def _warm_up_loss(self, batch: Batch) -> LossOutput:
        """Blocks d_w on z₀ at t = 0, with the class: ½·L_align."""
        x, label = batch["input"], self._told(batch)
        start, end = self.config.warm_from, self.config.warm_to
        condition = self.generator.condition(x.new_zeros(len(x)), label)
        hidden = self.generator.run(self.generator.embed(x), condition, start, end)
        self.spent.generator(3 * len(x) * self.generator.flops(end - start, whole=False), warm=True)
        return LossOutput.of({"align": self._alignment(hidden, batch)}, {"align": _WARM_WEIGHT})

    def _full_loss(self, batch: Batch) -> LossOutput:
        """L_flow = mean ‖F(z_t, t, y) − (ε − z₀)‖², t ~ U(0, 1); and L_align of the hidden states after ``align_at`` blocks,
        on z_t."""
        x, config = batch["input"], self.config
        t, noise = drawn_paths(f"{self.seed}/{batch['step']}", batch["indices"], x)
        velocity, hidden = self.generator(interpolate(x, noise, t), t, self._told(batch), at=config.align_at)
        terms = {"velocity": flow_matching(velocity, x, noise).mean()}
        weights = {}
        if config.align:
            terms["align"] = self._alignment(hidden, batch)
            weights["align"] = self.weight(batch["stage_step"] if "stage_step" in batch else batch["step"])
        if self.training:
            self.spent.generator(3 * len(x) * self.generator.flops(config.depth))
            self.spent.look_at(x, batch["label"], self._judged)
        return LossOutput.of(terms, weights)

    def weight(self, number: int) -> float:
        """λ(k) = c₀·2^(−k/K) in batch ``number`` of the stage; c₀ without a half-life."""
        config = self.config
        return config.align if config.half_life is None else config.align * 0.5 ** (number / config.half_life)

    def _alignment(self, hidden: Float[Tensor, "batch tokens width"], batch: Batch) -> Float[Tensor, ""]:
        """−cos(T(h), r) over all patches of all images; or the cross-entropy of finding r among all patches of the batch."""
        predicted, target = self.projector(hidden), self.target(batch)
        head = sum(2 * p.numel() for p in self.projector.parameters() if p.ndim > 1)
        self.spent.generator(3 * hidden[..., 0].numel() * head, warm=batch.get("stage") == WARM_UP)
        with torch.autocast(hidden.device.type, enabled=False):
            predicted, target = predicted.float(), target.float()
            if self.config.alignment == "cosine":
                return -F.cosine_similarity(predicted, target, dim=-1).mean()
        return info_nce(predicted.flatten(0, 1), target.flatten(0, 1), temperature=_TEMPERATURE)

    @torch.no_grad()
    def target(self, batch: Batch) -> Float[Tensor, "batch tokens dim"]:
        """r: the encoder's patch tokens of clean images on the generator's grid, or the pixels of the patches."""
        x, config = batch["input"], self.config
        if config.chosen == "pixels":
            return F.unfold(x, config.patch, stride=config.patch).transpose(1, 2)

        def compute(places: list[int]) -> Tensor:
            self.spent.teacher(len(places) * self._encoder_flops)
            return self._tokens(batch["image"][places].cpu().numpy(), x.device).flatten(1)

        known = self._cache.rows(keys_of(list(x), self.encoder.num_layers), compute, x)
        return known.view(len(x), -1, self.encoder.token_width)

    @cached_property
    def _encoder_flops(self) -> int:
        """Of one image; a pretrained encoder runs once to be counted."""
        return self.encoder.flops()

    def _tokens(
        self, images: UInt8[np.ndarray, "batch height breadth channels"], device: torch.device
    ) -> Tensor:
        self.encoder.eval()
        features = self.encoder.features(self.encoder.prepare(images).to(device))
        tokens = features.tokens.float().transpose(1, 2).unflatten(2, features.grid)
        if features.grid != self.generator.grid:
            larger = features.grid[0] >= self.generator.grid[0]
            tokens = (
                F.adaptive_avg_pool2d(tokens, self.generator.grid)
                if larger
                else F.interpolate(tokens, size=self.generator.grid, mode="bilinear")
            )
        return tokens.flatten(2).transpose(1, 2)

    def _told(self, batch: Batch) -> Int64[Tensor, " batch"]:
        """The class of each image, or, as often as ``class_dropout`` says while it trains, that of none."""
        label = batch["label"]
        if not self.training:
            return label
        (drawn,) = uniforms(f"{self.seed}/{batch['step']}/class", batch["indices"], 1)
        hidden = torch.from_numpy(drawn < self.config.class_dropout)
        return torch.where(hidden.to(label.device), len(self.classes), label)

    def after_step(self, step: int) -> None:
        """The average follows; now and then it draws the same noise, for the album."""
        if self._stage == TEACHER:
            self.spent.teacher_done()
            self._cache = FeatureCache()
        elif self._stage == JUDGE:
            self.spent.judge_done()
        elif self._stage == FULL:
            self.average.update_parameters(self.generator)
            if self.album.due():
                self._mark()

    def _mark(self) -> None:
        modes = {module: module.training for module in self.modules()}
        self.eval()
        try:
            images = self._paint(self.album.labels(len(self.classes)), self.album.noise(self.seed), steps=10)
            self.album.keep(images, self.spent.flops(), self._distance_now())
        finally:
            for module, training in modes.items():
                module.training = training

    # ---- drawing -----------------------------------------------------------------------------------------------------

    def generate_images(
        self,
        names: Sequence[str],
        *,
        count: int,
        seed: int = 0,
        steps: int = _STEPS,
        guidance: float = 1.0,
        sampler: Sampler = "heun",
    ) -> UInt8[np.ndarray, "images height breadth channels"]:
        """``count`` images of each named class, one class after the other, from ``steps`` steps of ``sampler``.

        ``guidance`` above 1: more of the class and less variety (Ho and Salimans 2022), at twice the time.

        Raises:
            ConfigError: a class that was not learnt, or a number out of range.
        """
        options: dict[str, Any] = {
            "count": count,
            "seed": seed,
            "steps": steps,
            "guidance": guidance,
            "sampler": sampler,
        }
        check_request(self.classes, self.image_shape, names, **options)
        generator = torch.Generator().manual_seed(seed)
        label = torch.tensor([self.classes.index(name) for name in names for _ in range(count)])
        noise = torch.randn(len(label), *self._noise_shape, generator=generator)
        x = self._sampled(label, noise, steps=steps, guidance=guidance, sampler=sampler, generator=generator)
        if not x.isfinite().all():
            raise ConfigError(
                f"guidance={guidance:g}, steps={steps}: samples grow beyond all numbers; use less guidance, or more steps"
            )
        return _pixels(x)

    @property
    def _noise_shape(self) -> tuple[int, int, int]:
        height, width, channels = self.image_shape
        return channels, height, width

    def _paint(
        self,
        label: Int64[Tensor, " images"],
        noise: Float[Tensor, "images channels height breadth"],
        *,
        steps: int = _STEPS,
    ) -> UInt8[np.ndarray, "images height breadth channels"]:
        """Images by Heun's method, without guidance."""
        return _pixels(self._sampled(label, noise, steps=steps))

    @torch.no_grad()
    def _sampled(
        self,
        label: Int64[Tensor, " images"],
        noise: Float[Tensor, "images channels height breadth"],
        *,
        steps: int,
        guidance: float = 1.0,
        sampler: Sampler = "heun",
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "images channels height breadth"]:
        device, drawn = next(self.parameters()).device, []
        self.eval()
        for start in range(0, len(label), _CHUNK):
            y = label[start : start + _CHUNK].to(device)
            velocity = guided(
                partial(self._velocity, label=y),
                partial(self._velocity, label=torch.full_like(y, len(self.classes))),
                guidance,
            )
            x = noise[start : start + _CHUNK].to(device)
            drawn.append(sample(velocity, x, steps=steps, sampler=sampler, generator=generator).cpu())
        return torch.cat(drawn) if drawn else noise

    def _velocity(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        return self.average.module(x, t, label)[0]

    # ---- measuring ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _judged(self, x: Float[Tensor, "batch channels height breadth"]) -> Float[Tensor, "batch dim"]:
        """What the judge's last layer reads of images."""
        return self.judge(x)[1].float()

    def _distance_now(self) -> float:
        """The Fréchet distance of fresh samples from the images that were seen in training; infinite without a judge."""
        if not (self.spent.comparable and self.album.compares):
            return float("inf")
        label, noise = self.album.many(self.seed, self.spent.shown)
        images = self._paint(label, noise, steps=10)
        return self.spent.distance(self._features(images))

    def _features(self, images: UInt8[np.ndarray, "images h w c"]) -> Float[np.ndarray, "images dim"]:
        device = next(self.parameters()).device
        parts = [
            self._judged(_numbers(images[start : start + _CHUNK]).to(device)).cpu().numpy()
            for start in range(0, len(images), _CHUNK)
        ]
        return np.concatenate(parts)

    @torch.no_grad()
    def velocity_loss(self, examples: Examples) -> float:
        """L_flow of the average on images with fixed times and noise: the least noisy of all measures."""
        losses = []
        for start in range(0, len(examples), _CHUNK):
            rows = range(start, min(start + _CHUNK, len(examples)))
            batch = self.collate(examples.take(rows))
            x, label = (batch[name].to(next(self.parameters()).device) for name in ("input", "label"))
            t, noise = drawn_paths("held out", rows, x)
            losses.append(flow_matching(self._velocity(interpolate(x, noise, t), t, label), x, noise).cpu())
        return float(torch.cat(losses).mean())

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """``velocity``: the loss on held-out images. Where a judge was trained, also ``accuracy``: how often it gives a
        sample the class that was asked for, and ``accuracy_images``: how often an image its own, which says what the judge
        is worth; and ``frechet``: the distance of as many samples of the same classes from the images in its eyes, where
        there are more of these than dimensions (of fewer no covariance is known)."""
        scores = {"velocity": self.velocity_loss(examples)}
        if not self.spent.judged or not len(examples):
            return scores
        label = torch.from_numpy(np.asarray(examples.columns["label"]).astype(np.int64))
        noise = torch.randn(len(label), *self._noise_shape, generator=torch.Generator().manual_seed(0))
        samples = self._features(self._paint(label, noise))
        real = self._features(np.asarray(examples.columns["input"]))
        scores |= {"accuracy": self._right(samples, label), "accuracy_images": self._right(real, label)}
        if len(real) > real.shape[1]:
            scores["frechet"] = frechet_distance(samples, real)
        return scores

    @torch.no_grad()
    def _right(self, features: Float[np.ndarray, "images dim"], label: Int64[Tensor, " images"]) -> float:
        """How often the judge gives images their class."""
        logits = self.judge_head(torch.from_numpy(features).to(self.judge_head.weight))
        return float((logits.argmax(1).cpu() == label).float().mean())

    def draw(self, examples: Examples) -> list[Drawing]:
        """The same noise drawn again and again while it learnt, and at the end; and distance against operations, the warm-up
        counted."""
        if not self.album.filled:
            return []
        noise = self.album.noise(self.seed)
        last = self._paint(self.album.labels(len(self.classes)), noise, steps=10)
        judge = None
        if self.spent.judged and len(examples):
            label = torch.from_numpy(np.asarray(examples.columns["label"]).astype(np.int64))
            judge = self._right(self._features(np.asarray(examples.columns["input"])), label)
        cost = cost_drawing(self.album, self.spent, judge)
        return [album_drawing(self.album, self.classes, last), *([cost] if cost else [])]


def _numbers(images: UInt8[np.ndarray, "images h w c"]) -> Float[Tensor, "images c h w"]:
    """0 … 255 as −1 … 1."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _pixels(x: Float[Tensor, "images c h w"]) -> UInt8[np.ndarray, "images h w c"]:
    """−1 … 1, or what is nearest to it, as 0 … 255."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def drawn_paths(
    key: str, rows: Sequence[int], x: Float[Tensor, "batch c h w"]
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch c h w"]]:
    """t ~ U(0, 1) and ε ~ N(0, I) for each row: a pure function of the key and the row, whatever else is in the batch."""
    drawn = torch.from_numpy(uniforms(key, rows, 1 + x[0].numel()))
    noise = torch.special.ndtri(drawn[1:] * (1 - 2.0**-52) + 2.0**-53)
    return drawn[0].to(x), noise.T.reshape(x.shape).to(x)
