"""The contrastive term of random codes: what it expects to be at each number of negatives. Nothing is trained."""

from collections.abc import Mapping
from statistics import fmean

import torch

from brickwork.objectives.contrastive import self_contrastive
from brickwork.studies.bench import Trained

DRAWN = 32_768
"""Codes for each size of batch, so that means of small and large batches are equally sure."""
_SIZES = (2, 8, 32, 128, 1024)
_CODES = ("normal", "mixture", "cone")


def drawn_codes(seed: int) -> Trained:
    """An arm without a model: codes are drawn where they are measured."""
    return Trained(None, None, seed, DRAWN * len(_SIZES) * len(_CODES), 0.0, trainings=0)


def expected_terms(forms: Mapping[str, Trained]) -> dict[tuple[str, str, str], float]:
    """(codes, form, size of batch) → the mean of ℓ_c over batches of drawn codes of 64 dimensions."""
    generator = torch.Generator().manual_seed(forms["mean form"].seed)
    # One mixture for all sizes: with centres drawn for each batch, large batches would see few mixtures.
    centres = 2 * torch.randn(10, 64, generator=generator)
    return {
        (codes, form, f"B={size}"): fmean(
            float(self_contrastive(_draw(codes, size, centres, generator), temperature=0.5, form=form))
            for _ in range(DRAWN // size)
        )
        for codes in _CODES
        for form in ("mean", "sum")
        for size in _SIZES
    }


def _draw(codes: str, rows: int, centres: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(rows, 64, generator=generator)
    if codes == "mixture":
        return centres[torch.randint(10, (rows,), generator=generator)] + noise
    return noise + (1.5 if codes == "cone" else 0.0)
