"""Splits against brute force: no key and no equal text on two sides."""

import itertools
import subprocess
import sys

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from brickwork.data import splits
from brickwork.data.retrieval import retrieval_from_pairs
from brickwork.data.types import Examples

WORDS = st.sampled_from(["a", "b", "c", "A ", "d", "e", "f", " B", "g"])


def parts_of(keys, seed=0, validation=0.1, test=0.2, cap=1000):
    return splits.split(keys, validation_share=validation, test_share=test, max_held_out=cap, seed=seed)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=30))
def test_groups_are_the_connected_components(rows):
    anchors, positives = zip(*rows)
    ours = splits.connect(anchors, positives)
    links = [
        (i, j)
        for i, j in itertools.product(range(len(rows)), repeat=2)
        if anchors[i].strip().lower() == anchors[j].strip().lower()
        or positives[i].strip().lower() == positives[j].strip().lower()
    ]
    left, right = zip(*links)
    graph = coo_array((np.ones(len(links)), (left, right)), shape=(len(rows), len(rows)))
    _, theirs = connected_components(graph, directed=False)
    same = {(a, b) for a, b in zip(ours, theirs)}
    assert len(same) == len(set(ours)) == len(set(theirs))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=80), st.integers(0, 3))
def test_every_row_is_in_one_part_and_no_key_in_two(numbers, seed):
    keys = [str(number) for number in numbers]
    parts = parts_of(keys, seed)
    rows = [parts.train, parts.validation, parts.test]
    assert sorted([row for part in rows for row in part]) == list(range(len(keys)))
    of_part = [{keys[row] for row in part} for part in rows]
    assert sum(map(len, of_part)) == len(set().union(*of_part))
    assert len(parts.test) <= round(0.2 * len(keys))


def test_shares_are_met_and_capped_where_every_row_is_its_own_key():
    keys = [str(row) for row in range(1000)]
    parts = parts_of(keys)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (700, 100, 200)
    capped = parts_of(keys, cap=50)
    assert (len(capped.train), len(capped.validation), len(capped.test)) == (900, 50, 50)


def test_a_key_larger_than_the_held_out_part_stays_in_training():
    keys = ["big"] * 90 + [f"small {row}" for row in range(10)]
    for seed in range(5):
        parts = parts_of(keys, seed)
        assert set(range(90)) <= set(parts.train)
        assert len(parts.test) + len(parts.validation) == 10


def test_the_split_is_the_same_in_another_process_and_another_for_another_seed():
    keys = [f"key {row}" for row in range(50)]
    code = (
        "from brickwork.data.splits import split; "
        "print(split([f'key {row}' for row in range(50)], validation_share=.1, test_share=.2, "
        "max_held_out=1000, seed=0).test)"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str(parts_of(keys).test)
    assert parts_of(keys, 1).test != parts_of(keys, 0).test


def test_equal_texts_are_found_whatever_their_case_width_and_spaces():
    texts = ["Café  au lait", "CAFÉ au\tlait", "tea", "ｔｅａ"]
    assert splits.first_of_each(texts) == [0, 2]


def test_a_limit_takes_the_same_random_rows_every_time():
    assert splits.pick(5, None) == [0, 1, 2, 3, 4]
    picked = splits.pick(1000, 20)
    assert picked == splits.pick(1000, 20)
    assert len(set(picked)) == 20
    assert max(picked) > 500


def test_retrieval_set_written_out_by_hand():
    examples = Examples(
        {
            "anchor": ["q1", "q2", "q1", "q3"],
            "positive": ["d1", "d2", "d3", "d2"],
            "negative": ["n1", "d1", "n1", "n2"],
            "group": [0, 1, 0, 1],  # q3 shares a document with q2; its own answer is d2 alone
        }
    )
    results = retrieval_from_pairs("hand", examples, ["t1", "t2", "t3", "other"])
    assert results.queries == ["q1", "q2", "q3"]
    assert results.documents == ["d1", "d2", "d3", "n1", "n2"]
    assert results.titles == ["t1", "t2", "t3", "", ""]
    assert results.relevant == [{0: 1, 2: 1}, {1: 1}, {1: 1}]
