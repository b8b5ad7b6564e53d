"""Cheap rules that clean alt-texts by how often things occur (ALIGN, Jia et al. 2021, section 3), with an audit.

Rules, in this order; a pair is dropped by the first that it breaks: the picture is too small or too long, it has too many
texts; the text belongs to too many pictures (boilerplate), is too short or too long, has a rare word.
"""

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from brickwork.data.config import CaptionFilter
from brickwork.data.splits import normalised

_WORD = re.compile(r"\w+", re.UNICODE)
_EXAMPLES = 3


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


def words(text: str) -> list[str]:
    """The words of a text as they are compared."""
    return _WORD.findall(normalised(text))


def filter_captions(
    texts: Sequence[str],
    picture_of: Sequence[int],
    rules: CaptionFilter,
    sizes: Mapping[int, tuple[int, int]] | None = None,
) -> tuple[list[int], Audit]:
    """The rows that pass all rules, and the audit. ``sizes``: width and height of each picture, where they are known."""
    audit = Audit(total=len(texts))
    if not rules.enabled:
        audit.kept = len(texts)
        return list(range(len(texts))), audit
    compared = [normalised(text) for text in texts]
    pictures_of: dict[str, set[int]] = {}
    for text, picture in zip(compared, picture_of):
        pictures_of.setdefault(text, set()).add(picture)
    texts_of = Counter(picture_of)
    grams = [_grams(_WORD.findall(text), rules.ngrams) for text in compared]
    count = Counter(gram for found in grams for gram in found)
    kept = []
    for row, (text, picture) in enumerate(zip(compared, picture_of)):
        number = len(_WORD.findall(text))
        width, height = (sizes or {}).get(picture, (rules.min_side, rules.min_side))
        broken = {
            "small or long picture": min(width, height) < rules.min_side
            or max(width, height) > rules.max_aspect * min(width, height),
            "picture with too many texts": texts_of[picture] > rules.max_texts_per_image,
            "text of too many pictures": len(pictures_of[text]) > rules.max_images_per_text,
            "text of too few words": number < rules.min_words,
            "text of too many words": number > rules.max_words,
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


def _grams(found: Sequence[str], longest: int) -> list[str]:
    pairs = [f"{a} {b}" for a, b in itertools.pairwise(found)] if longest == 2 else []
    return [*found, *pairs]
