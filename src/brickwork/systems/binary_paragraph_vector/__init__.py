"""Binary paragraph vectors: documents as codes of 32 to 128 bits, learnt from their words."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="binary-paragraph-vector",
    title="Binary Paragraph Vectors",
    authors="Grzegorczyk, Kurdziel",
    year=2017,
    arxiv="1611.01116",
    group="words, documents, items",
    summary="Codes of documents from which their words are predicted, learnt end to end from texts without labels; prefixes "
    "of a code are codes, real vectors beside them where wanted.",
    capabilities=("encodes", "evaluates", "draws", "text"),
    jobs=(("texts without labels", "codes of 32 to 128 bits by which a large collection is searched"),),
)
