"""The options of a run of ``m2mkd``, and the stages that follow from them."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from brickwork.core.config import above, at_least, at_most, below, idle
from brickwork.core.errors import ConfigError
from brickwork.data.augment import Augmentation, Mixing
from brickwork.modules.slots import StitchKind
from brickwork.objectives.distillation import Reduction
from brickwork.systems.m2mkd.circuit_graph import Prior, groups
from brickwork.training.config import Stage

WIDTH, DEPTH, PATCH = 96, 6, 4
_MIXING, _VIEWS = Mixing(smoothing=0.1), Augmentation()
_INCUBATED = (
    0.3,
    0.25,
    0.25,
    0.2,
)  # of the steps for the teacher: meta network, its slots, all of it, meta again
_GIVEN = (0.3, 0.7)  # classifier, meta network


@dataclass(frozen=True, kw_only=True)
class Experts:
    """A student that is a vision transformer whose feed-forward halves are mixtures of experts (V-MoE).

    ``width``, ``depth``, ``num_heads`` (None = width / 32): of its blocks. ``experts``: in each block, each four times as
    wide as the tokens; ``active``: of them for a token. ``balance``: weight of the Switch loss that evens their use (0:
    none, as the authors). ``embedding_dim``: of its vectors (None = ``width``).
    """

    kind: Literal["experts"] = "experts"
    width: Annotated[int, at_least(1)] = 64
    depth: Annotated[int, at_least(2)] = 6
    num_heads: Annotated[int, at_least(1)] | None = None
    experts: Annotated[int, at_least(1)] = 8
    active: Annotated[int, at_least(1)] = 2
    balance: Annotated[float, at_least(0)] = 0.0
    embedding_dim: Annotated[int, at_least(1)] | None = None

    def validate(self) -> list[str]:
        errors = []
        heads = self.num_heads or max(1, self.width // 32)
        if self.width % heads:
            errors.append(f"width {self.width} is not a multiple of num_heads {heads}")
        if self.active > self.experts:
            errors.append(f"active is {self.active}; there are experts={self.experts}: use at most so many")
        return errors


@dataclass(frozen=True, kw_only=True)
class Circuits:
    """A student of latents that exchange messages along a learned graph (Neural Attentive Circuits): the first slot makes
    tokens of images and reads them, each of the others but the last passes messages once, the last reads out.

    ``width``, ``num_heads`` (None = width / 32): of all latents; vectors are as wide. ``inputs``, ``mediators``,
    ``outputs``: how many of each kind. ``prior``: the graph that the mediators begin as; ``signature_dim``: dimensions of
    the places in it. ``stem_blocks``: convolutional blocks in each of the two stages before the tokens; ``place_dim``: of
    what is learnt for a place in the image. ``drop``: share of images that leave out a message while it trains.
    ``repulsion``: weight of what keeps latents apart in the graph.
    """

    kind: Literal["circuits"] = "circuits"
    width: Annotated[int, at_least(4)] = 64
    num_heads: Annotated[int, at_least(1)] | None = None
    inputs: Annotated[int, at_least(1)] = 16
    mediators: Annotated[int, at_least(3)] = 32
    outputs: Annotated[int, at_least(1)] = 8
    prior: Prior = "scale_free"
    signature_dim: Annotated[int, at_least(2)] = 16
    stem_blocks: Annotated[int, at_least(1)] = 1
    place_dim: Annotated[int, at_least(1)] = 16
    drop: Annotated[float, at_least(0), below(1)] = 0.1
    repulsion: Annotated[float, at_least(0)] = 0.1

    def validate(self) -> list[str]:
        errors = []
        heads = self.num_heads or max(1, self.width // 32)
        if self.width % heads:
            errors.append(f"width {self.width} is not a multiple of num_heads {heads}")
        if self.width % 4:
            errors.append(f"width {self.width} is not a multiple of 4: tokens begin with a quarter of it")
        if self.prior in ("planted_partition", "ring_of_cliques"):
            try:
                groups(self.mediators)
            except ConfigError as error:
                errors.append(str(error))
        return errors


@dataclass(frozen=True, kw_only=True)
class Config:
    """``student``: what is trained slot by slot. ``slots``: how many parts it, the teacher and the meta network have.
    ``patch``: pixels a side of the patches of all three (None = 4, or the teacher's).

    The teacher: ``teacher``, the folder of a finished run whose encoder is a vision transformer; or ``backbone``, a
    pretrained one (a folder or hub id, at a ``revision``); or neither: one of ``teacher_width`` (None = 96; the meta network
    is as wide) and ``teacher_depth`` (None = 6) is trained first, slot by slot in the meta network and then whole.

    ``learn``: the student in ``slots``; or, to compare, whole with the teacher's answers (``distil``), or whole from the
    labels (``end_to_end``). ``alpha``: weight of the teacher's answers against the labels in a slot (0: no teacher; None =
    0.5); ``temperature``: of the answers (None = 1); ``reduction``: their divergence as a mean over rows (None = batchmean)
    or, as the authors have it, over rows and classes (``numel``). ``stitch``: what fits a slot into the meta network (None =
    ``norm_linear``, of circuits ``linear``); ``keep_stitches``: whether they stay between slots of the assembled student.
    ``refit``: whether the meta network learns, at the end, to do with a slot of the teacher in its place, as it has to with
    a teacher that is given; without it (the authors' way) a teacher that was trained whole may no longer fit.
    ``mixing``, ``views``: what is done to the images that are trained on.
    ``teacher_share``, ``slots_share``: of the steps for the teacher with the meta network, and for the slots (None = 0.4 and
    0.3); the rest is for the assembled student.

    ``control``: whether a second student learns from end to end afterwards, for as many steps as slots and assembled student
    had, so that the report can hold the one against the other; it is not kept for anything else.

    A training in parts, each of which says ``start=FOLDER``: ``prepare``: only teacher and meta network are trained.
    ``slot``: only this one, counted from 1 (start: the prepared run). ``parts``: the folders of these, which are assembled.
    ``renew``: this slot of a finished run anew; the others stay as they are, to the bit.
    """

    student: Experts | Circuits = Experts()
    slots: Annotated[int, at_least(2)] = 3
    patch: Annotated[int, at_least(1)] | None = None
    teacher: str = ""
    backbone: str | None = None
    revision: str | None = None
    teacher_width: Annotated[int, at_least(1)] | None = None
    teacher_depth: Annotated[int, at_least(2)] | None = None
    learn: Literal["slots", "distil", "end_to_end"] = "slots"
    alpha: Annotated[float, at_least(0), at_most(1)] | None = None
    temperature: Annotated[float, above(0)] | None = None
    reduction: Reduction | None = None
    stitch: StitchKind | None = None
    keep_stitches: bool = False
    refit: bool = True
    mixing: Mixing = _MIXING
    views: Augmentation = _VIEWS
    teacher_share: Annotated[float, above(0), below(1)] | None = None
    slots_share: Annotated[float, above(0), below(1)] | None = None
    control: bool = False
    prepare: bool = False
    slot: Annotated[int, at_least(1)] | None = None
    parts: tuple[str, ...] = ()
    renew: Annotated[int, at_least(1)] | None = None

    def validate(self) -> list[str]:
        return [*_of_teacher(self), *_of_method(self), *_of_parts(self)]

    @property
    def given(self) -> bool:
        """Whether the teacher was trained before."""
        return bool(self.teacher or self.backbone)

    @property
    def taught(self) -> bool:
        """Whether the student sees a teacher's answers."""
        return self.learn != "end_to_end" and self.weight > 0

    @property
    def weight(self) -> float:
        """α."""
        return 0.5 if self.alpha is None else self.alpha

    @property
    def tau(self) -> float:
        """τ."""
        return self.temperature or 1.0

    @property
    def stitches(self) -> StitchKind:
        """Their kind; the authors' by default."""
        return self.stitch or ("linear" if isinstance(self.student, Circuits) else "norm_linear")

    @property
    def apart(self) -> bool:
        """Whether the student is trained in slots."""
        return self.learn == "slots"

    @property
    def has_meta(self) -> bool:
        """Whether there is a meta network: slots need one, and so does a teacher that is trained here."""
        return self.apart or (self.taught and not self.given)


def _of_teacher(config: Config) -> list[str]:
    errors = []
    if config.teacher and config.backbone:
        errors.append("teacher and backbone both name a teacher; leave one of them out")
    if config.revision is not None and config.backbone is None:
        errors.append("revision is of a backbone on the hub, and there is none; leave it out")
    if config.given:
        errors += idle(config, ("patch", "teacher_width", "teacher_depth"), "a teacher that is given")
    width = config.teacher_width or WIDTH
    if width % max(1, width // 32):
        errors.append(f"teacher_width {width} is not a multiple of its {width // 32} heads (width / 32)")
    depths = {} if config.given else {"teacher_depth": config.teacher_depth or DEPTH}
    if isinstance(config.student, Experts):
        depths = {"student.depth": config.student.depth, **depths}
    elif config.slots < 3:
        errors.append(
            f"slots is {config.slots}; circuits need 3 at least: to read in, to pass messages, to read out"
        )
    for name, depth in depths.items():
        if depth < config.slots:
            errors.append(f"{name} {depth} cannot be cut into slots={config.slots}: each needs a block")
    return errors


def _of_method(config: Config) -> list[str]:
    errors = []
    if not config.apart:
        errors += idle(config, ("stitch", "slots_share"), f"learn={config.learn}: there are no slots")
        if config.keep_stitches:
            errors.append(f"keep_stitches has no effect with learn={config.learn}; leave it out")
    if config.learn == "end_to_end":
        errors += idle(
            config,
            ("alpha", "teacher_width", "teacher_depth", "teacher_share"),
            "learn=end_to_end: there is no teacher",
        )
        if config.control:
            errors.append("control with learn=end_to_end would train the same student twice; leave it out")
        if config.given:
            errors.append("learn=end_to_end has no teacher; leave out teacher and backbone")
    elif not config.taught:
        errors += idle(config, ("teacher_depth",), "alpha=0: there is no teacher")
        if config.given:
            errors.append("alpha=0 has no teacher; leave out teacher and backbone")
        if config.learn == "distil":
            errors.append("alpha=0 with learn=distil is learn=end_to_end; use that")
    if not config.taught:
        errors += idle(config, ("temperature", "reduction"), "no teacher's answers")
    if not config.refit and (config.given or not config.taught or not config.apart):
        errors.append("refit=false is of slots with a teacher that is trained here; leave it out")
    return errors


def _of_parts(config: Config) -> list[str]:
    asked = [n for n in ("prepare", "slot", "parts", "renew") if getattr(config, n) not in (False, None, ())]
    errors = []
    if len(asked) > 1:
        errors.append(f"{' and '.join(asked)} are different trainings; ask for one")
    if asked and not config.apart:
        errors.append(f"{asked[0]} has no effect with learn={config.learn}: there are no slots; leave it out")
    if asked:
        named = "slots_share" if asked[0] in ("prepare", "slot", "parts") else ""
        errors += idle(config, tuple(filter(None, (named,))), f"{asked[0]}, whose stages are of one kind")
    if asked and asked[0] != "renew":
        errors += idle(config, ("teacher_share",), f"{asked[0]}, whose stages are of one kind")
    if config.renew is not None:
        errors += idle(config, ("teacher_share",), "renew: the teacher is there")
    for name in ("slot", "renew"):
        number = getattr(config, name)
        if number is not None and number > config.slots:
            errors.append(f"{name} is {number}; there are slots={config.slots}, counted from 1")
    if config.parts and len(config.parts) != config.slots:
        errors.append(f"parts names {len(config.parts)} folders; give one for each of slots={config.slots}")
    if config.control and asked:
        errors.append(f"control has no effect with {asked[0]}; leave it out")
    if config.keep_stitches and config.slot is not None:
        errors.append("keep_stitches has no effect with slot: say it where the parts are assembled")
    return errors


def controls_of(config: Config) -> dict[str, Config]:
    """The student from end to end, in slots, in slots without a teacher, and whole with the teacher's answers. With a
    teacher that is given, whose patches the student has, only those that have one."""
    slots = replace(config, learn="slots", control=False)
    whole = replace(slots, stitch=None, slots_share=None, keep_stitches=False, refit=True)
    if config.given:
        return {"distilled whole": replace(whole, learn="distil"), "slots": slots}

    def untaught(of: Config) -> Config:
        return replace(
            of,
            refit=True,
            teacher="",
            backbone=None,
            revision=None,
            teacher_depth=None,
            temperature=None,
            reduction=None,
        )

    return {
        "end to end": replace(
            untaught(whole), learn="end_to_end", alpha=None, teacher_share=None, teacher_width=None
        ),
        "slots": slots,
        "slots without a teacher": replace(untaught(slots), alpha=0.0),
        "distilled whole": replace(whole, learn="distil"),
    }


# ---- stages ----------------------------------------------------------------------------------------------------------


def teacher_stages(config: Config) -> list[tuple[str, float]]:
    """(name, share of ``teacher_share``): Deep Incubation, or the classifier of a teacher that is given; and a meta network
    that its slots fit into. Without slots there is no need of the last, and the student has its steps."""
    if not config.taught:
        return [("meta", 1.0)] if config.apart else []
    if config.given:
        return list(zip(("teacher", "fit meta"), _GIVEN))[: 2 if config.apart else 1]
    meta, slots, whole, again = _INCUBATED
    apart = [(f"teacher {number}", slots / config.slots) for number in range(1, config.slots + 1)]
    if config.refit:
        fit = [("fit meta", again)] if config.apart else []
        return [("meta", meta), *apart, ("teacher", whole), *fit]
    return [("meta", meta + again), *apart, ("teacher", whole)]


def stages_of(config: Config, steps: int) -> tuple[Stage, ...]:
    """``steps`` in all, by the shares of :class:`Config`.

    Raises:
        ConfigError: fewer steps than stages.
    """
    of_teacher = 0.4 if config.teacher_share is None else config.teacher_share
    of_slots = 0.3 if config.slots_share is None else config.slots_share
    if config.prepare:
        shares = teacher_stages(config)
    elif config.slot is not None:
        shares = [(f"slot {config.slot}", 1.0)]
    elif config.renew is not None:
        shares = [(f"slot {config.renew}", of_slots), (f"fit {config.renew}", 1 - of_slots)]
    elif config.parts or config.learn == "end_to_end":
        shares = [("whole", 1.0)]
    else:
        shares = [(name, of_teacher * share) for name, share in teacher_stages(config)]
        if config.apart:
            shares += [(f"slot {n}", of_slots / config.slots) for n in range(1, config.slots + 1)]
        shares.append(("whole", 1 - sum(share for _, share in shares)))
        if config.control:
            shares = [(n, share / (2 - of_teacher)) for n, share in [*shares, ("control", 1 - of_teacher)]]
    if min(share for _, share in shares) <= 0:
        raise ConfigError(
            "model.teacher_share and model.slots_share leave no steps for the assembled student; their sum is below 1"
        )
    if steps < len(shares):
        raise ConfigError(f"train.steps={steps} is too few for {len(shares)} stages; use more")
    lengths = [max(1, round(share * steps)) for _, share in shares]
    longest = lengths.index(max(lengths))
    lengths[longest] += steps - sum(lengths)
    return tuple(Stage(name=name, steps=length) for (name, _), length in zip(shares, lengths))
