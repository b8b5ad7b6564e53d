"""The made-up language, and changed images."""

import numpy as np
import pytest

from brickwork.data.generators.corruptions import corruptions
from brickwork.data.generators.toy_text import toy_pairs


def test_toy_pairs_are_different_facts_and_the_same_every_time():
    pairs = toy_pairs(500, 3)
    assert pairs == toy_pairs(500, 3)
    assert pairs != toy_pairs(500, 4)
    assert len(set(pairs)) == 500
    with pytest.raises(ValueError, match="30720 facts"):  # 16 · 12 · 16 · 10
        toy_pairs(30_721, 0)


def test_toy_pairs_share_no_content_word():
    """What matches must be learnt: only words of the frame are in both."""
    frame = {"the", "in", "a", "one", "is", "it"}
    for anchor, positive in toy_pairs(300, 0):
        words = [set(text.lower().replace("?", "").replace(",", "").split()) for text in (anchor, positive)]
        assert words[0] & words[1] <= frame


def test_corruptions():
    """A constant image: blur and shift leave it, noise has the stated spread (25, clipped little at 128)."""
    flat = np.full((4, 32, 32, 3), 128, dtype=np.uint8)
    results = corruptions(flat, 0)
    assert set(results) == {"none", "noise", "blur", "shift"}
    assert all(images.dtype == np.uint8 for images in results.values())
    assert all((results[name] == 128).all() for name in ("none", "blur", "shift"))
    assert results["noise"].std() == pytest.approx(25, rel=0.03)
    ramp = np.tile(np.arange(32, dtype=np.uint8)[None, :, None, None], (1, 1, 32, 3))
    assert (corruptions(ramp, 0)["shift"][0, 2:, 0, 0] == np.arange(30)).all()
