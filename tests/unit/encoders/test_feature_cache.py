"""Kept vectors on the disk: several processes, folders that cannot be written, more than fits in memory."""

import pytest
import torch

from brickwork.core.errors import BrickworkWarning
from brickwork.encoders import feature_cache
from brickwork.encoders.feature_cache import FeatureCache

KEYS = [bytes([number]) * 16 for number in range(8)]
LIKE = torch.zeros(1)


def vectors(places):
    return torch.arange(4.0).expand(len(places), 4) + torch.tensor(places)[:, None]


def test_another_process_that_writes_the_same_meanwhile_is_no_harm(tmp_path, monkeypatch):
    """It stands between what one has written and its renaming, where the other begins and ends."""
    folder = tmp_path / "features"
    first, second = FeatureCache(folder), FeatureCache(folder)
    expected = first.rows(KEYS, vectors, LIKE)
    second.rows(KEYS, vectors, LIKE)
    plain = feature_cache.save_tensors

    def interrupted(path, tensors):
        plain(path, tensors)
        monkeypatch.setattr(feature_cache, "save_tensors", plain)
        second.flush()

    monkeypatch.setattr(feature_cache, "save_tensors", interrupted)
    first.flush()
    assert [path.suffix for path in folder.iterdir()] == [".safetensors"]
    third = FeatureCache(folder)
    assert torch.equal(third.rows(KEYS, vectors, LIKE), expected)
    assert (third.hits, third.misses) == (8, 0)


def test_a_folder_that_cannot_be_written_is_told_and_stops_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    cache = FeatureCache(tmp_path / "file")
    expected = cache.rows(KEYS, vectors, LIKE)
    with pytest.warns(BrickworkWarning, match="not kept on the disk: .*a file stands where a folder"):
        cache.flush()
    assert torch.equal(cache.rows(KEYS, vectors, LIKE), expected)
    cache.flush()  # told once


def test_what_is_on_the_disk_is_not_written_again(tmp_path):
    """Also where it does not fit in memory: the folder grew by each run."""
    for _ in range(2):
        cache = FeatureCache(tmp_path, max_bytes=32)  # two vectors
        for key in KEYS:
            cache.rows([key], vectors, LIKE)
        cache.flush()
        assert cache.misses == 8
    assert len(list(tmp_path.iterdir())) == 1
