"""Words a CPU-second of skip-gram, CBOW and fastText vectors, and how near they are to people's judgements, beside gensim
and fastText's own tool.

    python benchmarks/skip_gram.py                          # ours
    PYTHONPATH=FOLDER python benchmarks/skip_gram.py     # FOLDER: pip install --target FOLDER gensim fasttext-wheel

The same passages, words, dimensions, negatives, thinning and epochs for all, one thread; gensim with one worker. Quality:
mean rank correlation on the sets of word pairs of which 100 have vectors. Needs the sets
language_modelling and word_tasks (`brickwork data`).
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

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


def ours(method: str, texts: list[str], epochs: int, seed: int) -> tuple[float, float]:
    """CPU-seconds, counting words included, and quality of our method."""
    config = Config(method=method, epochs=epochs)  # type: ignore[arg-type]
    made = []

    def work() -> None:
        system = System(config, Vocabulary.from_texts(texts, min_count=5), seed=seed)
        made.append(system)
        for _ in system.fit(Examples({"input": texts}), start=0):
            pass

    seconds = _timed(work)
    return seconds, _quality(dict(made[0].vocabulary.ids), made[0].word_vectors().matrix)


def gensims(method: str, texts: list[str], epochs: int, seed: int) -> tuple[float, float]:
    """The same of gensim, which finds and counts its words as well."""
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


def fasttexts(method: str, texts: list[str], epochs: int, seed: int) -> tuple[float, float]:
    """The same of fastText's own tool, which reads a file."""
    import fasttext

    made = []

    def work(file: Path) -> None:
        file.write_text("\n".join(" ".join(plain_words(text)) for text in texts))
        made.append(
            fasttext.train_unsupervised(
                str(file),
                model="cbow" if method == "cbow" else "skipgram",
                dim=100,
                ws=5,
                neg=5,
                t=1e-3,
                epoch=epochs,
                minCount=5,
                lr=0.025 if method == "sgns" else 0.05,
                minn=3 if method == "fasttext" else 0,
                maxn=6 if method == "fasttext" else 0,
                bucket=2**17,
                thread=1,
                verbose=0,
            )
        )

    with tempfile.TemporaryDirectory() as folder:
        seconds = _timed(lambda: work(Path(folder) / "texts.txt"))
    words = {word: row for row, word in enumerate(made[0].get_words())}
    return seconds, _quality(words, np.stack([made[0].get_word_vector(word) for word in words]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--methods", nargs="*", default=list(_METHODS))
    parser.add_argument("--rivals", nargs="*", default=["brickwork", "gensim", "fastText"])
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
            "brickwork": lambda seed, m=method: ours(m, texts, options.epochs, seed),
            "gensim": lambda seed, m=method: gensims(m, texts, options.epochs, seed),
            "fastText": lambda seed, m=method: fasttexts(m, texts, options.epochs, seed),
        }
        for name in options.rivals:
            run = rivals[name]
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
