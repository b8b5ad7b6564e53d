"""The few things about several processes that objectives and systems need."""

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """How many processes train together (1 when none were launched)."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor: Tensor) -> Tensor:
        ctx.rows = tensor.shape[0]
        parts = [torch.empty_like(tensor) for _ in range(world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[rank() * ctx.rows : (rank() + 1) * ctx.rows]


def all_gather_with_grad(tensor: Tensor) -> Tensor:
    """The rows of every process, in order of rank; gradients flow back to the process that owns them.

    With the loss a mean over a process's own rows and gradients averaged over processes (as DDP does), the
    update equals that of one process with all rows.
    """
    return _AllGather.apply(tensor) if world_size() > 1 else tensor
