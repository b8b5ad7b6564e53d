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
| h(x)       | informative(inputs)        | (B, H)    | the decoder's states before its output layer             |

Flow: data.sets.images | smiles.py → encoders.image | encoders.text → modules.latent → image_decoder |
modules.sequence_decoder → objective.py, objectives.contrastive → training.loop → representation.model.

Differences from the paper: README.md. Shape legend: B rows, D latent dimensions, H decoder states.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ConfigError, DataError
from brickwork.core.seeding import generator_for
from brickwork.core.types import Batch, LossOutput
from brickwork.data.types import Examples, TaskData
from brickwork.encoders.build import build_text_encoder
from brickwork.encoders.config import ImageEncoderConfig, TextEncoderConfig
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.text import TextEncoder
from brickwork.evaluation.codes import effective_rank, leave_one_out_accuracy, mean_cosine
from brickwork.modules.latent import Gaussian, posterior, spread
from brickwork.modules.sequence_decoder import SequenceDecoder, SequenceDecoderConfig
from brickwork.objectives.contrastive import info_nce, self_contrastive
from brickwork.objectives.nested import nested_prefixes
from brickwork.representation.contract import encodes, image_shape
from brickwork.representation.inference import for_inference
from brickwork.systems.cmim import objective as mim
from brickwork.systems.cmim.augment import random_shift
from brickwork.systems.cmim.config import Config
from brickwork.systems.cmim.data import Data, load_data
from brickwork.systems.cmim.image_decoder import ImageDecoder, ImageDecoderConfig
from brickwork.systems.cmim.smiles import END, NOTATION, PAD, START, TEXTS, UNKNOWN, smiles_tokenizer

__all__ = ["TEXTS", "Config", "Data", "System", "load_data"]
_LATENT_DIM = 64
_CHUNK = 512
_PROBED = 2000


@encodes
class System(nn.Module):
    """An encoder to 2·D dimensions, a decoder from D (none where nothing is decoded), and a weighted sum of terms."""

    reads = ("image", "molecule")
    input_kind: Literal["texts", "images", "columns"] = "images"

    def __init__(self, config: Config, encoder: ImageEncoder | TextEncoder, *, seed: int):
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.seed = seed
        self.weights = mim.parse_objective(config.objective)
        self.latent_dim = encoder.embedding_dim // 2
        self.temperature = 0.1 if config.temperature is None else config.temperature
        self.decoder: Any = self.build_decoder() if "nll" in self.weights else None
        # An auto-encoder has no noise; whoever asks something of q(z|x), or for two samples of it, has.
        self.stochastic = bool(self.weights.keys() & {"log_q", "log_prior", "info_nce"})
        # The encoder's first D dimensions are μ(x).
        self.axes = ElasticAxes(dims=(self.latent_dim,), layers=(encoder.num_layers,))

    @staticmethod
    def variant(config: Config) -> type["System"]:
        """The class for images, or the one for molecules."""
        return MoleculeSystem if isinstance(config.encoder, TextEncoderConfig) else System

    @staticmethod
    def build_encoder(config: Config, data: TaskData, assets: Path | None) -> ImageEncoder | TextEncoder:
        """An encoder of images or SMILES to μ and log σ.

        Raises:
            DataError: data of another modality than the configuration is for.
        """
        described = config.encoder
        if data.modality != {"image": "image", "text": "molecule"}[described.kind]:
            recipe = {"image": "small", "molecule": "molecules"}[data.modality]
            raise DataError(
                f"{data.name} holds {data.modality}s, and model.encoder is for {described.kind}s; "
                f"take --recipe {recipe}, or other data"
            )
        if isinstance(described, ImageEncoderConfig):
            wider = replace(described, embedding_dim=2 * described.embedding_dim)
            return ImageEncoder(wider, image_shape(data))
        settings = replace(described, projection=2 * (described.projection or _LATENT_DIM))
        encoder = build_text_encoder(settings, assets=assets, tokenizer=smiles_tokenizer(data.texts()))
        encoder.notation = NOTATION
        return encoder

    def build_decoder(self) -> nn.Module:
        """p(x|z), with fresh weights."""
        assert isinstance(self.encoder, ImageEncoder)
        assert isinstance(self.config.decoder, ImageDecoderConfig), "checked by validate()"
        return ImageDecoder(self.config.decoder, self.latent_dim, self.encoder.image_shape)

    def code(self, inputs: Any) -> Gaussian:
        """q(z|x): (B, D) twice."""
        layer = self.encoder.num_layers
        return posterior(self.encoder(inputs, [layer])[layer], self.config.log_sigma_floor)

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
        stats = spread(q, self.config.log_sigma_floor) if self.stochastic else {}
        return mim.latent_loss(terms, self.weights, stats)

    def nll(self, z: Float[Tensor, "batch dim"], x: Any) -> Float[Tensor, " batch"]:
        """−log p(x|z) of each row, in nats; per pixel or token with ``reduction="mean"``."""
        nats = -self.decodes().log_prob(z, self.target(x))
        return nats / self.num_parts(x) if self.config.reduction == "mean" else nats

    def target(self, x: Any) -> Any:
        """What the decoder is to give for prepared inputs: pixels in 0 … 1."""
        return (x + 1) / 2

    def num_parts(self, x: Any) -> Any:
        """Pixels, of each image."""
        return x[0].numel()

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

    def decodes(self) -> Any:
        """The decoder; a ConfigError where the objective trains none."""
        if self.decoder is None:
            raise ConfigError(
                f"objective {self.config.objective!r} trains no decoder; one such as 'mim + info_nce' does"
            )
        return self.decoder

    # ---- what a user does with it ----------------------------------------------------------------------------------

    def informative(self, inputs: Any, *, dim: int | None = None, normalize: bool = True) -> np.ndarray:
        """h(x): the decoder's states just before its output layer for z = μ(x) (of molecules with the true text fed in,
        averaged over its tokens); all of them, or the first ``dim``. Unit vectors unless not ``normalize``.

        Raises:
            ConfigError: more dimensions than there are, or nothing is decoded.
            DataError: a SMILES string that cannot be tokenised.
        """
        axes = ElasticAxes(dims=(self.decodes().hidden_dim,), layers=(1,))
        dim, _, _ = axes.resolve(dim, None)
        with torch.no_grad(), for_inference(self, "fp32"):
            parts = [self.states(self.code(x).mean, x).cpu() for x in self.prepared(inputs)]
        vectors = torch.cat([torch.zeros(0, axes.full_dim), *parts])
        return nested_prefixes(vectors, [dim], normalize=normalize)[dim].numpy()

    def states(self, z: Float[Tensor, "batch dim"], x: Any) -> Float[Tensor, "batch width"]:
        """The decoder's states for codes ``z``."""
        return self.decodes().hidden(z)

    def prepared(self, inputs: Any) -> Iterator[Any]:
        """Prepared inputs in chunks, on the device of the weights."""
        device = next(self.parameters()).device
        for start in range(0, len(inputs), _CHUNK):
            yield self.encoder.collate({"input": inputs[start : start + _CHUNK]})["input"].to(device)

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """How likely held-out examples are, and how their codes lie.

        ``nll``: mean −log p(x|z) in nats at z = μ(x) (summed over pixels or tokens). ``kl``: mean KL(q(z|x) ‖ N(0, I)).
        ``exact`` (molecules): share of strings that come back letter by letter. ``mean_cosine``: of different codes;
        ``rank``: effective rank of the codes. ``knn_accuracy``: leave-one-out nearest neighbour by cosine, where there
        are labels.
        """
        codes, rows = self._codes_and_rows(examples.columns["input"])
        scores = {name: float(values.mean()) for name, values in rows.items()}
        vectors = codes.numpy()[:_PROBED]
        if len(vectors) > 1:
            scores |= {"mean_cosine": mean_cosine(vectors), "rank": effective_rank(vectors)}
            if "label" in examples.columns:
                labels = np.asarray(examples.columns["label"])[:_PROBED]
                scores["knn_accuracy"] = leave_one_out_accuracy(vectors, labels)
        return scores

    def predict(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """For each input: ``nll``, ``kl``; of molecules also the ``reconstruction`` and whether it is ``exact``."""
        _, rows = self._codes_and_rows(columns["input"])
        return {name: values.numpy() for name, values in rows.items()}

    @torch.no_grad()
    def _codes_and_rows(self, inputs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The codes μ, and values of each row; nll in nats whatever the reduction of the loss."""
        codes: list[Tensor] = [torch.zeros(0, self.latent_dim)]
        rows: dict[str, list[Tensor]] = {"kl": []}
        with for_inference(self, "fp32"):
            for x in self.prepared(inputs):
                q = self.code(x)
                codes.append(q.mean.cpu())
                kl = mim.expected_log_posterior(q.log_sigma) - mim.expected_log_prior(q.mean, q.log_sigma)
                rows["kl"].append(kl.cpu())
                if self.decoder is not None:
                    nats = -self.decoder.log_prob(q.mean, self.target(x))
                    rows.setdefault("nll", []).append(nats.cpu())
        return torch.cat(codes), {name: torch.cat(parts) for name, parts in rows.items() if parts}

    @torch.no_grad()
    def reconstruct(self, inputs: Any) -> Any:
        """The likeliest image (uint8), or the string of the likeliest next tokens, for z = μ(x)."""
        decoded: list[Any] = []
        self.decodes()
        with for_inference(self, "fp32"):
            for x in self.prepared(inputs):
                decoded += self.decoded(self.code(x).mean, temperature=0.0, generator=None)
        return self.gathered(decoded)

    @torch.no_grad()
    def sample(self, count: int, *, seed: int = 0, temperature: float = 1.0) -> Any:
        """Images (uint8) or SMILES from z ~ N(0, I). ``temperature``: of the tokens; images are the expected ones."""
        self.decodes()
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(count, self.latent_dim, generator=generator).to(next(self.parameters()).device)
        with for_inference(self, "fp32"):
            return self.gathered(self.decoded(z, temperature=temperature, generator=generator))

    def decoded(self, z: Tensor, *, temperature: float, generator: torch.Generator | None) -> list[Any]:
        """The expected image of each code."""
        pixels = (255 * self.decoder.mean(z)).round().to(torch.uint8)
        return list(pixels.permute(0, 2, 3, 1).cpu().numpy())

    def gathered(self, decoded: list[Any]) -> Any:
        """Images as one array (N, H, W, C)."""
        return np.stack(decoded) if decoded else np.zeros((0, *self.decoder.image_shape), np.uint8)


class MoleculeSystem(System):
    """The same for SMILES: its decoder writes, so it generates."""

    input_kind: Literal["texts", "images", "columns"] = "texts"
    encoder: TextEncoder

    def build_decoder(self) -> nn.Module:
        """p(x|z), token after token, with fresh weights."""
        assert isinstance(self.config.decoder, SequenceDecoderConfig), "checked by validate()"
        ids = self.encoder.tokenizer.get_vocab()
        marks = {"start": ids[START], "end": ids[END]}
        return SequenceDecoder(self.config.decoder, self.latent_dim, len(ids), **marks)

    def target(self, x: Any) -> Any:
        """The tokens themselves."""
        return x

    def num_parts(self, x: Any) -> Any:
        """Tokens of each string, without the mark at its start."""
        return x.lengths - 1

    def states(self, z: Float[Tensor, "batch dim"], x: Any) -> Float[Tensor, "batch width"]:
        """The decoder's states for codes ``z``, averaged over the tokens of ``x``, which it is fed."""
        return self.decodes().hidden(z, x)

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """As for images, with ``exact``."""
        scores = super().evaluate(examples)
        if self.decoder is not None:
            head = list(examples.columns["input"][:200])
            scores["exact"] = float(np.mean([a == b for a, b in zip(head, self.reconstruct(head))]))
        return scores

    def predict(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """As for images, with ``reconstruction`` and ``exact``."""
        rows = super().predict(columns)
        if self.decoder is not None:
            inputs = columns["input"]
            back = self.reconstruct(inputs)
            rows |= {"reconstruction": back, "exact": [a == b for a, b in zip(inputs, back)]}
        return rows

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[str], *, max_tokens: int, temperature: float, top_k: int, seed: int
    ) -> list[str]:
        """What follows each beginning of a SMILES string (or ""), for a code z ~ N(0, I) of its own."""
        decoder, encoder = self.decodes(), self.encoder
        encoder.check([prompt or "C" for prompt in prompts])  # any string but none may be empty
        prefixes = [encoder.tokenizer.encode(prompt, add_special_tokens=False).ids for prompt in prompts]
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(len(prompts), self.latent_dim, generator=generator)
        written = decoder.generate(
            z.to(next(self.parameters()).device),
            prefixes,
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            banned=self._marks(),
            generator=generator,
        )
        return [encoder.tokenizer.decode(ids) for ids in written]

    def decoded(self, z: Tensor, *, temperature: float, generator: torch.Generator | None) -> list[Any]:
        """A string for each code."""
        rows = self.decoder.generate(
            z,
            [[]] * len(z),
            max_tokens=self.encoder.max_tokens,
            temperature=temperature,
            banned=self._marks(),
            generator=generator,
        )
        return [self.encoder.tokenizer.decode(ids) for ids in rows]

    def gathered(self, decoded: list[Any]) -> Any:
        """Strings as a list."""
        return decoded

    def _marks(self) -> list[int]:
        """Tokens that no molecule is written with."""
        ids = self.encoder.tokenizer.get_vocab()
        return [ids[PAD], ids[UNKNOWN]]
