"""What the battery has to know of align."""

from dataclasses import replace

from brickwork.api import train as api
from brickwork.data.generators.scenes import Noise
from brickwork.systems.align.caption_filters import CaptionFilter

_SQUARES = "made-up images are squares of one size; tests/systems/test_align_caption_filters.py"
_PRETRAINED = "pretrained weights; tests/systems/test_align_pretrained.py"
UNTESTED = {
    "backbone": _PRETRAINED,
    "revision": "only a hub model has revisions",
    "locked": _PRETRAINED,
    "adapt": "of pretrained encoders; tests/interop/test_adapting.py",
    "lora_rank": "of pretrained encoders; tests/interop/test_adapting.py",
    "feature_folder": "of a locked encoder; tests/interop/test_frozen_features.py",
    "text.projection": "the width of the images' vectors decides; refused, which tests/systems/test_align.py looks at",
    "data.captions.min_side": _SQUARES,
    "data.captions.max_aspect": _SQUARES,
    "data.captions.max_texts_per_image": "a made-up image has one text; tests/systems/test_align_caption_filters.py",
}
CANDIDATES = {
    "data.captions.max_images_per_text": [1],
    "data.captions.min_words": [6],
    "data.captions.max_words": [5],
    "data.captions.rare_below": [0, 50],
}


def data(folder):
    """Spoilt texts, filtered."""
    noise = Noise(mismatched=0.2, boilerplate=0.2, rare=0.2, length=0.2)
    smoke = replace(api.recipe("align", "smoke").data, limit=200, noise=noise)
    return [smoke, replace(smoke, captions=CaptionFilter(enabled=True))]
