"""What one does with a trained cMIM: measure it, look inputs up, reconstruct, generate. Plain Python values in and out."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from brickwork.data.types import Examples
from brickwork.encoders.text import TextEncoder
from brickwork.evaluation.codes import effective_rank, leave_one_out_accuracy, mean_cosine
from brickwork.modules.image_decoder import ImageDecoder
from brickwork.modules.sequence_decoder import SequenceDecoder
from brickwork.representation.inference import for_inference
from brickwork.systems.cmim.objective import expected_log_posterior, expected_log_prior
from brickwork.systems.cmim.smiles import PAD, UNKNOWN, problem_of

if TYPE_CHECKING:
    from brickwork.systems.cmim.system import CmimSystem

_CHUNK = 512
_PROBED = 2000


def batches(system: "CmimSystem", inputs: Any) -> Iterator[Any]:
    """Prepared inputs in chunks, on the device of the weights."""
    device = next(system.parameters()).device
    for start in range(0, len(inputs), _CHUNK):
        yield system.collate({"input": inputs[start : start + _CHUNK]})["input"].to(device)


@torch.no_grad()
def evaluate(system: "CmimSystem", examples: Examples) -> dict[str, float]:
    """How well held-out examples are known, and how their codes lie.

    ``nll``: mean −log p(x|z) in nats at z = μ(x) (summed over pixels or tokens). ``kl``: mean KL(q(z|x) ‖ N(0, I)).
    ``exact`` (molecules): share of strings that come back letter by letter. ``mean_cosine``: of different codes; ``rank``:
    effective rank of the codes. ``knn_accuracy``: leave-one-out nearest neighbour by cosine, where there are labels.
    """
    inputs = examples.columns["input"]
    with for_inference(system, "fp32"):
        codes, numbers = _known(system, inputs)
    found = {name: float(values.mean()) for name, values in numbers.items()}
    if isinstance(system.decoder, SequenceDecoder):
        head = list(inputs[:200])
        found["exact"] = float(np.mean([a == b for a, b in zip(head, reconstruct(system, head))]))
    vectors = codes.numpy()[:_PROBED]
    if len(vectors) > 1:
        found |= {"mean_cosine": mean_cosine(vectors), "rank": effective_rank(vectors)}
        if "label" in examples.columns:
            labels = np.asarray(examples.columns["label"])[:_PROBED]
            found["knn_accuracy"] = leave_one_out_accuracy(vectors, labels)
    return found


@torch.no_grad()
def predict(system: "CmimSystem", inputs: Any) -> dict[str, Any]:
    """For each input: ``nll``, ``kl``; of molecules also the ``reconstruction`` and whether it is ``exact``."""
    with for_inference(system, "fp32"):
        _, numbers = _known(system, inputs)
    found: dict[str, Any] = {name: values.numpy() for name, values in numbers.items()}
    if isinstance(system.decoder, SequenceDecoder):
        back = reconstruct(system, inputs)
        found |= {"reconstruction": back, "exact": [a == b for a, b in zip(inputs, back)]}
    return found


def _known(system: "CmimSystem", inputs: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """The codes μ, and numbers of each row; nll in nats whatever the reduction of the loss."""
    codes: list[Tensor] = [torch.zeros(0, system.latent_dim)]
    rows: dict[str, list[Tensor]] = {"kl": []}
    for x in batches(system, inputs):
        q = system.code(x)
        codes.append(q.mean.cpu())
        kl = expected_log_posterior(q.log_sigma) - expected_log_prior(q.mean, q.log_sigma)
        rows["kl"].append(kl.cpu())
        if system.decoder is not None:
            target = x if isinstance(system.decoder, SequenceDecoder) else (x + 1) / 2
            rows.setdefault("nll", []).append(-system.decoder.log_prob(q.mean, target).cpu())
    return torch.cat(codes), {name: torch.cat(parts) for name, parts in rows.items() if parts}


@torch.no_grad()
def reconstruct(system: "CmimSystem", inputs: Any) -> Any:
    """The likeliest image, or the string of the likeliest next tokens, for z = μ(x)."""
    found: list[Any] = []
    with for_inference(system, "fp32"):
        for x in batches(system, inputs):
            found += _decoded(system, system.code(x).mean, temperature=0.0, generator=None)
    return found if isinstance(system.decoder, SequenceDecoder) else _stacked(system, found)


@torch.no_grad()
def sample(system: "CmimSystem", number: int, *, seed: int, temperature: float) -> Any:
    """Images (uint8) or SMILES from z ~ N(0, I). ``temperature``: of the tokens; images are the expected ones."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(number, system.latent_dim, generator=generator).to(next(system.parameters()).device)
    with for_inference(system, "fp32"):
        found = _decoded(system, z, temperature=temperature, generator=generator)
    return found if isinstance(system.decoder, SequenceDecoder) else _stacked(system, found)


@torch.no_grad()
def complete(
    system: "CmimSystem",
    prompts: Sequence[str],
    *,
    max_tokens: int,
    temperature: float,
    top_k: int,
    seed: int,
) -> list[str]:
    """What follows each beginning of a SMILES string, for a code z ~ N(0, I) of its own."""
    decoder, encoder = system.decodes(), cast(TextEncoder, system.encoder)
    system.collate({"input": [prompt for prompt in prompts if prompt]})  # refuses what is no SMILES
    prefixes = [encoder.tokenizer.encode(prompt, add_special_tokens=False).ids for prompt in prompts]
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(len(prompts), system.latent_dim, generator=generator)
    written = decoder.generate(
        z.to(next(system.parameters()).device),
        prefixes,
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        banned=_marks(encoder),
        generator=generator,
    )
    return [encoder.tokenizer.decode(ids) for ids in written]


def _marks(encoder: TextEncoder) -> list[int]:
    """Tokens that no molecule is written with."""
    known = encoder.tokenizer.get_vocab()
    return [known[PAD], known[UNKNOWN]]


def share_well_formed(smiles: Sequence[str]) -> float:
    """The share of strings whose tokens, branches and ring bonds are in order; valences are not looked at."""
    return float(np.mean([problem_of(text) is None for text in smiles])) if len(smiles) else 0.0


def _decoded(
    system: "CmimSystem", z: Tensor, *, temperature: float, generator: torch.Generator | None
) -> list[Any]:
    decoder = system.decodes()
    if isinstance(decoder, SequenceDecoder):
        encoder = cast(TextEncoder, system.encoder)
        rows = decoder.generate(
            z,
            [[]] * len(z),
            max_tokens=encoder.max_tokens,
            temperature=temperature,
            banned=_marks(encoder),
            generator=generator,
        )
        return [encoder.tokenizer.decode(ids) for ids in rows]
    pixels = (255 * decoder.mean(z)).round().to(torch.uint8)
    return list(pixels.permute(0, 2, 3, 1).cpu().numpy())


def _stacked(system: "CmimSystem", images: list[np.ndarray]) -> np.ndarray:
    assert isinstance(system.decoder, ImageDecoder), "whatever has no decoder was refused"
    return np.stack(images) if images else np.zeros((0, *system.decoder.image_shape), np.uint8)
