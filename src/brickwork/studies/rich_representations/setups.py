"""The arms of the study: budgets are in images through one network, the same for every arm.

Cat_n spends its steps on n networks, one after the other; ``longer`` all of them on one; n branches trained jointly, and
networks with about n times the parameters, take a n-th of the steps, since each of theirs costs n times as much.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from brickwork.encoders.config import ImageEncoderConfig
from brickwork.studies.bench import Bench, Trained, changed
from brickwork.studies.study import Arms, Lab, Scale
from brickwork.systems.rich_representations.data import Data

if TYPE_CHECKING:
    from brickwork.training.run import RunConfig

JOINED = "members joined"


def members_of(scale: Scale) -> int:
    """n."""
    return 3 if scale == "smoke" else 5


def source(scale: Scale) -> "RunConfig":
    """Members one by one: the digits 0 to 4, then 5 to 9 are new; or 143 characters of Omniglot, then 40 others."""
    from brickwork.systems.rich_representations.recipes import small, smoke

    count = members_of(scale)
    if scale == "smoke":
        run = changed(smoke(), recipe="claims", model={"members": count, "head_share": 0.0})
        return replace(run, train=replace(run.train, steps=600, validate_every=0))
    run = changed(small(), recipe="claims: Omniglot, 143 characters, then 40", model={"head_share": 0.0})
    return replace(
        run,
        model=replace(
            run.model, members=count, encoder=ImageEncoderConfig(embedding_dim=64, width=8, depth=3, shrink=2)
        ),
        data=Data(source="omniglot_small", new_classes=40, validation_share=0.1),
        train=replace(
            run.train,
            steps=400 * count,
            batch_size=64,
            learning_rate=8e-3,
            precision="fp32",
            validate_every=0,
        ),
    )


def wide(run: "RunConfig", scale: Scale) -> dict[str, ImageEncoderConfig]:
    """The encoder of a member with about n times its parameters, and with n times its features."""
    encoder, count = run.model.encoder, members_of(scale)
    more = round(encoder.width * count**0.5)
    more += -more % 2
    dim = encoder.embedding_dim
    if encoder.architecture == "mlp":  # its first matrix grows with the width only once
        more = round(encoder.width * (count * 0.9))
    return {
        "wide by parameters": replace(encoder, width=more, embedding_dim=round(dim * count**0.5)),
        "wide by features": replace(encoder, embedding_dim=dim * count),
    }


def arms(lab: Lab, *names: str) -> Arms:
    """Some of the arms, each at the learning rate that validation examples of the source chose from one grid; the members
    have that of one of them alone."""
    run = source(lab.scale)
    count = members_of(lab.scale)
    short = replace(run.train, steps=run.train.steps // count)
    single = replace(run, model=replace(run.model, members=1), train=short)
    grown = wide(run, lab.scale)
    runs = {
        "longer": replace(single, train=run.train),
        "jointly": replace(run, model=replace(run.model, learn="jointly", head_share=None), train=short),
        **{name: replace(single, model=replace(single.model, encoder=one)) for name, one in grown.items()},
    }
    makers = {}
    if JOINED in names:
        rate = lab.bench.tuned(single, validation_score).train.learning_rate
        makers[JOINED] = _budgeted(lab.bench, replace(run, train=replace(run.train, learning_rate=rate)), run)
    for name in names:
        if name != JOINED:
            makers[name] = _budgeted(lab.bench, lab.bench.tuned(runs[name], validation_score), run)
    return lab.arms(makers)


def _budgeted(bench: Bench, run: "RunConfig", whole: "RunConfig") -> Any:
    """Seed → the training of ``run``, counted by its budget, which is that of the members together."""
    budget = bench.steps(whole.train.steps) * whole.train.batch_size

    def make(seed: int) -> Trained:
        return bench.memo(
            ("budgeted", repr(run), seed),
            lambda: replace(bench.train(replace(run, seed=seed)), examples=budget),
        )

    return make


def validation_score(trained: Trained) -> float:
    """What a learning rate is chosen by: the classes that are trained on."""
    return float(trained.system.evaluate(trained.data.validation)["accuracy"])
