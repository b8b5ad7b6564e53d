"""Topics: texts as mixtures of them, topics as frequencies of words.

Shape legend: T tokens, N texts, V words, K topics.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from brickwork.core.seeding import uniforms
from brickwork.data.vocabulary import text_of_each

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

ALPHA, BETA = 0.1, 0.01
"""Dirichlet priors of the topics of a text, and of the words of a topic."""
_TOKENS = 4096  # that are drawn at a time
_LAST, _EVERY = 0.5, 10  # φ is the mean of every tenth sweep of the last half
_FOLD_STEPS = 50


def fold_in(
    tokens: Int[Tensor, " tokens"],
    text_of: Int[Tensor, " tokens"],
    num_texts: int,
    words: Float[Tensor, "words topics"],
    alpha: float,
) -> Float[Tensor, "texts topics"]:
    """Shares of topics of texts whose topics are known: expectation maximisation, θ_k ∝ α + Σ_t θ_k φ_kt / Σ_j θ_j φ_jt.

    Of a text without words all shares are 0.
    """
    likely = words[tokens]
    theta = torch.full(
        (num_texts, words.shape[1]), 1 / words.shape[1], dtype=words.dtype, device=words.device
    )
    for _ in range(_FOLD_STEPS):
        each = likely * theta[text_of]
        each = each / each.sum(1, keepdim=True).clamp_min(1e-30)
        theta = torch.full_like(theta, alpha).index_add_(0, text_of, each)
        theta = theta / theta.sum(1, keepdim=True).clamp_min(1e-30)
    there = torch.bincount(text_of, minlength=num_texts) > 0
    return theta * there[:, None]


def gibbs(
    ids: Int[np.ndarray, " tokens"],
    ends: Int[np.ndarray, " texts"],
    num_words: int,
    topics: int,
    sweeps: int,
    seed: int,
) -> Float[np.ndarray, "topics words"]:
    """φ of latent Dirichlet allocation by collapsed Gibbs sampling (Griffiths & Steyvers 2004): a token's topic is drawn
    from P(k) ∝ (n_dk + α)(n_kw + β)/(n_k + Vβ), itself left out of the counts.

    Some thousand tokens are drawn at a time, with the counts from before them (Newman et al. 2009, AD-LDA). What is drawn is
    a function of the seed, the sweep and the place.
    """
    text_of = text_of_each(ends)
    place = np.arange(len(ids))
    topic = (uniforms(f"{seed}/topics", place, 1)[0] * topics).astype(np.int64)
    by_text, by_word, total = counts_of(ids, text_of, topic, len(ends), num_words, topics)
    phi, taken = np.zeros((num_words, topics)), 0
    for sweep in range(sweeps):
        chance = uniforms(f"{seed}/{sweep}/topics", place, 1)[0]
        for start in range(0, len(ids), _TOKENS):
            some = slice(start, start + _TOKENS)
            w, d, k = ids[some], text_of[some], topic[some]
            rows = np.arange(len(w))
            here, word, every = by_text[d].copy(), by_word[w].copy(), np.repeat(total[None], len(w), 0)
            for table in (here, word, every):
                table[rows, k] -= 1
            share = (here + ALPHA) * (word + BETA) / (every + num_words * BETA)
            summed = share.cumsum(1)
            new = (summed < (chance[some] * summed[:, -1])[:, None]).sum(1)
            new = np.minimum(new, topics - 1)
            for table, row in ((by_text, d), (by_word, w)):
                np.add.at(table, (row, k), -1)
                np.add.at(table, (row, new), 1)
            total += np.bincount(new, minlength=topics) - np.bincount(k, minlength=topics)
            topic[some] = new
        left = sweeps - 1 - sweep
        if left < sweeps * _LAST and left % _EVERY == 0:
            phi += (by_word + BETA) / (total + num_words * BETA)
            taken += 1
    return (phi / taken).T


def counts_of(
    ids: np.ndarray, text_of: np.ndarray, topic: np.ndarray, texts: int, words: int, topics: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many tokens of each text, of each word and in all have each topic."""
    by_text = np.bincount(text_of * topics + topic, minlength=texts * topics).reshape(texts, topics)
    by_word = np.bincount(ids * topics + topic, minlength=words * topics).reshape(words, topics)
    return by_text, by_word, np.bincount(topic, minlength=topics)


def variational(bags: "csr_matrix", topics: int, epochs: int, seed: int) -> Float[np.ndarray, "topics words"]:
    """φ of the same model by online variational Bayes (Hoffman, Blei, Bach 2010), as scikit-learn has it."""
    from sklearn.decomposition import LatentDirichletAllocation

    model = LatentDirichletAllocation(
        topics,
        doc_topic_prior=ALPHA,
        topic_word_prior=BETA,
        learning_method="online",
        max_iter=epochs,
        random_state=seed,
    )
    model.fit(bags)
    phi: np.ndarray = model.components_ / model.components_.sum(1, keepdims=True)
    return phi


def factors(bags: "csr_matrix", topics: int, steps: int, seed: int) -> Float[np.ndarray, "topics words"]:
    """Words of non-negative factors of the counts, by generalised Kullback-Leibler divergence (Lee & Seung 2001), as
    scikit-learn has it; each with sum 1, so that texts are mixtures of them."""
    import warnings

    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning

    model = NMF(
        topics, init="nndsvda", solver="mu", beta_loss="kullback-leibler", max_iter=steps, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # as many steps as were asked for
        model.fit(bags)
    rows: np.ndarray = model.components_
    return rows / np.maximum(rows.sum(1, keepdims=True), 1e-12)
