"""Mixtures of experts in the blocks of a transformer: each token of a feed-forward half goes to a few of several MLPs.

V-MoE (Riquelme et al., arXiv 2106.05974) with every block sparse, as m2mKD has it (arXiv 2402.16918). What was put into an
encoder is described by plain values (``encoder.inside``), from which :func:`put_inside` makes the same again.

Shape legend: B images, N tokens, D width, E experts, K of them for a token.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.types import RouterOutput
from brickwork.modules.experts import ExpertMlp
from brickwork.modules.routers import TopKRouter
from brickwork.modules.slots import Followed, joints


class ExpertHalf(nn.Module):
    """Σ over the K likeliest experts of p_e·MLP_e(x), p the softmax over these K; the gate is a matrix. No biases."""

    def __init__(self, width: int, hidden: int, experts: int, active: int):
        super().__init__()
        self.router = TopKRouter(
            width, experts, active, scorer="linear", gate_norm="topk", losses=("switch",)
        )
        self.experts = ExpertMlp(experts, width, hidden, init="kaiming", computation="auto")

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """Each token by itself."""
        flat = x.flatten(0, 1)
        return self.experts(flat, self.router(flat)).view_as(x)


def put_inside(encoder: Any, inside: Mapping[str, Any]) -> None:
    """Replaces the feed-forward halves of an image encoder that is a vision transformer by mixtures of ``experts``, of which
    a token uses ``active``; and puts joints behind some blocks (:func:`brickwork.modules.slots.joints`), where ``inside``
    has ``joints``: ``after`` which blocks, ``outer``: the width between its two maps, and their ``kind``."""
    vit = encoder.network
    for block in vit.blocks:
        block.mlp = ExpertHalf(vit.width, vit.mlp_width, inside["experts"], inside["active"])
    if described := inside.get("joints"):
        for place in described["after"]:
            then = joints(described["kind"], inner=vit.width, outer=described["outer"])
            vit.blocks[place] = Followed(vit.blocks[place], then)
    encoder.inside = dict(inside)


@contextmanager
def routings(model: nn.Module) -> Iterator[list[RouterOutput]]:
    """What the routers of ``model`` decide while entered, first block first."""
    results: list[RouterOutput] = []

    def keep(module: nn.Module, inputs: Any, output: RouterOutput) -> None:
        results.append(output)

    handles = [m.register_forward_hook(keep) for m in model.modules() if isinstance(m, TopKRouter)]
    try:
        yield results
    finally:
        for handle in handles:
            handle.remove()
