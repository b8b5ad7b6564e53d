"""What a run of ``global-workspace`` is: chaining of operators, or alignment of domains."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ReaderConfig:
    """What classifies single digits, trained in the stage ``reader``. Only for images.

    mlp: pixels → ``hidden`` ReLU → ``hidden`` ReLU → ``width`` tanh → classes. conv: two convolutions that halve
    the image, of ``hidden`` and 2 × ``hidden`` channels with ReLU, then ``width`` tanh → classes.
    """

    network: Literal["mlp", "conv"] = "mlp"
    hidden: int = 64
    width: int = 32

    def validate(self) -> list[str]:
        return _positive(self, ("hidden", "width"))


@dataclass(frozen=True, kw_only=True)
class ChainConfig:
    """Addition by a controller that chains Input, Increment and Output (eq. 1 to 4 of ``system.py``).

    ``reader`` is of images, where modules are learned; numbers have hand-designed modules. ``increment_hidden``: units of
    the learned Increment. The stages of the run are the order in which the parts learn.
    """

    kind: Literal["chain"] = "chain"
    num_steps: int = 12
    hidden: int = 32
    cell: Literal["lstm", "gru"] = "lstm"
    code: Literal["onehot", "onehot0", "thermo", "serial"] = "thermo"
    routing: Literal["soft", "sigmoid", "hard"] = "soft"
    read_gates: bool = False
    entropy_weight: float = 0.0
    ponder_weight: float = 0.0
    reader: ReaderConfig | None = None
    increment_hidden: int | None = None

    def validate(self) -> list[str]:
        errors = _positive(self, ("num_steps", "hidden"))
        if self.routing == "sigmoid" and self.entropy_weight:
            errors.append("entropy_weight is of gates that are shares; with routing=sigmoid leave it at 0")
        for name in ("entropy_weight", "ponder_weight"):
            if getattr(self, name) < 0:
                errors.append(f"{name}={getattr(self, name)} must not be negative")
        if self.reader is None and self.increment_hidden is not None:
            errors.append("increment_hidden is of learned modules, which need a reader; leave it out")
        if self.reader is not None and (self.increment_hidden or 0) < 1:
            errors.append("with a reader, set increment_hidden (for example 64)")
        return errors


@dataclass(frozen=True, kw_only=True)
class AlignConfig:
    """A workspace between domains: encoders, decoders and how much each loss counts (0: it is left out).

    ``num_hidden``: hidden layers of each encoder and decoder. ``fusion_weights``: α of ``broadcast`` while training;
    attention is learned with it and used afterwards, too, the others are equal in use.
    ``temperature``: of the contrastive loss at the start; it is learned.
    """

    kind: Literal["align"] = "align"
    workspace_dim: int = 32
    hidden: int = 128
    num_hidden: int = 2
    translation: float = 1.0
    cycle: float = 1.0
    demi_cycle: float = 1.0
    contrastive: float = 0.1
    broadcast: float = 1.0
    fusion_weights: Literal["equal", "random", "single", "attention"] = "random"
    temperature: float = 0.07

    def validate(self) -> list[str]:
        errors = _positive(self, ("workspace_dim", "hidden", "num_hidden"))
        weights = [getattr(self, name) for name in LOSSES]
        if min(weights) < 0 or not any(weights):
            errors.append(f"the weights of the losses ({', '.join(LOSSES)}) must not be negative, nor all 0")
        if self.fusion_weights == "attention" and not self.broadcast:
            errors.append("fusion_weights=attention is learned from broadcast; give that a weight")
        if self.temperature < 0.01:
            errors.append(f"temperature={self.temperature} is below 0.01, the smallest that is used")
        return errors


LOSSES = ("translation", "cycle", "demi_cycle", "contrastive", "broadcast")


@dataclass(frozen=True, kw_only=True)
class GlobalWorkspaceConfig:
    """``task``: chain or align, told apart by ``kind``."""

    task: ChainConfig | AlignConfig = field(default_factory=ChainConfig)


def _positive(config: object, names: tuple[str, ...]) -> list[str]:
    return [f"{n}={getattr(config, n)} must be at least 1" for n in names if getattr(config, n) < 1]
