"""What the claims measure."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from brickwork.core.errors import DataError
from brickwork.data.sets.sources import locate
from brickwork.data.vocabulary import Vocabulary
from brickwork.data.windows import Tokens, cooccurrence, ppmi
from brickwork.evaluation.similarity import spearman
from brickwork.representation.nearest import top_k
from brickwork.representation.subwords import character_ngrams
from brickwork.representation.vectors import WordVectors
from brickwork.studies.bench import Trained
from brickwork.studies.embedding_survey.setups import PEOPLE
from brickwork.systems.embedding_survey import alignment, bias, numbers
from brickwork.systems.embedding_survey.compression import COMPRESSIONS
from brickwork.systems.embedding_survey.measuring import cosines

CHOSEN_BY = ("EN-MEN-TR-3k",)
TESTED_BY = ("EN-WS-353-ALL", "EN-SIMLEX-999")
_LEAST = 30  # pairs of a set that must have vectors
_MANY = 500


def word_pairs() -> dict[str, list[tuple[str, str, float]]]:
    """Set of word similarities → its pairs with their scores by people."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(
        locate("word_tasks") / "word_tasks/word_similarity.parquet"
    ).to_pydict()
    found: dict[str, list[tuple[str, str, float]]] = {}
    for name, one, other, score in zip(*(table[c] for c in ("dataset", "word1", "word2", "score"))):
        found.setdefault(name, []).append((one.lower(), other.lower(), float(score)))
    return found


def similarity(words: dict[str, int], matrix: object, sets: Sequence[str]) -> float:
    """The mean rank correlation of cosines with people's scores over sets, of pairs that have vectors (dense or sparse)."""
    values = []
    for name in sets:
        pairs = [(words[a], words[b], s) for a, b, s in word_pairs()[name] if a in words and b in words]
        if len(pairs) < _LEAST:
            raise DataError(f"{name}: {len(pairs)} pairs have vectors, {_LEAST} are needed; more texts")
        left, right, scores = (list(side) for side in zip(*pairs))
        rows: list[float] = []
        for start in range(0, len(left), _MANY):
            part = slice(start, start + _MANY)
            rows += np.diag(cosines(matrix[left[part]], matrix[right[part]])).tolist()  # type: ignore[index]
        values.append(spearman(np.array(rows), np.array(scores)))
    return float(np.mean(values))


def similarities(trained: Trained) -> dict[str, float]:
    """Of the word vectors of a system: on the set that methods are chosen by, and on those they are tested by."""
    vectors = trained.system.word_vectors()
    return {
        "chosen by": similarity(vectors.places, vectors.matrix, CHOSEN_BY),
        "tested by": similarity(vectors.places, vectors.matrix, TESTED_BY),
    }


def sparse_similarities(vocabulary: Vocabulary, texts: Sequence[str]) -> dict[str, float]:
    """The same of rows of positive mutual information as they are."""
    mutual = ppmi(cooccurrence(Tokens.of(vocabulary, texts), 5, len(vocabulary)))
    ids = dict(vocabulary.ids)
    return {"chosen by": similarity(ids, mutual, CHOSEN_BY), "tested by": similarity(ids, mutual, TESTED_BY)}


def compressed_similarity(trained: Trained) -> dict[str, float]:
    """Way to keep the table → the test above."""
    vectors = trained.system.word_vectors()
    return {
        name: similarity(vectors.places, compress(vectors.matrix)[0], TESTED_BY)
        for name, compress in COMPRESSIONS.items()
    }


def removed_words(vocabulary: Vocabulary, seed: int) -> set[str]:
    """A tenth of the words of five letters and more, that are not among the hundred most frequent."""
    words = [word for word in vocabulary.entries[100:] if len(word) >= 5 and word.isalpha()]
    drawn = np.random.default_rng(seed).random(len(words)) < 0.1
    return {word for word, gone in zip(words, drawn) if gone}


def unseen_neighbours(full: WordVectors, without: Trained, removed: Sequence[str]) -> dict[str, float]:
    """Of words that were removed from the texts, the share of the ten nearest by full training that are among the ten
    nearest by parts of words, and by the spelling alone (cosine of n-grams)."""
    encoder = without.system.encoder_of("fasttext")
    known = [w for w in without.system.vocabulary.entries if w in full]
    gone = [w for w in removed if w in full][:_MANY]
    wanted = _nearest(
        full.matrix[[full.places[w] for w in gone]], full.matrix[[full.places[w] for w in known]]
    )
    table = without.system.word_vectors()
    made = encoder(encoder.tokenize(gone), [1])[1].numpy()
    by_parts = _nearest(made, table.matrix[[table.places[w] for w in known]])
    grams = [set(character_ngrams(w, 3, 6)) for w in known]
    by_spelling = []
    for word in gone:
        own = set(character_ngrams(word, 3, 6))
        scores = [len(own & g) / (len(own) * len(g)) ** 0.5 for g in grams]
        by_spelling.append(np.argsort(-np.array(scores), kind="stable")[:10])
    return {
        "parts": _shared(wanted, by_parts),
        "spelling": _shared(wanted, np.array(by_spelling)),
    }


def _nearest(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    a, b = (bias.unit(x).astype(np.float32) for x in (queries, rows))
    return top_k(a, b, 10)[1]


def _shared(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.mean([len(set(a.tolist()) & set(b.tolist())) / 10 for a, b in zip(one, other)]))


def translation(one: WordVectors, other: WordVectors, pairs: int, ranks: tuple[int, int]) -> dict[str, float]:
    """Two spaces of the same words: precision at 1 of words of the middle ranks, by a turn and by any matrix that ``pairs``
    frequent words are learnt from, by cosine and with CSLS."""
    common = [word for word in one.words if word in other][: ranks[1]]
    x = alignment.centred(one.matrix[[one.places[w] for w in common]])
    y = alignment.centred(other.matrix[[other.places[w] for w in common]])
    seeds, held = slice(0, pairs), np.arange(ranks[0], len(common))
    found = {}
    for name, learn in (("turn", alignment.procrustes), ("any matrix", alignment.least_squares)):
        mapped = bias.unit(x[held] @ learn(x[seeds], y[seeds]).T)
        found[f"{name}, cosine"] = float(alignment.hits(mapped @ y.T, held).mean())
        found[f"{name}, CSLS"] = float(alignment.hits(alignment.csls(mapped, y), held).mean())
    return found


def association(
    vectors: WordVectors, jobs: Mapping[str, Sequence[str]], people: Mapping[str, Sequence[str]], seed: int
) -> dict[str, float]:
    """A planted test: effect, p and difference before, difference after hard debiasing, and what two clusters still tell.
    The first half of the people define the direction, the test is of the others."""
    half = len(people["a"]) // 2
    x, y, a, b = (
        [vectors.places[w] for w in words] for words in (jobs["a"], jobs["b"], people["a"], people["b"])
    )
    axis = bias.direction(vectors.matrix[a[:half]], vectors.matrix[b[:half]])
    own, sides = bias.leaning(vectors.matrix, axis, len(vectors) // 6, [*a, *b])
    hard = bias.hard_debias(vectors.matrix, list(zip(a[:half], b[:half])))
    clean = bias.inlp(vectors.matrix, own, sides, seed=seed)
    test = (x, y, a[half:], b[half:])
    before = bias.weat(*(vectors.matrix[part] for part in test), seed=seed)
    after = bias.weat(*(hard[part] for part in test), seed=seed)
    return {
        "effect": before.effect,
        "p": before.p,
        "difference": before.difference,
        "hard, difference": after.difference,
        "hard, clusters": bias.recovered(hard, own, sides, seed),
        "INLP, clusters": bias.recovered(clean, own, sides, seed),
    }


def still_told(trained: Trained) -> dict[str, float]:
    """Of real texts, how well two clusters tell the sides of the words that leaned most to either before debiasing."""
    vectors = trained.system.word_vectors()
    pairs = [
        (vectors.places[a], vectors.places[b])
        for a, b in zip(PEOPLE["a"], PEOPLE["b"])
        if a in vectors and b in vectors
    ]
    first, second = (vectors.matrix[list(side)] for side in zip(*pairs))
    leave = [row for pair in pairs for row in pair]
    own, sides = bias.leaning(
        vectors.matrix, bias.direction(first, second), min(_MANY, len(vectors) // 10), leave
    )
    hard = bias.hard_debias(vectors.matrix, pairs)
    clean = bias.inlp(vectors.matrix, own, sides, seed=trained.seed)
    return {
        name: bias.recovered(m, own, sides, trained.seed) for name, m in (("hard", hard), ("INLP", clean))
    }


def decoded(name: str, seed: int, dim: int, count: int) -> float:
    """R² of a ridge regression from vectors of integers below 10,000 to their value, on the 30 % that were left out."""
    from sklearn.linear_model import RidgeCV
    from sklearn.metrics import r2_score

    rng = np.random.default_rng(seed)
    x = rng.permutation(10_000)[:count].astype(float)
    vectors: Float[np.ndarray, "n d"]
    if name == "DICE":
        vectors = numbers.dice(x, dim, 0.0, 1e4, seed)
    elif name == "Fourier":
        vectors = numbers.fourier(x, dim)
    elif name == "prototypes":
        vectors = numbers.prototypes(x, np.expm1(np.linspace(0, np.log1p(1e4), dim)))
    else:
        vectors = rng.normal(size=(count, dim))
    train = rng.random(count) < 0.7
    model = RidgeCV(alphas=np.geomspace(1e-8, 1e2, 11)).fit(vectors[train], x[train])
    return float(r2_score(x[~train], model.predict(vectors[~train])))
