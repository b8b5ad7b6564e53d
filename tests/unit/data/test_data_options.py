"""Options of data that a source has no use for are named; the loaders themselves say which."""

from dataclasses import replace

import numpy as np
import pytest

import brickwork
from brickwork.core import registry
from brickwork.data.config import ColumnNames, DataConfig, idle_options, watched
from brickwork.training.run import load_data

OTHER = {
    "columns": ColumnNames(text="own"),
    "limit": 60,
    "validation_share": 0.2,
    "test_share": 0.3,
    "max_held_out": 7,
    "max_passage_words": 33,
}


def test_a_copy_notes_what_is_looked_at():
    config = DataConfig(source="toy", limit=3)
    copy, seen = watched(config)
    assert isinstance(copy, DataConfig)
    assert (copy.source, copy.limit) == ("toy", 3)
    assert seen & set(vars(config)) == {"source", "limit"}
    assert config.validate() == []
    assert "test_share" not in seen, "only the copy is watched"


def test_options_at_their_defaults_are_nobodys_fault():
    assert idle_options(DataConfig(source="toy"), set()) == []
    assert idle_options(DataConfig(source="toy", limit=3, test_share=0.2), {"limit"}) == [
        "data.test_share was set and has no effect with toy"
    ]


@pytest.mark.parametrize(
    ("slug", "source"),
    [
        ("dylora", "digits"),
        ("dylora", "digits-turned"),
        ("matryoshka-2d", "toy"),
        ("global-workspace", "addition"),
        ("moduleformer", "toy"),
    ],
)
def test_an_option_that_changes_nothing_has_a_note_and_no_other_has(slug, source):
    """Brute force: each option in turn is set to another value, and the examples are compared."""
    data = getattr(registry.load(slug, "system"), "Data", DataConfig)
    plain = data(source=source) if source in ("addition", "toy") else data(source=source, limit=90)
    before = contents(load_data(slug, plain, 0))
    for name, value in OTHER.items():
        task = load_data(slug, replace(plain, **{name: value}), 0)
        idle = any(f"data.{name} was set" in note for note in task.notes)
        assert idle == (contents(task) == before), name


def contents(task):
    """All examples, as values that can be compared."""
    parts = (task.train, task.validation, task.test, *task.variants.values())
    return [{name: np.asarray(column).tolist() for name, column in part.columns.items()} for part in parts], [
        len(r.documents) for r in task.retrieval.values()
    ]


def test_the_note_is_printed(tmp_path):
    run = brickwork.override(brickwork.recipe("dylora", "smoke"), ["data.max_passage_words=50"])
    assert (
        "data.max_passage_words was set and has no effect with digits-turned"
        in brickwork.api.train.build(run)[1].notes
    )
