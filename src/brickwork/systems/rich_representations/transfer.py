"""What joining brings on labels, by the number of members: accuracy, directions in use, likeness of the members.

The control is of the same width: the first member beside networks of its kind that were never trained. What more dimensions
bring by themselves shows there. Of one network alone (a student) the control is one that was never trained. Members that
began as a pretrained model are held against it as well, as it was published.

Shape legend: N inputs, D dimensions, k members, C labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from brickwork.core.seeding import generator_for, seed_everything
from brickwork.data.types import Examples
from brickwork.encoders.joined import Joined
from brickwork.evaluation.codes import effective_rank
from brickwork.evaluation.new_labels import learn_labels
from brickwork.evaluation.representation_similarity import debiased_cka
from brickwork.evaluation.significance import Difference, paired_bootstrap
from brickwork.representation.encode import encode
from brickwork.representation.rebuilt import rebuilt_encoder

PER_LABEL = 30
"""Examples of each label that a classifier is learnt from; half of them where there are fewer than twice as many."""
_MOST = 3000


@dataclass(frozen=True)
class Transfer:
    """By number of members 1 … n: accuracies (0 … 1) of the joint vectors and of the control, ranks of both; ``alone``: of
    each member by itself; ``gain`` and ``over``: of all members over the first alone and over the control, by the same
    inputs; ``alike``: debiased CKA between members (n × n); ``learnt`` and ``tested``: numbers of inputs. ``untouched``:
    accuracy of the pretrained model as it was published, ``beyond``: of all members over it."""

    joint: tuple[float, ...]
    control: tuple[float, ...]
    alone: tuple[float, ...]
    gain: Difference
    over: Difference
    joint_rank: tuple[float, ...]
    control_rank: tuple[float, ...]
    alike: Float[np.ndarray, "members members"]
    learnt: int
    tested: int
    labels: int
    untouched: float | None = None
    beyond: Difference | None = None


def transfer(encoder: Any, examples: Examples, seed: int, published: Any = None) -> Transfer | None:
    """The measures on labelled examples; ``None`` where these are too few: two labels with two examples each. ``published``:
    the encoder that the members began as."""
    members = list(encoder.members) if isinstance(encoder, Joined) else [encoder]
    labels = np.asarray(examples.columns["label"], dtype=np.int64)
    learn_rows, test_rows = _parts(labels, seed)
    names, places = np.unique(labels, return_inverse=True)
    if len(names) < 2 or len(np.unique(places[learn_rows])) < len(names) or len(test_rows) < 4:
        return None
    rows = np.concatenate([learn_rows, test_rows])
    taken = examples.take(rows.tolist())["input"]
    blocks = [_vectors(member, taken) for member in members]
    fresh = [_vectors(one, taken) for one in untrained(members[0], max(1, len(blocks) - 1), seed)]
    fresh = [blocks[0], *fresh] if len(blocks) > 1 else fresh
    y, split = places[rows], len(learn_rows)

    def right(parts: Sequence[np.ndarray]) -> np.ndarray:
        """Of each tested input, 1 where the answer is right."""
        vectors = np.concatenate(parts, axis=1)
        model = learn_labels(vectors[:split], y[:split], [str(n) for n in names], seed=seed)
        return (model.scores(vectors[split:]).argmax(1) == y[split:]).astype(np.float64)

    def rank(parts: Sequence[np.ndarray]) -> float:
        return effective_rank(np.concatenate([(p - p.mean(0)) / (p.std() or 1.0) for p in parts], axis=1))

    before = None if published is None else right([_vectors(published, taken)])
    counts = range(1, len(blocks) + 1)
    joint, control = ([right(parts[:k]) for k in counts] for parts in (blocks, fresh))
    return Transfer(
        joint=tuple(float(one.mean()) for one in joint),
        control=tuple(float(one.mean()) for one in control),
        alone=tuple(float(right([block]).mean()) for block in blocks),
        gain=paired_bootstrap(joint[0], joint[-1]),
        over=paired_bootstrap(control[-1], joint[-1]),
        joint_rank=tuple(rank(blocks[:k]) for k in counts),
        control_rank=tuple(rank(fresh[:k]) for k in counts),
        alike=np.array([[debiased_cka(a, b) for b in blocks] for a in blocks]),
        learnt=split,
        tested=len(test_rows),
        labels=len(names),
        untouched=None if before is None else float(before.mean()),
        beyond=None if before is None else paired_bootstrap(before, joint[-1]),
    )


def untrained(member: Any, count: int, seed: int) -> list[Any]:
    """Networks like a member, with weights that were drawn and never trained."""
    tokenizer = member.tokenizer.to_str() if member.kind == "text" else None
    device, made = next(member.parameters()).device, []
    for number in range(count):
        seed_everything(generator_for(seed, number, "untrained").initial_seed())
        made.append(rebuilt_encoder(member.architecture(), tokenizer).to(device).eval())
    return made


def _vectors(member: Any, inputs: Any) -> Float[np.ndarray, "rows _"]:
    return encode(member, inputs, member.embedding_dim, member.num_layers, normalize=False, precision="fp32")


def _parts(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from, of each label as many, and rows to test on."""
    order = np.random.default_rng(seed).permutation(len(labels))[:_MOST]
    learn: list[int] = []
    for label in np.unique(labels[order]):
        rows = order[labels[order] == label]
        learn += rows[: min(PER_LABEL, len(rows) // 2)].tolist()
    return np.array(learn, dtype=np.int64), np.setdiff1d(order, learn)
