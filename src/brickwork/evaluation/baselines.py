"""Rankings without any learnt vector: BM25 and TF-IDF.

Both see the words of :mod:`brickwork.core.words`, in which identifiers are also split into their parts, so that the
baselines are not handicapped on code.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from brickwork.core.errors import naming_extras
from brickwork.core.words import words


@naming_extras("the BM25 baseline")
def rank_bm25(queries: Sequence[str], documents: Sequence[str], k: int) -> Int[np.ndarray, "queries depth"]:
    """The rows of the best k documents by BM25 (bm25s with its k1=1.5, b=0.75); −1 without a shared word.

    Raises:
        MissingExtraError: bm25s or scikit-learn is not installed.
    """
    import bm25s
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    def tokens(text: str) -> list[str]:
        return [word for word in words(text) if word not in ENGLISH_STOP_WORDS]

    k = min(k, len(documents))
    ranked = np.full((len(queries), k), -1, dtype=np.int64)
    corpus = [tokens(text) for text in documents]
    query_tokens = [tokens(text) for text in queries]
    vocabulary = {word for document in corpus for word in document}
    query_tokens = [[word for word in query if word in vocabulary] for query in query_tokens]
    rows = [row for row, query in enumerate(query_tokens) if query]
    if not rows:
        return ranked
    retriever = bm25s.BM25()
    retriever.index(corpus, show_progress=False)
    matches, scores = retriever.retrieve([query_tokens[row] for row in rows], k=k, show_progress=False)
    ranked[rows] = np.where(scores > 0, matches, -1)
    return ranked


@naming_extras("the TF-IDF baseline")
def rank_tfidf(queries: Sequence[str], documents: Sequence[str], k: int) -> Int[np.ndarray, "queries depth"]:
    """The rows of the best k documents by cosine of TF-IDF vectors (scikit-learn, sublinear counts)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    k = min(k, len(documents))
    ranked = np.full((len(queries), k), -1, dtype=np.int64)
    vectorizer = TfidfVectorizer(analyzer=words, sublinear_tf=True, dtype=np.float32)
    if not any(words(text) for text in documents):
        return ranked
    right = vectorizer.fit_transform(documents).T.tocsr()
    left = vectorizer.transform(queries)
    block = max(1, 50_000_000 // max(1, len(documents)))  # at most 200 MB of scores at once
    for start in range(0, len(queries), block):
        scores = (left[start : start + block] @ right).toarray()
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        matches = np.take_along_axis(scores, best, axis=1) > 0
        ranked[start : start + block] = np.where(matches, best, -1)
    return ranked
