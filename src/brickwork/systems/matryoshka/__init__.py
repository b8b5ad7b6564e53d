"""Matryoshka Representation Learning: every listed prefix of the embedding is an embedding of its own."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="matryoshka",
    title="Matryoshka Representation Learning",
    authors="Kusupati, Bhatt, Rege, Wallingford, Sinha, Ramanujan, Howard-Snyder, Chen, Kakade, Jain, Farhadi",
    year=2022,
    arxiv="2205.13147",
    group="elastic size",
    summary="Applies the training loss to several prefixes of one embedding at once, so that it can be cut short "
    "afterwards; spends dimensions adaptively in classification (cascade) and retrieval (shortlist and rerank).",
    capabilities=("encodes", "text", "images", "elastic dims"),
    jobs=(
        ("documents, or pairs of texts", "search with vectors that can be cut to any trained length"),
        ("labelled texts or images", "a classifier that reads more dimensions only where it must"),
    ),
)
