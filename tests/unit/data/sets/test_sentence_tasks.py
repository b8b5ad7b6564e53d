"""The sentence tasks against the numbers that their authors publish."""

import pytest

from brickwork.core.errors import DataError
from brickwork.data.config import DataConfig
from brickwork.data.sets.sentence_tasks import sentence_task


def test_trec_has_its_official_parts(data_folder):
    """5,452 training and 500 test questions (Li and Roth 2002); no question is in two of our parts."""
    task = sentence_task("trec6", DataConfig(source="trec6"), 0)
    assert len(task.test) == 500
    assert 5000 < len(task.train) + len(task.validation) <= 5452
    assert task.class_names[4] == "place"
    assert not set(task.train.columns["input"]) & set(task.validation.columns["input"])
    few = sentence_task("sst2", DataConfig(source="sst2", limit=50), 0)
    assert len(few.train) + len(few.validation) <= 50
    assert set(few.train.columns["label"]) == {0, 1}


def test_an_unknown_task_is_refused():
    with pytest.raises(DataError, match="trec6, sst2"):
        sentence_task("trec", DataConfig(source="trec"), 0)
