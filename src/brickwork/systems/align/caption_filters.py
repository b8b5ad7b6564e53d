"""Cheap rules that clean alt-texts by how often things occur (ALIGN, Jia et al. 2021, section 3), with an audit.

Rules, in this order; a pair is dropped by the first that it breaks: the image is too small or too long, it has too many
texts; the text belongs to too many images (boilerplate), is too short or too long, has a rare word.
"""

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from brickwork.data.splits import normalised

_WORD = re.compile(r"\w+", re.UNICODE)
_EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class CaptionFilter:
    """Rules for the texts of images; the limits are those of ALIGN.

    ``rare_below``: a word (or pair of neighbouring words, with ``ngrams`` 2) that occurs fewer times
    in the corpus is rare; 0 keeps all. The paper keeps the 100 million most frequent uni- and bigrams of 1.8 billion
    texts; on a small corpus that rule deletes what is worth learning, hence a count and single words by default."""

    enabled: bool = False
    max_images_per_text: int = 10
    max_texts_per_image: int = 1000
    min_words: int = 3
    max_words: int = 20
    rare_below: int = 3
    ngrams: int = 1
    min_side: int = 0
    max_aspect: float = 3.0

    def validate(self) -> list[str]:
        if not self.enabled and self != CaptionFilter():
            changed = [name for name, value in vars(self).items() if value != getattr(CaptionFilter, name)]
            return [f"{', '.join(changed)} has no effect without enabled=true; switch it on, or leave it out"]
        problems = [
            f"{name} is {getattr(self, name)}; use at least 1"
            for name in ("max_images_per_text", "max_texts_per_image", "min_words")
            if getattr(self, name) < 1
        ]
        if self.max_words < self.min_words:
            problems.append(f"max_words is {self.max_words}, below min_words={self.min_words}")
        if self.ngrams not in (1, 2):
            problems.append(f"ngrams is {self.ngrams}; use 1 or 2")
        if self.rare_below == 0 and self.ngrams == 2:
            problems.append("ngrams has no effect with rare_below=0; leave it out")
        if self.rare_below < 0 or self.min_side < 0 or self.max_aspect < 1:
            problems.append("rare_below and min_side must not be negative, and max_aspect not below 1")
        return problems


@dataclass
class Audit:
    """What the rules did: how many pairs each dropped, with the first examples."""

    total: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def note(self) -> str:
        """One sentence for the user."""
        rules = ", ".join(
            f"{count} {rule} (like “{self.examples[rule][0][:60]}”)" for rule, count in self.dropped.items()
        )
        return f"the filter kept {self.kept:,} of {self.total:,} pairs" + (
            f"; dropped: {rules}" if rules else ""
        )


def filter_captions(
    texts: Sequence[str],
    image_of: Sequence[int],
    rules: CaptionFilter,
    sizes: Mapping[int, tuple[int, int]] | None = None,
) -> tuple[list[int], Audit]:
    """The rows that pass all rules, and the audit. ``sizes``: width and height of each image, where they are known."""
    audit = Audit(total=len(texts))
    if not rules.enabled:
        audit.kept = len(texts)
        return list(range(len(texts))), audit
    compared = [normalised(text) for text in texts]
    images_of: dict[str, set[int]] = {}
    for text, image in zip(compared, image_of):
        images_of.setdefault(text, set()).add(image)
    texts_of = Counter(image_of)
    words = [_WORD.findall(text) for text in compared]
    grams = [_grams(row, rules.ngrams) for row in words]
    count = Counter(gram for row in grams for gram in row)
    kept = []
    for row, (text, image) in enumerate(zip(compared, image_of)):
        width, height = (sizes or {}).get(image, (rules.min_side, rules.min_side))
        broken = {
            "small or long image": min(width, height) < rules.min_side
            or max(width, height) > rules.max_aspect * min(width, height),
            "image with too many texts": texts_of[image] > rules.max_texts_per_image,
            "text of too many images": len(images_of[text]) > rules.max_images_per_text,
            "text of too few words": len(words[row]) < rules.min_words,
            "text of too many words": len(words[row]) > rules.max_words,
            "text with a rare word": any(count[gram] < rules.rare_below for gram in grams[row]),
        }
        rule = next((name for name, is_broken in broken.items() if is_broken), None)
        if rule is None:
            kept.append(row)
            continue
        audit.dropped[rule] += 1
        examples = audit.examples.setdefault(rule, [])
        if len(examples) < _EXAMPLES:
            examples.append(texts[row])
    audit.kept = len(kept)
    return kept, audit


def _grams(words: Sequence[str], longest: int) -> list[str]:
    pairs = [f"{a} {b}" for a, b in itertools.pairwise(words)] if longest == 2 else []
    return [*words, *pairs]
