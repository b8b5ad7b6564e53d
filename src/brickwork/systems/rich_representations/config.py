"""The options of a run of ``rich-representations``, and the stages that follow from them."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from brickwork.core.config import above, at_least, below, idle
from brickwork.core.errors import ConfigError
from brickwork.encoders.config import ImageEncoderConfig, PretrainedImageConfig, TextEncoderConfig
from brickwork.training.config import Stage

MEMBERS = 5
TEMPERATURE = 10.0
_ENCODER = ImageEncoderConfig()


@dataclass(frozen=True, kw_only=True)
class Config:
    """``encoder``: what each member is; not used with ``runs`` or a ``start``.

    ``members``: how many (None = 5). ``episodes``: each from a seed of its own (None), or ``snapshots`` of one training.
    ``runs``: folders of finished runs whose encoders are the members, instead of new ones.
    ``learn``: the members ``apart``, each with a head of its own (None, unless there are runs); all ``jointly`` as one
    network with one head; or the ``heads`` alone, on members that stay as they are (None with ``runs``).
    ``head_share``: share of the steps in which one head on all members is trained, starting from the average of their
    heads; None = 0.1; 0 = the average itself.
    ``distil``: end with one network that learns from all heads, and keep that one. ``temperature``: τ of it, None = 10.
    """

    encoder: TextEncoderConfig | ImageEncoderConfig | PretrainedImageConfig = _ENCODER
    members: Annotated[int | None, at_least(1)] = None
    episodes: Literal["seeds", "snapshots"] | None = None
    runs: tuple[str, ...] = ()
    learn: Literal["apart", "jointly", "heads"] | None = None
    head_share: Annotated[float | None, at_least(0), below(1)] = None
    distil: bool = False
    temperature: Annotated[float | None, above(0)] = None

    def validate(self) -> list[str]:
        problems = []
        if self.runs:
            problems += idle(
                self, ("members", "episodes"), "runs, which are the members (recipe small sets neither)"
            )
        if self.mode != "apart":
            problems += idle(self, ("episodes",), f"learn={self.mode}: members have no episodes")
        if self.mode == "jointly":
            problems += idle(self, ("head_share",), "learn=jointly: there is one head from the start")
            if self.distil:
                problems.append("distil has no effect with learn=jointly, which has one head; leave it out")
        if self.distil:
            problems += idle(self, ("head_share",), "distil: a student learns from the members' own heads")
        else:
            problems += idle(self, ("temperature",), "distil=false")
        if getattr(self.encoder, "adapt", "full") != "full":
            problems.append(
                f"encoder.adapt={self.encoder.adapt}: members are trained whole; leave it out, or train each with another "  # type: ignore[union-attr]
                "system (matryoshka, stationary-compat) and another --seed, and join them: --set model.runs=runs/a,runs/b"
            )
        return problems

    @property
    def count(self) -> int:
        """n, the number of members."""
        return len(self.runs) or self.members or MEMBERS

    @property
    def mode(self) -> Literal["apart", "jointly", "heads"]:
        """What learns."""
        return self.learn or ("heads" if self.runs else "apart")

    @property
    def share(self) -> float:
        """Of the steps, for one head on all members."""
        if self.mode == "jointly" or self.distil:
            return 0.0
        return 0.1 if self.head_share is None else self.head_share

    @property
    def tau(self) -> float:
        """τ."""
        return self.temperature or TEMPERATURE


def stages_of(config: Config, steps: int) -> tuple[Stage, ...]:
    """``steps`` in all: one stage an episode, all of equal length; then the head on all members, or a student, which has as
    many steps as an episode.

    Raises:
        ConfigError: fewer steps than stages.
    """
    members = "teacher" if config.distil else "encoder"
    if config.mode == "jointly":
        stages = [Stage(name="jointly", trains=(f"{members}.members.*", "head.*"))]
    elif config.mode == "heads":
        stages = [Stage(name="heads", trains=("heads.*",))]
    else:
        stages = [
            Stage(name=f"member {number + 1}", trains=(f"{members}.members.{number}.*", f"heads.{number}.*"))
            for number in range(config.count)
        ]
    if config.distil:
        stages.append(Stage(name="distil", trains=("encoder.*", "student_heads.*")))
    last = max(1, round(config.share * steps)) if config.share else 0
    each, left = divmod(steps - last, len(stages))
    if each < 1:
        raise ConfigError(
            f"train.steps={steps} is too few for {len(stages) + bool(last)} stages; use more, or fewer members"
        )
    timed = [replace(stage, steps=each + (number < left)) for number, stage in enumerate(stages)]
    return (*timed, *([Stage(name="head", trains=("head.*",), steps=last)] if last else []))
