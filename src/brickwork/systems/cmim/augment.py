"""Other views of the same example, drawn with a generator that is given: pure functions of their arguments."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def random_shift(
    images: Float[Tensor, "n c h w"], generator: torch.Generator, share: float = 0.125
) -> Float[Tensor, "n c h w"]:
    """Each image moved by up to ``share`` of its height and width (at least a pixel), its edges continued."""
    n, _, height, width = images.shape
    down, right = max(1, int(height * share)), max(1, int(width * share))
    wide = F.pad(images, (right, right, down, down), mode="replicate")
    y = torch.randint(2 * down + 1, (n,), generator=generator).tolist()
    x = torch.randint(2 * right + 1, (n,), generator=generator).tolist()
    return torch.stack([wide[i, :, y[i] : y[i] + height, x[i] : x[i] + width] for i in range(n)])
