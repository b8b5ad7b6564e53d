"""cMIM: a probabilistic auto-encoder whose codes hold much of the input and point into different directions.

Livne: cMIM: A Contrastive Mutual Information Framework for Unified Generative and Discriminative Representation Learning,
arXiv 2502.19642; the same: Contrastive Mutual Information Learning, arXiv 2509.21511. Base: MIM, arXiv 1910.03175, as A-MIM.

What is learnt: q(z|x) and p(x|z) that agree on one joint distribution with high mutual information (MIM), and a repulsion of
codes by angle that needs no positive pairs and does not know the batch size (cMIM).

| paper      | here                       | shape     | meaning                                                  |
|------------|----------------------------|-----------|----------------------------------------------------------|
| x          | batch["input"]             | (B, …)    | images, or molecules as tokens of their SMILES           |
| q(z|x)     | code(batch)                | (B, D) × 2| N(μ, diag σ²), log σ ≥ ``log_sigma_floor``               |
| z          | z                          | (B, D)    | μ + σ ⊙ ε while training, μ afterwards                   |
| p(x|z)     | decoder                    |           | Bernoulli or Gaussian pixels; tokens one after the other |
| P(z)       | expected_log_prior         |           | N(0, I)                                                  |
| p(k=1|x,z) | self_contrastive           |           | "z belongs to x", against the mean of the batch's others |
| τ          | temperature                |           | of the cosines                                           |
| h(x)       | encode(kind="informative") | (B, H)    | the decoder's states before its output layer             |

Flow: data.images | data.smiles → encoders.image | encoders.text → modules.latent → modules.image_decoder |
modules.sequence_decoder → objectives.mim, objectives.contrastive → training.loop → representation.model.

Differences from the paper: README.md. Shape legend: B rows, D latent numbers, H decoder states.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ConfigError
from brickwork.core.seeding import generator_for
from brickwork.core.types import Batch, LossOutput
from brickwork.data.config import ImageDataConfig
from brickwork.data.types import Examples, TaskData
from brickwork.encoders.image import ImageEncoder, collate_images
from brickwork.encoders.text import TextEncoder, collate_text
from brickwork.modules.image_decoder import ImageDecoder
from brickwork.modules.latent import Gaussian, posterior, spread
from brickwork.modules.sequence_decoder import SequenceDecoder
from brickwork.objectives.contrastive import info_nce, self_contrastive
from brickwork.objectives.nested import nested_prefixes
from brickwork.representation.inference import for_inference
from brickwork.representation.model import Representation
from brickwork.systems.cmim import building, verbs
from brickwork.systems.cmim import objective as mim
from brickwork.systems.cmim.augment import random_shift
from brickwork.systems.cmim.building import CmimConfig
from brickwork.systems.cmim.building import load_data as load_data

Embedding = str  # "mean" or "informative"; a plain string, so that a wrong name gets our message
Reduction = Literal["sum", "mean"]
_SETTINGS = ("objective", "temperature", "reduction", "log_sigma_floor", "seed")


Config = CmimConfig
Data = ImageDataConfig


class CmimSystem(nn.Module):
    """An encoder to 2·D numbers, a decoder from D (none where nothing is decoded), and a weighted sum of terms."""

    slug = "cmim"
    reads: Literal["texts", "images", "columns"] = "images"

    def __init__(
        self,
        encoder: ImageEncoder | TextEncoder,
        decoder: ImageDecoder | SequenceDecoder | None,
        *,
        objective: str,
        temperature: float,
        reduction: Reduction,
        log_sigma_floor: float,
        seed: int = 0,
    ):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.objective, self.weights = objective, mim.parse_objective(objective)
        self.latent_dim, self.temperature = encoder.embedding_dim // 2, temperature
        self.reduction: Reduction = reduction
        self.log_sigma_floor, self.seed = log_sigma_floor, seed
        # An auto-encoder has no noise; whoever asks something of q(z|x), or for two samples of it, has.
        self.stochastic = bool(self.weights.keys() & {"log_q", "log_prior", "info_nce"})
        self.axes = ElasticAxes(dims=(self.latent_dim,), layers=(encoder.num_layers,))

    def collate(self, columns: dict[str, Any]) -> Batch:
        """Columns of examples (or ``{"input": …}``) as a batch."""
        if isinstance(self.encoder, TextEncoder):
            return collate_text(self.encoder, columns)
        return collate_images(self.encoder, columns)

    def code(self, inputs: Any) -> Gaussian:
        """q(z|x): (B, D) twice."""
        layer = self.encoder.num_layers
        return posterior(self.encoder(inputs, [layer])[layer], self.log_sigma_floor)

    def loss(self, batch: Batch) -> LossOutput:
        """L_A-cMIM = −log p(x|z) + ℓ_c − ½ [log q(z|x) + log P(z)], or another sum of the terms; means over the batch."""
        x = batch["input"]
        q = self.code(x)
        z = self._sample(q, batch, "posterior")
        terms: dict[str, Tensor] = {}
        if "nll" in self.weights:
            terms["nll"] = self.nll(z, x).mean()
        if "log_q" in self.weights:
            terms["log_q"] = mim.expected_log_posterior(q.log_sigma).mean()
        if "log_prior" in self.weights:
            terms["log_prior"] = mim.expected_log_prior(q.mean, q.log_sigma).mean()
        if "self" in self.weights:  # −log p(k=1|x,z), on the sampled codes
            terms["self"] = self_contrastive(z, temperature=self.temperature)
        if "info_nce" in self.weights:
            terms["info_nce"] = info_nce(z, self._sample(q, batch, "again"), temperature=self.temperature)
        if "info_nce_views" in self.weights:
            terms["info_nce_views"] = info_nce(z, self._view(batch), temperature=self.temperature)
        stats = spread(q, self.log_sigma_floor) if self.stochastic else {}
        return mim.latent_loss(terms, self.weights, stats)

    def nll(self, z: Float[Tensor, "batch dim"], x: Any) -> Float[Tensor, " batch"]:
        """−log p(x|z) of each row, in nats; per pixel or token with ``reduction="mean"``."""
        sequence = isinstance(self.decodes(), SequenceDecoder)
        nats = -self.decodes().log_prob(z, x if sequence else (x + 1) / 2)  # prepared images are −1 … 1
        parts = x.lengths - 1 if sequence else x[0].numel()
        return nats / parts if self.reduction == "mean" else nats

    def _sample(self, q: Gaussian, batch: Batch, name: str) -> Float[Tensor, "batch dim"]:
        if not (self.training and self.stochastic):
            return q.mean
        generator = generator_for(self.seed, batch["step"], name)
        return q.at(torch.randn(q.mean.shape, generator=generator).to(q.mean))

    def _view(self, batch: Batch) -> Float[Tensor, "batch dim"]:
        """The codes of the batch's images, shifted while training."""
        x = batch["input"]
        if self.training:
            x = random_shift(x, generator_for(self.seed, batch["step"], "shift"))
        return self._sample(self.code(x), batch, "view")

    @torch.no_grad()
    def encode(
        self,
        inputs: Any,
        dim: int | None = None,
        layers: int | None = None,
        *,
        kind: Embedding = "mean",
        normalize: bool = True,
    ) -> Float[Tensor, "n dim"]:
        """Embeddings of images (N, H, W, C) or SMILES, as unit vectors unless not ``normalize``.

        ``mean``: μ(x), cut to ``dim``. ``informative``: h(x), the decoder's states just before its output layer for z = μ(x)
        (and the true text fed in, averaged over its tokens); all of them, or the first ``dim``.

        Raises:
            ConfigError: a size or kind that the model does not have.
            DataError: a SMILES string that cannot be tokenised.
        """
        if kind not in ("mean", "informative"):
            raise ConfigError(f"kind is {kind!r}; choose 'mean' or 'informative'")
        informative = kind == "informative"
        axes = ElasticAxes(dims=(self.decodes().hidden_dim,), layers=(1,)) if informative else self.axes
        dim, _, _ = axes.resolve(dim, None if informative else layers)
        with for_inference(self, "fp32"):
            found = [
                self.informative(x) if informative else self.code(x).mean for x in verbs.batches(self, inputs)
            ]
        vectors = torch.cat([torch.zeros(0, axes.full_dim), *(x.cpu() for x in found)])
        return nested_prefixes(vectors, [dim], normalize=normalize)[dim]

    def informative(self, x: Any) -> Float[Tensor, "batch width"]:
        """h(x) for prepared inputs: the decoder's states for z = μ(x)."""
        mean, decoder = self.code(x).mean, self.decodes()
        return decoder.hidden(mean, x) if isinstance(decoder, SequenceDecoder) else decoder.hidden(mean)

    def representation(self) -> Representation:
        """The encoder as an encoder like any other: its first D numbers are μ(x)."""
        return Representation(self.encoder, self.axes, lineage={"system": self.slug}, card={})

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """Held-out numbers: :func:`brickwork.systems.cmim.verbs.evaluate`."""
        return verbs.evaluate(self, examples)

    def predict(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """How well each input is known: :func:`brickwork.systems.cmim.verbs.predict`."""
        return verbs.predict(self, columns["input"])

    def reconstruct(self, inputs: Any) -> Any:
        """Inputs through μ(x) and back: images of uint8, or SMILES."""
        return verbs.reconstruct(self, inputs)

    def sample(self, number: int, *, seed: int = 0, temperature: float = 1.0) -> Any:
        """New images or SMILES from codes z ~ N(0, I)."""
        return verbs.sample(self, number, seed=seed, temperature=temperature)

    def architecture(self) -> dict[str, Any]:
        """JSON values from which :func:`restore` rebuilds the system, without its weights."""
        decoder = self.decoder.architecture() if self.decoder is not None else None
        settings = {name: getattr(self, name) for name in _SETTINGS}
        return {"encoder": self.encoder.architecture(), "decoder": decoder, "settings": settings}

    def decodes(self) -> Any:
        """The decoder; a ConfigError where the objective trains none."""
        if self.decoder is None:
            raise ConfigError(
                f"objective {self.objective!r} trains no decoder; one such as 'mim + info_nce' does"
            )
        return self.decoder


class MoleculeSystem(CmimSystem):
    """The same for SMILES: its decoder writes, so it generates."""

    reads: Literal["texts", "images", "columns"] = "texts"

    @property
    def tokenizer(self) -> Any:
        """Kept beside the weights."""
        assert isinstance(self.encoder, TextEncoder)
        return self.encoder.tokenizer

    def collate(self, columns: dict[str, Any]) -> Batch:
        """As for images; refuses what cannot be tokenised."""
        building.check_smiles(columns["input"])
        return super().collate(columns)

    def generate(self, prompts: Sequence[str], **options: Any) -> list[str]:
        """Each beginning of a SMILES string (or "") completed: :func:`brickwork.systems.cmim.verbs.complete`."""
        return verbs.complete(self, prompts, **options)


def build(config: CmimConfig, data: TaskData, assets: Path | None = None) -> CmimSystem:
    """The untrained system for ``data``.

    Raises:
        DataError: data that is neither images nor molecules, or not what the configuration is for.
    """
    encoder, decoder = building.parts(config, data, assets)
    system = MoleculeSystem if isinstance(encoder, TextEncoder) else CmimSystem
    settings = {name: getattr(config, name) for name in _SETTINGS if name != "seed"}
    settings["temperature"] = 0.1 if config.temperature is None else config.temperature
    return system(encoder, decoder, **settings, seed=torch.initial_seed())


def restore(architecture: Mapping[str, Any], tokenizer_json: str | None) -> CmimSystem:
    """The system that ``architecture`` describes, with fresh weights."""
    encoder, decoder = building.parts_from(architecture, tokenizer_json)
    system = MoleculeSystem if isinstance(encoder, TextEncoder) else CmimSystem
    return system(encoder, decoder, **architecture["settings"])
