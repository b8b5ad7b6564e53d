"""Embedding survey: the working catalogue of classical embeddings, learnt from the user's own texts."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="embedding-survey",
    title="From Word Vectors to Multimodal Embeddings: Techniques, Applications, and Future Directions",
    authors="Zhang, Peng, Sun, Niu, Liu, Chen, Li, Feng, Bi, Liu, Zhang, Song, Fei, Yin, Yan, He, Wang",
    year=2024,
    arxiv="2411.05036",
    group="words, documents, items",
    summary="Vectors of words and texts by any classical method, from your own texts in a minute: skip-gram, CBOW, "
    "fastText, GloVe, factorised counts, latent semantics, topics; all of them compared on your labels, turned onto another "
    "language, compressed, and tested for bias before and after it is taken out.",
    capabilities=("encodes", "evaluates", "predicts", "analyses", "draws", "word vectors", "text"),
    jobs=(
        ("plain texts, no labels, no GPU", "vectors of words and texts in a minute (`export --to word2vec`)"),
        (
            "texts with labels, pairs or scores",
            "which classical embedding is best on them (`--recipe compare`)",
        ),
        (
            "word vectors and lists of words",
            "how biased they are, before and after debiasing (`inspect RUN bias.csv`)",
        ),
    ),
)
