"""What the battery has to know of align."""

from dataclasses import replace

from brickwork.api import train as api
from brickwork.data.generators.scenes import Noise
from brickwork.systems.align.caption_filters import CaptionFilter
from brickwork.training.run import RunConfig

_sizes = "made-up scenes are of one size; tests/systems/test_align.py and test_align_caption_filters.py"
UNTESTED = {
    "text.projection": "the width of the images' vectors decides; refused, which tests/systems/test_align.py looks at",
    "data.captions.min_side": _sizes,
    "data.captions.max_aspect": _sizes,
    "data.captions.max_texts_per_image": "a scene has one text; tests/systems/test_align_caption_filters.py",
}
CANDIDATES = {
    "min_words": [6],
    "max_words": [2, 30],
    "rare_below": [30],
    "ngrams": [2],
    "max_images_per_text": [100],
}


def runs() -> list[RunConfig]:
    """Scenes that are filtered."""
    run = api.recipe("align", "smoke")
    filters = CaptionFilter(enabled=True, min_words=2, rare_below=0), CaptionFilter(enabled=True, min_words=2)
    noise = Noise(boilerplate=0.3, length=0.3)
    return [
        replace(run, data=replace(run.data, limit=300, captions=captions, noise=noise))
        for captions in filters
    ]
