"""The claims. The survey has no experiments: each is what it says of a family, with a criterion of ours.

Smoke: 150,000 words in 30 dimensions, which no claim is meant for. Small: 2.4 million words in 100 dimensions. Words are
compared with people's scores (WordSim-353 and SimLex-999; methods are chosen by MEN), of the pairs that have vectors.
"""

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from brickwork.core.words import plain_words
from brickwork.data.config import DataConfig
from brickwork.data.load import load_task
from brickwork.evaluation.clustering import npmi
from brickwork.evaluation.similarity import spearman
from brickwork.studies.bench import Trained
from brickwork.studies.effects import AnyOf, Effect, Fact, average
from brickwork.studies.embedding_survey.measures import (
    association,
    compressed_similarity,
    decoded,
    removed_words,
    similarities,
    sparse_similarities,
    still_told,
    translation,
    unseen_neighbours,
)
from brickwork.studies.embedding_survey.setups import JOBS, PEOPLE, corpus, learnt, planted, sizes
from brickwork.studies.study import ClaimResult, Lab, claim
from brickwork.systems.embedding_survey.measuring import cosines

_NEEDS = "2.4 million words in 100 dimensions"
_DENSE = ("sgns", "cbow", "fasttext", "glove", "ppmi-svd", "lsa")
_TOPICS = ("lda", "lda-online")


@claim(
    "C1",
    "Dense vectors are nearer to people's judgements of words than sparse rows of counts",
    paper="dense vectors replaced sparse ones (no number)",
    criterion="the dense method that is best on MEN − raw PPMI rows at least .03 on WordSim-353 and SimLex-999",
    needs=_NEEDS,
)
def dense_over_sparse(lab: Lab) -> ClaimResult:
    texts = corpus(lab)
    methods = _DENSE[-2:] if lab.smoke else _DENSE
    arms = lab.arms({m: learnt(lab, "corpus", lambda seed: texts, method=m, **sizes(lab)) for m in methods})
    at = arms.measure(similarities, key="sets")
    vocabulary = next(iter(arms.values()))[0].system.vocabulary
    raw = sparse_similarities(vocabulary, texts)["tested by"]
    best = max(methods, key=lambda name: at[name, "chosen by"].mean)
    gain = at[best, "tested by"] - raw
    return lab.verdict(
        gain,
        {"gain": gain >= 0.03},
        unit=f"rank correlation, {best} − raw PPMI",
        table=at.rows("arm", digits=3),
        note=f"Raw PPMI rows: {raw:.3f}. One-hot rows have none.",
    )


@claim(
    "C2",
    "Parts of words give useful vectors to words that were never seen",
    paper="fastText helps with rare and unseen words (no number)",
    criterion="of the ten nearest words by full training, n-grams find at least .3, or twice what spelling alone finds",
    needs=_NEEDS,
)
def unseen_words(lab: Lab) -> ClaimResult:
    texts = corpus(lab)
    more: dict[str, Any] = {**sizes(lab), "method": "fasttext"}
    if lab.smoke:
        more |= {"buckets": 20_000, "epochs": 1}
    found: dict[str, list[float]] = {"parts": [], "spelling": []}
    for seed in lab.seeds:
        full = lab.arms({"all words": learnt(lab, "corpus", lambda seed: texts, **more)})["all words"][
            lab.seeds.index(seed)
        ]
        gone = removed_words(full.system.vocabulary, seed)

        def without(seed: int, gone: set[str] = gone) -> list[str]:
            return [" ".join(w for w in plain_words(text) if w not in gone) for text in texts]

        one = learnt(lab, f"corpus without {seed}", without, **more)(seed)
        result = unseen_neighbours(full.system.word_vectors(), one, sorted(gone))
        for name, values in found.items():
            values.append(result[name])
    parts, spelling = (Effect(tuple(values)) for values in found.values())
    return lab.verdict(
        parts,
        {"parts": AnyOf((parts >= 0.3, parts - 2 * spelling >= 0))},
        unit="share of the ten nearest words of full training that n-grams of the unseen word find",
        table=[
            {"seed": s, "parts": p, "spelling": q}
            for s, p, q in zip(lab.seeds, parts.values, spelling.values)
        ],
        note=f"Nearest by spelling alone: {spelling.mean:.3f}.",
    )


@claim(
    "C3",
    "Weighted aggregation without the common direction is a better sentence than the plain mean",
    paper="SIF over averages (no number)",
    criterion="SIF − mean at least .02 in rank correlation on the test part of STS-B, the same skip-gram vectors",
    needs=_NEEDS,
)
def weighted_means(lab: Lab) -> ClaimResult:
    sts = lab.bench.memo("survey sts", lambda: load_task(DataConfig(source="sts_benchmark"), 0))
    own = [t for c in ("anchor", "positive") for t in sts.train.columns[c]]
    texts = [*corpus(lab), *own]
    more = {"epochs": 1} if lab.smoke else {}
    ways = ("mean", "tfidf", "sif", "usif")
    arms = lab.arms(
        {
            way: learnt(
                lab, "corpus and sts", lambda seed: texts, method="sgns", pooling=way, **sizes(lab), **more
            )
            for way in ways
        }
    )
    columns = sts.test.columns
    scores = np.asarray(columns["score"], float)

    def correlation(trained: Trained) -> float:
        a, b = (trained.system.encode(list(columns[c])) for c in ("anchor", "positive"))
        return spearman((a * b).sum(1), scores)

    at = arms.measure(correlation)
    gain = at["sif"] - at["mean"]
    vocabulary = arms["mean"][0].system.vocabulary
    a, b = (vocabulary.bags(columns[c]).multiply(vocabulary.idf()).tocsr() for c in ("anchor", "positive"))
    plain = spearman(np.diag(cosines(a, b)), scores)
    return lab.verdict(
        gain,
        {"gain": gain >= 0.02},
        unit="rank correlation on STS-B, SIF − mean",
        table=at.rows("arm", digits=3),
        note=f"TF-IDF cosine: {plain:.3f}.",
    )


@claim(
    "C4",
    "Spaces that were learnt apart are alike up to a turn: few pairs suffice, and CSLS repairs hubs",
    paper="orthogonal maps and CSLS (no number)",
    criterion="100 pairs: turn − any matrix (CSLS) above 0; turn: CSLS − cosine at least .05; two halves of the same texts, "
    "PPMI-SVD of 100 dimensions, 4,000 words, tested on ranks 1,000 to 2,500",
    needs=_NEEDS,
)
def turned_spaces(lab: Lab) -> ClaimResult:
    texts = corpus(lab)
    limits = {"dimensions": 30, "vocabulary": 800} if lab.smoke else {"dimensions": 100, "vocabulary": 4000}
    ranks = (150, 500) if lab.smoke else (1000, 2500)

    def half(which: int, seed: int) -> list[str]:
        side = np.random.default_rng(seed).permutation(len(texts)) % 2
        return [text for text, own in zip(texts, side) if own == which]

    arms = lab.arms(
        {
            f"half {which}": learnt(
                lab, f"half {which}", partial(half, which), method="ppmi-svd", min_count=2, **limits
            )
            for which in (0, 1)
        }
    )
    tables = {}
    for pairs in (100, 500) if not lab.smoke else (50, 100):
        found = [
            translation(one.system.word_vectors(), other.system.word_vectors(), pairs, ranks)
            for one, other in zip(*arms.values())
        ]
        tables[pairs] = {name: Effect(tuple(f[name] for f in found)) for name in found[0]}
    few = next(iter(tables.values()))
    gain, repaired = few["turn, CSLS"] - few["any matrix, CSLS"], few["turn, CSLS"] - few["turn, cosine"]
    return lab.verdict(
        gain,
        {"turn": gain > 0, "CSLS": repaired >= 0.05},
        unit=f"precision at 1, turn − any matrix, {next(iter(tables))} pairs, CSLS",
        table=[{"pairs": p, **{n: round(e.mean, 3) for n, e in row.items()}} for p, row in tables.items()],
        note="Both halves are of the same sources, which is easier than another language.",
    )


@claim(
    "C5",
    "Word vectors are kept in several times fewer bytes at a small loss",
    paper="compression by quantisation (no number)",
    criterion="skip-gram: float − int8 (4 times fewer bytes) at most .005, float − product quantiser of D/2 bytes (8 times) "
    "at most .03 in rank correlation",
    needs=_NEEDS,
)
def fewer_bytes(lab: Lab) -> ClaimResult:
    texts = corpus(lab)
    more = {"epochs": 1} if lab.smoke else {}
    arms = lab.arms({"sgns": learnt(lab, "corpus", lambda seed: texts, method="sgns", **sizes(lab), **more)})
    at = arms.measure(compressed_similarity, key="kept as")
    lost = {name: at["sgns", "float"] - at["sgns", name] for name in at.labels("kept as")}
    half = lost["product quantiser, D/2 parts"]
    return lab.verdict(
        half,
        {"int8": lost["int8"] <= 0.005, "product quantiser": half <= 0.03},
        unit="rank correlation lost with D/2 bytes a word",
        table=at.rows("kept as", digits=4),
        note="D/4 bytes, half of the principal components and sign bits are information without a limit.",
    )


@claim(
    "C6",
    "Vectors take on the associations of their texts; taking out a direction lowers the measure and leaves the rest",
    paper="bias and its mitigation (no number)",
    criterion="planted ratios 1, 2, 4, 8: effect rises with each; p < .01 from 4 on; p > .05 in 9 of 10 texts of ratio 1; "
    "hard debiasing leaves less than .2 of the difference at 8; of skip-gram vectors of real texts two clusters then still "
    "tell more than .7 of the words that leaned most, and after INLP fewer",
    needs=_NEEDS,
)
def planted_bias(lab: Lab) -> ClaimResult:
    ratios = (1, 4) if lab.smoke else (1, 2, 4, 8)
    model: dict[str, Any] = {"method": "ppmi-svd", "dimensions": 20 if lab.smoke else 50, "min_count": 2}
    arms = lab.arms({str(r): learnt(lab, f"planted {r}", partial(planted, r), **model) for r in ratios})

    def measured(trained: Trained) -> dict[str, float]:
        return association(trained.system.word_vectors(), JOBS, PEOPLE, trained.seed)

    at = arms.measure(measured, key="what", arm="ratio")
    last = str(ratios[-1])
    rises = {f"{b} over {a}": at[str(b), "effect"] - at[str(a), "effect"] > 0 for a, b in pairwise(ratios)}
    controls = [
        learnt(lab, "planted 1", partial(planted, 1), **model)(seed) for seed in range(4 if lab.smoke else 10)
    ]
    calm = sum(measured(one)["p"] > 0.05 for one in controls)
    texts, more = corpus(lab), {"epochs": 1} if lab.smoke else {}
    real = lab.arms({"sgns": learnt(lab, "corpus", lambda seed: texts, method="sgns", **sizes(lab), **more)})
    clusters = real.measure(still_told, key="after")
    left = average([at[last, "hard, difference"]]) / at[last, "difference"]
    return lab.verdict(
        at[last, "effect"],
        {
            **rises,
            "p": at["4", "p"] <= 0.01,
            "control": Fact(
                calm >= 0.9 * len(controls),
                f"p > .05 in 9 of 10 texts of ratio 1 ({calm} of {len(controls)})",
            ),
            "left": left <= 0.2,
            "clusters after hard debiasing": clusters["sgns", "hard"] >= 0.7,
            "fewer after INLP": clusters["sgns", "hard"] - clusters["sgns", "INLP"] > 0,
        },
        unit=f"standard deviations, planted ratio {last}",
        table=at.rows("ratio", digits=3),
        note=f"Left of the difference in cosines after hard debiasing: {left.mean:.3f}. People who define the "
        f"direction are not those of the test. Two clusters, real texts: hard {clusters['sgns', 'hard'].mean:.2f}, INLP "
        f"{clusters['sgns', 'INLP'].mean:.2f}.",
    )


@claim(
    "C7",
    "Encodings made for numbers hold their value, random vectors do not",
    paper="dedicated encodings for numbers (no number)",
    criterion="ridge regression of the value, 32 dimensions, integers below 10,000 that were left out: R² of DICE and of "
    "Fourier features at least .95, of random vectors at most .1",
)
def numbers_as_vectors(lab: Lab) -> ClaimResult:
    count = 1000 if lab.smoke else 10_000
    names = ("DICE", "Fourier", "prototypes", "random")
    at = {name: Effect(tuple(decoded(name, seed, 32, count) for seed in lab.seeds)) for name in names}
    return lab.verdict(
        at["DICE"],
        {"DICE": at["DICE"] >= 0.95, "Fourier": at["Fourier"] >= 0.95, "random": at["random"] <= 0.1},
        unit="R² of the value, DICE",
        table=[{"encoding": name, "R²": round(one.mean, 4)} for name, one in at.items()],
        note="Vectors of numbers from texts are not among these: few integers are in so few words.",
    )


@claim(
    "C8",
    "Topics by Gibbs sampling are as coherent as by variational inference",
    paper="topic models as document embeddings (no number)",
    criterion="NPMI of the ten words of a topic on held-out texts, Gibbs − variational (scikit-learn) at least −.01; 20 "
    "Newsgroups, 20 topics",
)
def coherent_topics(lab: Lab) -> ClaimResult:
    limit = 300 if lab.smoke else None
    task = lab.bench.memo(
        ("survey news", limit), lambda: load_task(DataConfig(source="newsgroups20", limit=limit), 0)
    )
    model: dict[str, Any] = (
        {"dimensions": 8, "vocabulary": 800, "epochs": 10} if lab.smoke else {"dimensions": 20}
    )
    texts = list(task.train.columns["input"])
    arms = lab.arms({m: learnt(lab, "news", lambda seed: texts, method=m, **model) for m in _TOPICS})
    held = list(task.test.columns["input"])

    def coherence(trained: Trained) -> float:
        phi = trained.system.table(trained.system.chosen).rows.numpy()
        tops = np.argsort(-phi, axis=0, kind="stable")[:10].T
        return float(np.nanmean(npmi(tops.tolist(), trained.system.vocabulary.bags(held))))

    at = arms.measure(coherence)
    gain = at["lda"] - at["lda-online"]
    return lab.verdict(
        gain, {"gain": gain >= -0.01}, unit="NPMI, Gibbs − variational", table=at.rows("arm", digits=3)
    )
