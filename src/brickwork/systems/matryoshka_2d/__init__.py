"""2D Matryoshka Sentence Embeddings: cut the embedding's width and the encoder's depth, in one model."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="matryoshka-2d",
    title="2D Matryoshka Sentence Embeddings",
    authors="Li, Li, Li, Xie, Li",
    year=2024,
    arxiv="2402.14776",
    group="elastic size",
    summary="Trains a sentence encoder so that the pooled embedding after any layer, cut to any prefix, is good. "
    "Five published variants: 2DMSE, its weighted form, ESE, AdaptiveLayer/Matryoshka2d, Starbucks.",
    capabilities=("encodes", "text", "elastic dims", "elastic layers"),
    jobs=(("documents, or pairs of texts", "the same, and an encoder that can stop after fewer layers"),),
)
