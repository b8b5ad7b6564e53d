"""Neural Attentive Circuits: latents that exchange messages along a learned graph, the second student of ``m2mkd``.

Rahaman, Weiss, Locatello, Pal, Bengio, Schölkopf, Li, Ballas: Neural Attentive Circuits. NeurIPS 2022, arXiv 2210.08031; in
slots: Lo et al., arXiv 2402.16918.

| paper | here | shape | meaning |
|---|---|---|---|
| s_u | ``signatures`` | (U, S) | where latent u is in the graph: input, then mediator, then output latents |
| c_u | ``codes`` | (U, E) | what it computes |
| z_u | ``states`` | (B, U, D) | what it holds of an image |
| μ, logvar | ``seed_mean``, ``seed_log_variance`` | | states to begin with, of the codes |
| ε | ``bandwidths[l]`` | | of the kernel of a propagator, and of the read-out |

Images → tokens → read-in to the input latents → propagators, in which mediators receive from input latents and mediators →
read-out to the output latents, of which one answer is pooled.

In the meta network (:meth:`Circuit.slots`) there is no graph: the read-in hands on one token, a propagator is attention of
all tokens to all, and the read-out has one latent. What code and state they have is drawn once, for each slot, and does not
learn.
What learns there are the matrices, which are the same parameters in the assembled circuit; codes, signatures and states to
begin with it learns afterwards (:meth:`Circuit.learnt_in_slots`).

Differences from the paper. Nothing is drawn in evaluation: states begin at their mean and the pooling has no Gumbel noise,
where the authors draw both anew; an answer is the same each time it is asked for. In training all draws are a function of
seed, step and row. A link that is cut is cut exactly in training too (theirs keeps a weight of about e⁻³²), and a latent
that is cut off from all gets no message, where theirs has no number. The state of a slot is one for all images, not one for
each place in the batch, so that batches may have any size. No depth is dropped in slots. The stem has as many tokens as a
ViT with the same patches, and its blocks begin at a scale of 0.1, not 1e-6. The read-out's head is a norm, then the pooling.

Shape legend: B images, N tokens of the meta network, U latents, D width, E width of codes, S of signatures, L propagators.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.modules.heads import classifier
from brickwork.modules.slots import Report, Stitch, StitchKind, joints
from brickwork.systems.m2mkd.circuit_graph import (
    Prior,
    distances,
    fitted_signatures,
    log_kernel,
    log_links,
    repulsion,
)
from brickwork.systems.m2mkd.circuit_layers import (
    GraphAttention,
    ModFFN,
    Noise,
    Residual,
    TokenAttention,
    Tokeniser,
)

_LOG_VARIANCE = -5.0


class ReadIn(nn.Module):
    """Input latents read the tokens of an image."""

    def __init__(self, token_dim: int, width: int, heads: int, drop: float):
        super().__init__()
        self.attention = TokenAttention(token_dim, width, width, heads)
        self.residual, self.ffn = Residual(width, 0.0), ModFFN(width, width, drop)

    def forward(
        self,
        states: Float[Tensor, "batch u d"],
        codes: Float[Tensor, "u e"],
        tokens: Float[Tensor, "batch v t"],
        noise: Noise | None = None,
    ) -> Float[Tensor, "batch u d"]:
        """New states."""
        states = self.residual(states, self.attention(states, codes, tokens))
        return self.ffn(states, codes, noise, "read in")


class Propagator(nn.Module):
    """Mediators receive from their neighbours, and change what they hold."""

    def __init__(self, width: int, heads: int, drop: float):
        super().__init__()
        self.attention = GraphAttention(width, width, heads)
        self.residual, self.ffn = Residual(width, drop), ModFFN(width, width, drop)

    def forward(
        self,
        states: Float[Tensor, "batch u d"],
        codes: Float[Tensor, "#u e"],
        senders: Float[Tensor, "batch v d"],
        sender_codes: Float[Tensor, "#v e"],
        log_p: Float[Tensor, "#batch u v"] | None = None,
        noise: Noise | None = None,
        name: str = "",
    ) -> Float[Tensor, "batch u d"]:
        """New states."""
        message = self.attention(states, codes, senders, sender_codes, log_p)
        return self.ffn(self.residual(states, message, noise, name), codes, noise, name)


class ReadOut(nn.Module):
    """Output latents receive from all others, keep nothing of what they held, and are pooled to one answer."""

    def __init__(self, width: int, heads: int, drop: float, classes: int):
        super().__init__()
        self.attention, self.ffn = GraphAttention(width, width, heads), ModFFN(width, width, drop)
        self.norm, self.confidence = nn.LayerNorm(width), nn.Linear(width, 1)
        self.head = classifier(width, classes)

    def forward(
        self,
        states: Float[Tensor, "batch u d"],
        codes: Float[Tensor, "u e"],
        senders: Float[Tensor, "batch v d"],
        sender_codes: Float[Tensor, "#v e"],
        log_p: Float[Tensor, "#batch u v"] | None = None,
        noise: Noise | None = None,
    ) -> Float[Tensor, "batch d"]:
        """The pooled vector: Σ_u softmax_u(confidence + Gumbel noise) z_u."""
        states = self.norm(
            self.ffn(self.attention(states, codes, senders, sender_codes, log_p), codes, noise, "read out")
        )
        confidence = self.confidence(states)
        if noise is not None:
            confidence = confidence + noise.gumbel("pool", confidence, states.shape[1], 1)
        return (confidence.softmax(1) * states).sum(1)


class Joint(nn.Module):
    """Stitches that are kept: h + φ(GELU(ψ(LN h)))."""

    def __init__(self, kind: StitchKind, *, inner: int, outer: int):
        super().__init__()
        self.norm, self.maps = nn.LayerNorm(inner), joints(kind, inner=inner, outer=outer)

    def forward(self, h: Float[Tensor, "batch u d"]) -> Float[Tensor, "batch u d"]:
        """Of the states behind a slot."""
        return h + self.maps[1](F.gelu(self.maps[0](self.norm(h))))


class Circuit(nn.Module):
    """The network, for images of a shape and a number of classes. ``joints``: the kind of stitches that stay in it, and
    the width of the meta network; None = none stay. ``mediators``: their signatures, where the graph is not to be made of
    ``prior`` and ``seed``.

    Raises:
        ConfigError: mediators of which the graph cannot be made.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        classes: int,
        *,
        patch: int,
        seed: int,
        width: int = 64,
        num_heads: int = 2,
        latents: tuple[int, int, int] = (16, 32, 8),
        propagators: int = 3,
        signature_dim: int = 16,
        prior: Prior = "scale_free",
        stem_blocks: int = 1,
        place_dim: int = 16,
        drop: float = 0.1,
        joints: tuple[StitchKind, int] | None = None,
        mediators: Float[Tensor, "m s"] | None = None,
    ):
        super().__init__()
        self.width, self.latents = width, latents
        self.tokeniser = Tokeniser(
            image_shape, patch=patch, width=width, blocks=stem_blocks, place_dim=place_dim
        )
        self.read_in = ReadIn(self.tokeniser.dim, width, num_heads, drop)
        self.propagators = nn.ModuleList(Propagator(width, num_heads, drop) for _ in range(propagators))
        self.read_out = ReadOut(width, num_heads, drop, classes)
        first, middle, last = latents
        self.codes = nn.Parameter(torch.randn(sum(latents), width))
        free = torch.randn(first + last, signature_dim)
        if mediators is None:
            mediators = fitted_signatures(prior, middle, signature_dim, seed)
        self.signatures = nn.Parameter(torch.cat([free[:first], mediators, free[first:]]))
        self.bandwidths = nn.Parameter(torch.ones(propagators + 1))
        self.seed_norm = nn.LayerNorm(width)
        self.seed_mean, self.seed_log_variance = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.constant_(self.seed_log_variance.bias, _LOG_VARIANCE)
        self.joints = nn.ModuleList(
            Joint(kind, inner=width, outer=outer)
            for kind, outer in ([] if joints is None else [joints] * (propagators + 1))
        )
        self.slot_codes: Tensor
        self.slot_states: Tensor
        self.register_buffer("slot_codes", torch.randn(propagators + 2, 1, width))
        self.register_buffer("slot_states", torch.randn(2, 1, 1, width))
        self.noise: Noise | None = None

    # ---- the assembled circuit ---------------------------------------------------------------------------------------

    def vector(self, images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch d"]:
        """What the classifier reads. While it trains, and :func:`drawing` says from what, links, states, pooling and
        depth are drawn for each image; otherwise nothing is."""
        noise = self.noise if self.training else None
        first, middle, _ = self.latents
        inputs, mediators, outputs = self._seeds(len(images), noise).split(self.latents, 1)
        code_in, code_middle, code_out = self.codes.split(self.latents)
        inputs = self._joined(0, self.read_in(inputs, code_in, self.tokeniser(images), noise))
        distance = distances(self.signatures[first:], self.signatures[: first + middle])
        codes = self.codes[: first + middle]
        for place, propagator in enumerate(self.propagators):
            log_p = self._links(distance[:middle], place, noise)
            senders = torch.cat([inputs, mediators], 1)
            mediators = propagator(
                mediators, code_middle, senders, codes, log_p, noise, f"propagator {place}"
            )
            mediators = self._joined(place + 1, mediators)
        log_p = self._links(distance[middle:], len(self.propagators), noise)
        return self.read_out(outputs, code_out, torch.cat([inputs, mediators], 1), codes, log_p, noise)

    def forward(self, images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch classes"]:
        """Logits."""
        return self.read_out.head(self.vector(images))

    def _seeds(self, count: int, noise: Noise | None) -> Float[Tensor, "batch u d"]:
        """z⁰ = μ(LN c) + ε·exp(½·logvar(LN c))."""
        codes = self.seed_norm(self.codes)
        mean = self.seed_mean(codes).expand(count, -1, -1)
        if noise is None:
            return mean
        drawn = noise.normal("seeds", mean, *mean.shape[1:])
        return mean + drawn * (self.seed_log_variance(codes) / 2).exp()

    def _links(
        self, distance: Float[Tensor, "u v"], place: int, noise: Noise | None
    ) -> Float[Tensor, "#batch u v"]:
        uniform = None if noise is None else noise.uniform(f"links {place}", distance, *distance.shape)
        return log_links(log_kernel(distance, self.bandwidths[place]), uniform)

    def _joined(self, place: int, states: Tensor) -> Tensor:
        return self.joints[place](states) if len(self.joints) else states

    def repulsion(self) -> Float[Tensor, ""]:
        """The regulariser of the signatures of all latents."""
        return repulsion(self.signatures)

    # ---- in slots ----------------------------------------------------------------------------------------------------

    def slots(self) -> tuple[nn.Module, ...]:
        """Tokeniser and read-in, each propagator, and the read-out, as they stand in a meta network; the same parameters."""
        codes, states = self.slot_codes, self.slot_states
        return (
            ReadInSlot(self.tokeniser, self.read_in, code=codes[0], state=states[0]),
            *(
                PropagatorSlot(cast(Propagator, one), codes[place])
                for place, one in enumerate(self.propagators, 1)
            ),
            ReadOutSlot(self.read_out, code=codes[-1], state=states[1]),
        )

    def assemble(self, stitches: Sequence[nn.Module]) -> None:
        """Puts ψ of each slot and φ of the next between them, where they are kept."""
        for place, joint in enumerate(self.joints):
            before, after = (cast(Stitch, stitches[place + step]) for step in (0, 1))
            assert before.out is not None, "only the last slot has no ψ"
            assert after.into is not None, "only the first slot has no φ"
            maps = cast(Joint, joint).maps
            maps[0].load_state_dict(before.out.state_dict())
            maps[1].load_state_dict(after.into.state_dict())

    def learnt_in_slots(self) -> Report:
        """Which parameters of the assembled circuit come from its slots, and which begin afresh."""
        from_slots = {id(p) for slot in self.slots() for p in slot.parameters()}
        names = dict(self.named_parameters())
        shapes = {name: tuple(p.shape) for name, p in names.items() if id(p) in from_slots}
        fresh = {
            name: f"{tuple(p.shape)}, from the stitches"
            if name.startswith("joints") and ".maps." in name
            else f"{tuple(p.shape)}, not in any slot: it begins afresh"
            for name, p in names.items()
            if name not in shapes
        }
        return Report(tuple(shapes), fresh, shapes)


def _keep_drawn(slot: nn.Module, **drawn: Tensor) -> None:
    """What a slot was drawn with is part of its state: it goes where the slot goes (:func:`modules.slots.transfer`)."""
    for name, tensor in drawn.items():
        slot.register_buffer(name, tensor)


class ReadInSlot(nn.Module):
    """Images to one token."""

    code: Tensor
    state: Tensor

    def __init__(self, tokeniser: Tokeniser, read_in: ReadIn, *, code: Tensor, state: Tensor):
        super().__init__()
        self.tokeniser, self.read_in = tokeniser, read_in
        _keep_drawn(self, code=code, state=state)

    def forward(self, images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch 1 d"]:
        """The token."""
        state = self.state.expand(len(images), -1, -1)
        return self.read_in(state, self.code, self.tokeniser(images))


class PropagatorSlot(nn.Module):
    """Tokens to tokens; all receive from all."""

    code: Tensor

    def __init__(self, propagator: Propagator, code: Tensor):
        super().__init__()
        self.propagator = propagator
        _keep_drawn(self, code=code)

    def forward(self, x: Float[Tensor, "batch n d"]) -> Float[Tensor, "batch n d"]:
        """New tokens."""
        return self.propagator(x, self.code, x, self.code)


class ReadOutSlot(nn.Module):
    """Tokens to logits."""

    code: Tensor
    state: Tensor

    def __init__(self, read_out: ReadOut, *, code: Tensor, state: Tensor):
        super().__init__()
        self.read_out = read_out
        _keep_drawn(self, code=code, state=state)

    def forward(self, x: Float[Tensor, "batch n d"]) -> Float[Tensor, "batch classes"]:
        """Logits."""
        state = self.state.expand(len(x), -1, -1)
        return self.read_out.head(self.read_out(state, self.code, x, self.code))


@contextmanager
def drawing(model: nn.Module, noise: Noise) -> Iterator[None]:
    """The circuits in ``model`` draw from ``noise`` while entered, if they train."""
    circuits = [module for module in model.modules() if isinstance(module, Circuit)]
    for circuit in circuits:
        circuit.noise = noise
    try:
        yield
    finally:
        for circuit in circuits:
            circuit.noise = None
