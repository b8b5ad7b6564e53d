"""Mined negatives: the same as by brute force, and never an answer."""

import itertools

import numpy as np
import pytest
import torch

from brickwork.core.errors import ArtifactError, DataError
from brickwork.data.config import HardNegatives
from brickwork.data.splits import normalised
from brickwork.data.types import Examples
from brickwork.objectives.contrastive import info_nce
from brickwork.training.hard_negatives import (
    MOST_GROUPS,
    Pool,
    bm25,
    cosines,
    from_dict,
    hardest,
    mine,
    to_dict,
    triplets,
)

WORDS = ["red", "green", "blue", "cat", "dog", "bird", "runs", "sleeps", "eats", "house", "tree", "river"]


def some_pairs(rows: int = 60, seed: int = 0) -> Examples:
    """Pairs of few words: texts come twice, queries have several positives, some answer queries of two groups."""
    draw = np.random.default_rng(seed)

    def text(length: int) -> str:
        return " ".join(draw.choice(WORDS, length))

    anchors = [text(2) for _ in range(rows // 2)]
    columns = {
        "anchor": [anchors[draw.integers(len(anchors))] for _ in range(rows)],
        "positive": [text(3) for _ in range(rows)],
        "group": draw.integers(0, rows // 2, rows).tolist(),
    }
    columns["positive"][1] = columns["positive"][0].upper()  # a repetition but for case
    columns["positive"][2] = columns["anchor"][3]  # a text that is an anchor too
    return Examples(columns)


def by_hand(pairs: Examples, scores: np.ndarray, pool: Pool, options: HardNegatives) -> dict[int, list[str]]:
    """The negatives of each row, one comparison of texts after the other."""
    anchors, positives, groups = (pairs.columns[name] for name in ("anchor", "positive", "group"))
    found: dict[int, list[str]] = {}
    for row, anchor in enumerate(anchors):
        mine_too = [r for r in range(len(anchors)) if normalised(anchors[r]) == normalised(anchor)]
        own_groups = {groups[r] for r in mine_too}
        answers = {normalised(positives[r]) for r in range(len(anchors)) if groups[r] in own_groups}
        values = scores[pool.anchor_of[row]]
        own = values[pool.document_of[row]]
        others = [
            (-values[d], d)
            for d, text in enumerate(pool.documents)
            if normalised(text) not in {*answers, normalised(anchor)}
        ]
        limit = own - (1 - (options.margin or 0.95)) * abs(own)
        left = [(s, d) for s, d in sorted(others)[options.skip or 0 :] if -s < limit and s]
        found[row] = [pool.documents[d] for _, d in left[: options.count or 1]]
    return found


@pytest.mark.parametrize(
    "options",
    [
        HardNegatives(by="model"),
        HardNegatives(by="model", count=4, skip=3, margin=0.7),
        HardNegatives(by="model", count=2, margin=1.0),
    ],
)
@pytest.mark.parametrize("ranker", ["bm25", "model"])
def test_equal_to_brute_force(options, ranker):
    pairs = some_pairs()
    pool = Pool.of(pairs)
    draw = np.random.default_rng(1)
    vectors = {text: draw.normal(size=8) for text in {*pool.anchors, *pool.documents}}
    ranked = (
        bm25(pool)
        if ranker == "bm25"
        else cosines(lambda texts, role: np.array([vectors[t] for t in texts]), pool)
    )
    scores = np.stack(list(ranked))
    wanted = by_hand(pairs, scores, pool, options)
    mined = mine(pool, list(scores), options, seed=0)
    got = {
        row: [pool.documents[d] for _, d in found]
        for row, found in itertools.groupby(zip(mined.rows, mined.documents), key=lambda entry: entry[0])
    }
    assert mined.filled == sum(not texts for texts in wanted.values())
    assert {row: texts for row, texts in got.items() if wanted[row]} == {r: t for r, t in wanted.items() if t}
    assert any(len(texts) == (options.count or 1) for texts in wanted.values())


def test_never_an_answer_even_at_random():
    pairs = some_pairs(rows=40, seed=3)
    pool = Pool.of(pairs)
    nothing_fits = [np.ones(len(pool.documents), dtype=np.float32)] * len(pool.anchors)
    mined = mine(pool, nothing_fits, HardNegatives(by="bm25"), seed=5)
    assert mined.filled == len(mined.rows) > 30
    anchors, positives, groups = (pairs.columns[name] for name in ("anchor", "positive", "group"))
    for row, document in zip(mined.rows, mined.documents):
        text = normalised(pool.documents[document])
        assert text != normalised(anchors[row])
        same = {groups[r] for r, anchor in enumerate(anchors) if anchor == anchors[row]}
        assert text not in {normalised(p) for p, g in zip(positives, groups) if g in same}
    assert mine(pool, nothing_fits, HardNegatives(by="bm25"), seed=5) == mined
    assert mine(pool, nothing_fits, HardNegatives(by="bm25"), seed=6) != mined


def test_what_answers_everybody_is_nobodys_negative():
    many = MOST_GROUPS + 1
    pairs = Examples(
        {
            "anchor": [*(f"question {n}" for n in range(many)), "another"],
            "positive": [*["see the manual"] * many, "the answer"],
            "group": list(range(many + 1)),
        }
    )
    pool = Pool.of(pairs)
    mined = mine(pool, bm25(pool), HardNegatives(by="bm25"), seed=0)
    assert set(mined.rows) == set(range(many)), "the last pair has no text to learn from but that one"


def test_equal_scores_are_taken_in_their_order():
    scores = np.array([0.5, 0.9, 0.5, 0.5, 0.1], dtype=np.float32)
    every = np.ones(5, dtype=bool)
    assert hardest(scores, every, 0.6, 0, 2).tolist() == [0, 2]
    assert hardest(scores, every, 0.6, 2, 2).tolist() == [2, 3], (
        "the one above the limit is among those skipped"
    )
    assert hardest(scores, every, 0.05, 0, 2).tolist() == []


def test_a_batch_takes_no_answer_of_another_anchor_for_wrong():
    """A negative that was mined for one pair and answers another of the batch is no candidate there."""
    pairs = Examples(
        {
            "anchor": ["cat sleeps", "cat eats"],
            "positive": ["the cat sleeps in the house", "the cat eats fish"],
            "group": [0, 1],
        }
    )
    pool = Pool.of(pairs)
    batch = triplets(pairs, pool, mine(pool, bm25(pool), HardNegatives(by="bm25"), seed=0)).columns
    assert batch["negative"] == ["the cat eats fish", "the cat sleeps in the house"]
    assert batch["negative_group"].tolist() == [[1], [0]]
    a, p = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)), torch.eye(2, 4)
    n = p.flip(0)
    group, answered = torch.tensor(batch["group"]), torch.from_numpy(batch["negative_group"])
    loss = info_nce(a, p, n, temperature=1.0, group=group, negative_group=answered)
    unit = torch.nn.functional.normalize(a)
    candidates = torch.stack([unit @ p[0], unit @ p[1], unit @ n[0], unit @ n[1]], 1)
    candidates[0, 3] = candidates[1, 2] = float("-inf")  # each anchor's own positive, as the other's negative
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(candidates, torch.arange(2)))


def test_negatives_are_kept_as_json_and_checked():
    pool = Pool.of(some_pairs())
    mined = mine(pool, bm25(pool), HardNegatives(by="bm25", count=2), seed=0)
    assert from_dict(to_dict(mined), pool, "negatives.json") == mined
    with pytest.raises(ArtifactError, match=r"negatives.json does not fit .* changed"):
        from_dict({"rows": [0], "documents": [10_000], "filled": 0}, pool, "negatives.json")
    with pytest.raises(ArtifactError, match="holds no mined negatives"):
        from_dict({"rows": [0]}, pool, "negatives.json")


def test_pairs_of_one_group_have_none():
    pairs = Examples({"anchor": ["a b", "c d"], "positive": ["e f", "g h"], "group": [0, 0]})
    pool = Pool.of(pairs)
    with pytest.raises(DataError, match="all texts answer the same group"):
        triplets(pairs, pool, mine(pool, bm25(pool), HardNegatives(by="bm25"), seed=0))
