"""The rules for alt-texts, against the same rules written without counting ahead."""

import itertools
import random
import re

import pytest

from brickwork.core.config import ConfigError, from_dict
from brickwork.systems.align.caption_filters import CaptionFilter, filter_captions

WORDS = ["a", "red", "blue", "dog", "cat", "house", "tree", "on", "in", "the", "large", "small", "runs"]


def pool(seed: int, count: int = 300):
    """Texts with boilerplate, odd lengths, rare tokens, other case; some images with many texts."""
    rng = random.Random(seed)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 8))) for _ in range(count)]
    for row in rng.sample(range(count), 60):
        texts[row] = rng.choice(["Photo of the day", "photo  of the DAY", f"a dog img{row:05d}", "dog, " * 9])
    images = [rng.choice([row, 7, 11]) if rng.random() < 0.2 else row for row in range(count)]
    sizes = {row: (rng.choice([10, 100, 200]), rng.choice([40, 100])) for row in range(count)}
    return texts, images, sizes


def by_brute_force(texts, images, rules, sizes):
    def same(text):
        return " ".join(text.casefold().split())

    def grams(text):
        words = re.findall(r"\w+", same(text))
        return words + ([f"{x} {y}" for x, y in itertools.pairwise(words)] if rules.ngrams == 2 else [])

    every = [gram for text in texts for gram in grams(text)]
    kept, dropped = [], {}
    for row, (text, image) in enumerate(zip(texts, images)):
        of_text = {p for t, p in zip(texts, images) if same(t) == same(text)}
        small, large = sorted(sizes[image])
        length = len(re.findall(r"\w+", text))
        if small < rules.min_side or large > rules.max_aspect * small:
            rule = "small or long image"
        elif images.count(image) > rules.max_texts_per_image:
            rule = "image with too many texts"
        elif len(of_text) > rules.max_images_per_text:
            rule = "text of too many images"
        elif length < rules.min_words:
            rule = "text of too few words"
        elif length > rules.max_words:
            rule = "text of too many words"
        elif any(every.count(gram) < rules.rare_below for gram in grams(text)):
            rule = "text with a rare word"
        else:
            kept.append(row)
            continue
        dropped[rule] = dropped.get(rule, 0) + 1
    return kept, dropped


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ngrams": 2, "min_words": 1},
        {"max_images_per_text": 2, "max_texts_per_image": 5, "min_side": 20, "max_aspect": 2.0},
        {"rare_below": 0, "min_words": 1, "max_words": 4},
    ],
    ids=str,
)
def test_equals_brute_force(seed, options):
    texts, images, sizes = pool(seed)
    rules = CaptionFilter(enabled=True, **options)
    kept, audit = filter_captions(texts, images, rules, sizes)
    wanted, dropped = by_brute_force(texts, images, rules, sizes)
    assert kept == wanted
    assert dict(audit.dropped) == dropped
    assert (audit.total, audit.kept) == (300, len(wanted))
    assert 0 < len(wanted) < 300, "the rules do something"
    for rule, examples in audit.examples.items():
        assert len(examples) == min(3, dropped[rule])
        assert f"{dropped[rule]} {rule}" in audit.note()


def test_off_keeps_all():
    texts, images, _ = pool(0)
    kept, audit = filter_captions(texts, images, CaptionFilter())
    assert kept == list(range(300))
    assert audit.note() == "the filter kept 300 of 300 pairs"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_words": 0}, "min_words is 0"),
        ({"max_words": 2}, "below min_words=3"),
        ({"ngrams": 3}, "ngrams is 3"),
        ({"max_aspect": 0.5}, "max_aspect"),
        ({"enabled": False, "min_words": 2}, "min_words has no effect without enabled=true"),
    ],
)
def test_wrong_rules_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(CaptionFilter, {"enabled": True, **options})
