"""What the battery has to know of text2token."""

from dataclasses import replace
from typing import Any

from brickwork.systems.text2token.config import Filter
from brickwork.systems.text2token.recipes import smoke

UNTESTED = {
    "head": "takes what a pretrained model knows; tests/systems/test_text2token_pretrained.py",
    "related": "asks a causal language model; tests/systems/test_text2token_pretrained.py",
    "warm_share": "says how long a stage is; tests/systems/test_text2token.py",
    "objective": "a model that learnt by dropout has no words to predict; tests/systems/test_text2token.py",
    "head_rate": "a learning rate, and the battery has its own optimiser; tests/systems/test_text2token.py",
    "targets": "says which stages there are; tests/systems/test_text2token.py",
}
CANDIDATES = {
    "words": [30],
    "filter": [None, Filter(frequent=5)],
    "filter.most_documents": [0.03],
    "filter.fewest_documents": [40],
    "filter.frequent": [60],
    "mixture": [0.6],
    "related_words": [2],
    "target_words": [1],
}


def runs() -> list[Any]:
    """Both kinds of words from the start, and the rival."""
    run = smoke()
    plain = replace(run.model, warm_share=0.0, related_words=None)
    rival = replace(plain, objective="dropout", encoder=replace(plain.encoder, dropout=0.1))
    return [replace(run, model=model) for model in (replace(plain, targets="mixture"), rival)]
