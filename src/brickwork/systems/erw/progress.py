"""What a training leaves of its course: samples of the same noise, their distance from images, and the operations spent."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from brickwork.evaluation.frechet import frechet_of_moments, moments

PICTURES = 8
_MARKS = 20  # after 1, 2, 4, … updates
_FROM = 32  # samples are compared with images from this update on
_COMPARED = 200
_SEEN = 1000  # images by which the true distribution is known


class Album(nn.Module):
    """Samples after 1, 2, 4, … updates of the whole network, from the same noise and of the same classes; what they had
    cost, and their distance from images (infinite where it was not measured)."""

    def __init__(self, image_shape: tuple[int, int, int]):
        super().__init__()
        self.image_shape = image_shape
        self.updates: Tensor
        self.filled_marks: Tensor
        self.images: Tensor
        self.cost: Tensor
        self.distance: Tensor
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("filled_marks", torch.zeros((), dtype=torch.int64))
        self.register_buffer("images", torch.zeros(_MARKS, PICTURES, *image_shape, dtype=torch.uint8))
        self.register_buffer("cost", torch.zeros(_MARKS, dtype=torch.float64))
        self.register_buffer("distance", torch.full((_MARKS,), torch.inf, dtype=torch.float64))

    @property
    def filled(self) -> int:
        """Marks that were reached."""
        return int(self.filled_marks)

    def due(self) -> bool:
        """Counts an update; whether it is one of the marks."""
        self.updates += 1
        count = int(self.updates)
        return count & (count - 1) == 0 and self.filled < _MARKS

    @property
    def compares(self) -> bool:
        """Whether samples are good enough at the mark of now for a distance to mean anything."""
        return int(self.updates) >= _FROM

    def labels(self, num_classes: int) -> Int64[Tensor, " images"]:
        return torch.arange(PICTURES) % num_classes

    def noise(self, seed: int) -> Float[Tensor, "images channels height breadth"]:
        return self._noise(seed, PICTURES)

    def many(
        self, seed: int, shown: Int64[Tensor, " classes"]
    ) -> tuple[Int64[Tensor, " images"], Float[Tensor, "images channels height breadth"]]:
        """Classes, each as often as images of it were ``shown``, and noise, of as many images as a distance is measured
        with: with other shares a generator without fault would be far from the images."""
        shares = shown.cpu().double().cumsum(0) / shown.sum().cpu()
        label = torch.searchsorted(shares, (torch.arange(_COMPARED) + 0.5) / _COMPARED)
        return label, self._noise(seed + 1, _COMPARED)

    def _noise(self, seed: int, count: int) -> Tensor:
        height, width, channels = self.image_shape
        return torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(seed))

    def keep(self, images: UInt8[np.ndarray, "images h w c"], cost: float, distance: float) -> None:
        """Fills the next mark."""
        place = self.filled
        self.images[place] = torch.from_numpy(images).to(self.images.device)
        self.cost[place], self.distance[place] = cost, distance
        self.filled_marks += 1


class Spent(nn.Module):
    """Floating-point operations by what they were for, whether encoder and judge were trained, and mean and covariance of
    what the judge sees in images of the training, ``shown`` so many of each class."""

    def __init__(self, dim: int, num_classes: int):
        super().__init__()
        self.parts: Tensor
        self.flags: Tensor
        self.mean: Tensor
        self.scatter: Tensor
        self.count: Tensor
        self.shown: Tensor
        self.register_buffer("shown", torch.zeros(num_classes, dtype=torch.int64))
        self.register_buffer("parts", torch.zeros(3, dtype=torch.float64))  # encoder, warm-up, generator
        self.register_buffer("flags", torch.zeros(2, dtype=torch.int64))  # encoder and judge: trained
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("scatter", torch.zeros(dim, dim, dtype=torch.float64))

    def teacher(self, flops: int) -> None:
        if self.training:
            self.parts[0] += flops

    def generator(self, flops: int, *, warm: bool = False) -> None:
        if self.training:
            self.parts[1 if warm else 2] += flops

    def teacher_done(self) -> None:
        self.flags[0] = 1

    def judge_done(self) -> None:
        self.flags[1] = 1

    @property
    def teacher_trained(self) -> bool:
        return bool(self.flags[0])

    @property
    def judged(self) -> bool:
        return bool(self.flags[1])

    @property
    def before(self) -> tuple[float, float]:
        """What had been spent on the encoder, and on the warm-up."""
        encoder, warm, _ = self.parts.tolist()
        return encoder, warm

    def flops(self) -> float:
        """All that was spent on the generator: the training of the encoder and its answers, the warm-up, and the rest."""
        return float(self.parts.sum())

    @torch.no_grad()
    def look_at(self, x: Tensor, label: Int64[Tensor, " batch"], judged: Callable[[Tensor], Tensor]) -> None:
        """Takes a batch of images into the moments, until enough were seen."""
        if not self.judged or int(self.count) >= _SEEN:
            return
        features = judged(x).double()
        together = int(self.count) + len(features)
        mean = features.mean(0)
        centred, away = features - mean, mean - self.mean
        # Chan, Golub and LeVeque 1983: the scatter of two parts together.
        self.scatter += (
            centred.T @ centred + torch.outer(away, away) * int(self.count) * len(features) / together
        )
        self.mean += away * len(features) / together
        self.count += len(features)
        self.shown += torch.bincount(label, minlength=len(self.shown))

    @property
    def comparable(self) -> bool:
        """Whether the images that were seen have a covariance, and so many samples can have one."""
        return self.judged and int(self.count) > len(self.mean) < _COMPARED

    def distance(self, features: Float[np.ndarray, "images dim"]) -> float:
        """The Fréchet distance of samples from the images that were seen."""
        covariance = self.scatter / (int(self.count) - 1)
        return frechet_of_moments(*moments(features), self.mean.cpu().numpy(), covariance.cpu().numpy())
