"""A made-up language in which some words belong to two topics, so that their senses are known."""

import random

_TOPICS = {
    "river": "water flow stream shore boat mud bridge flood valley ferry",
    "money": "loan credit account cash deposit debt market price fund tax",
    "music": "guitar drum song concert melody rhythm stage tune voice choir",
    "sport": "ball team goal match player coach score league stadium referee",
    "animals": "fur tail wing forest nest hunt claw feather wolf owl",
    "machines": "engine steel wire motor gear pump valve bolt piston lever",
}
_HOMONYMS = {
    "bank": ("river", "money"),
    "bass": ("river", "music"),
    "bat": ("sport", "animals"),
    "crane": ("animals", "machines"),
    "note": ("money", "music"),
    "pitch": ("music", "sport"),
    "seal": ("animals", "machines"),
    "spring": ("river", "machines"),
}
_LENGTH = 12


def homonyms(count: int, seed: int) -> list[tuple[str, str, str]]:
    """``count`` texts of one topic each, the homonym in each, and the topic: its sense."""
    rng = random.Random(seed)
    results = []
    for _ in range(count):
        topic = rng.choice(list(_TOPICS))
        words = rng.choices(_TOPICS[topic].split(), k=_LENGTH)
        word = rng.choice([name for name, topics in _HOMONYMS.items() if topic in topics])
        words.insert(rng.randrange(len(words) + 1), word)
        results.append((" ".join(words), word, topic))
    return results
