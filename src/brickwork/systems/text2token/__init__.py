"""Text2Token: vectors of texts that are learnt by predicting which words a text is about, and that can be read as words."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="text2token",
    title="Text2Token",
    authors="An, Nie, Wu, Zhang, Long",
    year=2025,
    arxiv="2510.10224",
    group="learning objectives",
    summary="Learns vectors from texts without labels or pairs: each has to predict the words that the text is about, "
    "those in it and related ones. The vectors are read as words again: sparse vectors, and a reason for each hit.",
    capabilities=("encodes", "reads words", "predicts", "draws", "text"),
    jobs=(
        (
            "documents, no labels",
            "dense and sparse search from one model, with the words that connect a query with each hit",
        ),
    ),
)
