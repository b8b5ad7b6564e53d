"""The options of a run of ``configurable-foundation-models``."""

from dataclasses import dataclass
from typing import Annotated, Literal

from brickwork.core.config import above, at_least, at_most, idle

Activation = Literal["mean_abs", "max_relu"]
Direction = Literal["positive", "both"]


@dataclass(frozen=True, kw_only=True)
class OwnBase:
    """A language model from scratch, of bytes, in the shape of Llama; the stage ``base`` of a run trains it.

    Its input embeddings stay as they were drawn: requests are compared by them. ``hidden``: neurons of each MLP.
    """

    width: Annotated[int, at_least(8)] = 64
    num_layers: Annotated[int, at_least(1)] = 2
    num_heads: Annotated[int, at_least(1)] = 4
    hidden: Annotated[int, at_least(1)] = 256

    def validate(self) -> list[str]:
        """What does not fit."""
        if self.width % (2 * self.num_heads):
            return [f"width={self.width} must be a multiple of twice num_heads={self.num_heads}"]
        return []


@dataclass(frozen=True, kw_only=True)
class Emergent:
    """How the emergent bricks of a language model are found: the neurons that serve one domain of the data.

    ``texts``: of each domain, at most: from the first half neurons are scored, on the second half is measured what erasing
    them costs. ``activation`` of a neuron on a text: the mean of its size over tokens, or the largest value above zero.
    ``direction``: neurons that are active on the domain, or also those that are silent on it alone.
    ``share`` of all neurons in a domain's brick; as many of the most active of each layer are residents, which serve every
    domain. ``groups``: of neurons with similar keys, in each layer. ``permutations``: shuffles of the labels behind what
    chance gives. ``nulls``: of them, so many rows are erased.
    """

    texts: Annotated[int, at_least(4)] = 24
    activation: Activation = "mean_abs"
    direction: Direction = "positive"
    share: Annotated[float, above(0), at_most(0.5)] = 0.05
    groups: Annotated[int, at_least(2)] = 16
    permutations: Annotated[int, at_least(1)] = 10
    nulls: Annotated[int, at_least(1)] = 2


@dataclass(frozen=True, kw_only=True)
class BricksConfig:
    """How to build a library of bricks, one for each domain of the data.

    ``base``: ``smollm2-135m``, a folder of transformers, a hub id, or a language model from scratch. ``revision``: of a hub
    model. ``context``: texts are cut into windows of so many tokens.
    ``kind``: low-rank updates (``lora``), a ``prompt`` of vectors before the text, or an ``expert`` block of neurons beside
    each MLP. Of lora: ``rank`` r (none: 8), ``alpha`` α (none: 16), ``targets`` (regular expression on the ends of layer
    names; none: queries and values), and which ``ranks`` are trained: ``all`` up to r, a random one each step (DyLoRA;
    none), or the ``full`` one alone. ``length``: vectors of a prompt (none: 8). ``neurons``: of an expert block (none: 32).
    ``abstain``: share of a brick's own texts that its key may turn away: the more, the more readily strange requests go to
    the base.
    ``find``: no brick is trained; those that emerged in the base are found. The base may then be a run folder of a language
    model of ours as well.
    """

    base: str | OwnBase = "smollm2-135m"
    revision: str | None = None
    context: Annotated[int, at_least(3)] = 128
    kind: Literal["lora", "prompt", "expert"] = "lora"
    rank: Annotated[int | None, at_least(1)] = None
    alpha: Annotated[float | None, above(0)] = None
    targets: str | None = None
    ranks: Literal["all", "full"] | None = None
    length: Annotated[int | None, at_least(1)] = None
    neurons: Annotated[int | None, at_least(1)] = None
    abstain: Annotated[float, at_least(0), at_most(0.5)] = 0.05
    find: Emergent | None = None

    def validate(self) -> list[str]:
        """Options without effect."""
        if self.find is not None:
            return self._idle_when_finding()
        cause = f"kind={self.kind}"
        own = {"lora": ("rank", "alpha", "targets", "ranks"), "prompt": ("length",), "expert": ("neurons",)}
        others = [name for kind, names in own.items() if kind != self.kind for name in names]
        base = ("revision",) if isinstance(self.base, OwnBase) or self.base == "smollm2-135m" else ()
        return [*idle(self, others, cause), *idle(self, base, "this base")]

    def _idle_when_finding(self) -> list[str]:
        cause = "model.find, which trains no brick"
        names = ("rank", "alpha", "targets", "ranks", "length", "neurons")
        changed = [name for name in ("kind", "abstain") if getattr(self, name) != getattr(BricksConfig, name)]
        own = ("revision",) if isinstance(self.base, OwnBase) or self.base == "smollm2-135m" else ()
        return [
            *idle(self, (*names, *changed), cause),
            *idle(self, own, "this base"),
            *(["a base from scratch has learnt nothing: train it in a run, and give its folder as model.base"]
              if isinstance(self.base, OwnBase) else []),
        ]  # fmt: skip
