"""Words a CPU-second of skip-gram, CBOW and fastText vectors, and how near they are to people's judgements, beside gensim.

    python benchmarks/skip_gram.py                          # ours
    PYTHONPATH=FOLDER python benchmarks/skip_gram.py     # FOLDER: pip install --target FOLDER gensim

The same passages, words, dimensions and epochs for all, one thread; gensim with one worker. Quality: mean rank correlation
on the sets of word pairs of which 100 have vectors. Needs the sets language_modelling and word_tasks (`brickwork data`).
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from brickwork.core.words import plain_words
from brickwork.data.types import Examples
from brickwork.data.vocabulary import Vocabulary
from brickwork.studies.embedding_survey.measures import similarity, word_pairs
from brickwork.studies.embedding_survey.setups import passages
from brickwork.systems.embedding_survey.config import Config
from brickwork.systems.embedding_survey.system import System

_LEAST = 100
_METHODS = {"sgns": 1, "cbow": 0, "fasttext": 1}


def _quality(words: dict[str, int], matrix: np.ndarray) -> float:
    sets = [
        name
        for name, pairs in word_pairs().items()
        if sum(a in words and b in words for a, b, _ in pairs) >= _LEAST
    ]
    return similarity(words, matrix, sets)


def _timed(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def ours(
    method: str, texts: list[str], vocabulary: Vocabulary, epochs: int, seed: int
) -> tuple[float, float]:
    """CPU-seconds and quality of our method."""
    config = Config(method=method, epochs=epochs)  # type: ignore[arg-type]
    system = System(config, vocabulary, seed=seed)
    seconds = _timed(lambda: list(system.fit(Examples({"input": texts}), start=0)))
    return seconds, _quality(dict(vocabulary.ids), system.word_vectors().matrix)


def gensims(method: str, texts: list[str], epochs: int, seed: int) -> tuple[float, float]:
    """The same of gensim, with its words counted in as ours are."""
    from gensim.models import FastText, Word2Vec

    kind, more = (FastText, {"bucket": 2**17}) if method == "fasttext" else (Word2Vec, {})
    made = []

    def work() -> None:
        sentences = [plain_words(text) for text in texts]
        rate = 0.025 if method == "sgns" else 0.05
        made.append(
            kind(
                sentences,
                sg=_METHODS[method],
                workers=1,
                seed=seed,
                epochs=epochs,
                alpha=rate,
                vector_size=100,
                **more,
            )
        )

    seconds = _timed(work)
    return seconds, _quality(dict(made[0].wv.key_to_index), made[0].wv.vectors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--methods", nargs="*", default=list(_METHODS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    texts = passages(None)
    vocabulary = Vocabulary.from_texts(texts, min_count=5)
    words = options.epochs * sum(len(plain_words(text)) for text in texts)
    print(
        f"{len(texts):,} passages, {words // options.epochs:,} words, {len(vocabulary):,} in the vocabulary"
    )
    for method in options.methods:
        rivals: dict[str, Callable[[int], tuple[float, float]]] = {
            "brickwork": lambda seed, m=method: ours(m, texts, vocabulary, options.epochs, seed),
            "gensim": lambda seed, m=method: gensims(m, texts, options.epochs, seed),
        }
        for name, run in rivals.items():
            try:
                results = [run(seed) for seed in range(options.seeds)]
            except ImportError:
                print(f"{method:9} {name}: not installed")
                continue
            seconds, quality = (np.mean(values) for values in zip(*results))
            print(
                f"{method:9} {name:10} {words / seconds:10,.0f} words a CPU-second, rank correlation {quality:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
