"""Disambiguated Skip-gram: a vector for each sense of each word, and which sense a word has in a sentence."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="disambiguated-skipgram",
    title="Disambiguated skip-gram model",
    authors="Grzegorczyk, Kurdziel",
    year=2018,
    arxiv="1901.01695",
    group="words, documents, items",
    summary="From plain texts: a vector for each sense of each word, chosen by its context and learnt by back-propagation, "
    "without a lexicon. Senses that are hardly used are pruned; a word in a sentence gets its sense, a probability, and the "
    "words nearest to it.",
    capabilities=("predicts", "evaluates", "analyses", "draws", "words", "text"),
    jobs=(
        (
            "plain texts, best a million words or more",
            "the senses of ambiguous words, which one a word has in a sentence, and sense vectors for word2vec's tools",
        ),
    ),
)
