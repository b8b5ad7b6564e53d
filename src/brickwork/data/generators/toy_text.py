"""A small made-up language for smoke tests: pairs that share a meaning and hardly a word.

Every example is a fact (who, does what, with what, where). Its anchor asks with one word for each concept, its
positive states it with another, so that what matches must be learnt. It depends on nothing that is installed.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Each concept has two words: the one that questions use and the one that statements use.
_WHO = (
    "baker/breadmaker doctor/physician pilot/aviator farmer/grower teacher/instructor painter/artist "
    "lawyer/attorney sailor/seaman child/youngster king/monarch thief/robber writer/author singer/vocalist "
    "guard/sentry boss/manager neighbour/resident"
)
_DOES = (
    "buys/purchases mends/repairs hides/conceals finds/discovers sells/trades cleans/washes breaks/shatters "
    "carries/transports borrows/loans paints/colours counts/tallies throws/hurls"
)
_WHAT = (
    "car/automobile coat/jacket sofa/couch stone/rock ship/vessel picture/image lamp/lantern present/gift "
    "bag/sack cup/mug rope/cord ring/band letter/message knife/blade bottle/flask clock/timepiece"
)
_WHERE = (
    "forest/woodland town/city street/road shop/store harbour/port house/dwelling field/meadow hill/mound "
    "school/academy hospital/clinic"
)
_QUESTIONS = (
    "who {does} a {what} in the {where}? the {who}?",
    "does the {who} in the {where} {does} the {what}",
)
_STATEMENTS = (
    "At the {where} there is an old {who}; it is known that he {does} one {what} every day.",
    "One {what}: the {who} {does} it near the {where}, as people say.",
)


def _concepts(words: str) -> list[list[str]]:
    return [pair.split("/") for pair in words.split()]


@dataclass(frozen=True)
class ToyFact:
    """A fact as it is asked and as it is stated; ``concepts``: the question word of its ``who``, ``does``, ``what``,
    ``where``."""

    question: str
    statement: str
    concepts: Mapping[str, str]


def toy_pairs(count: int, seed: int) -> list[tuple[str, str]]:
    """``count`` (anchor, positive) pairs of different facts, a pure function of the arguments.

    Raises:
        ValueError: more pairs than there are facts.
    """
    return [(fact.question, fact.statement) for fact in toy_facts(count, seed)]


def toy_facts(count: int, seed: int) -> list[ToyFact]:
    """``count`` different facts, a pure function of the arguments. Raises as :func:`toy_pairs`."""
    columns: Sequence[list[list[str]]] = [_concepts(words) for words in (_WHO, _DOES, _WHAT, _WHERE)]
    names = ("who", "does", "what", "where")
    total = 1
    for column in columns:
        total *= len(column)
    if count > total:
        raise ValueError(f"{count} pairs were asked for; there are {total} facts")
    rng = random.Random(seed)
    facts = []
    for fact in rng.sample(range(total), count):
        concepts = {}
        for name, column in zip(names, columns):
            fact, place = divmod(fact, len(column))
            concepts[name] = column[place]
        asked = {name: words[0] for name, words in concepts.items()}
        stated = {name: words[1] for name, words in concepts.items()}
        question = rng.choice(_QUESTIONS).format(**asked)
        facts.append(ToyFact(question, rng.choice(_STATEMENTS).format(**stated), asked))
    return facts
