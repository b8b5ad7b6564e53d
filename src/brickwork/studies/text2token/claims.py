"""The claims of text2token. Effects are differences in percent, or hundredths of a correlation, paired by seed.

The paper has no public code and its target rules are not public; what is decided here is whether the idea holds with ours
(README.md, "Differences from the paper"). Removing the first principal component of a model that was not trained further
is the cheapest rival: the paper's own basis predicts that much of the gain is exactly that.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from brickwork.studies.bench import Trained
from brickwork.studies.effects import Effect
from brickwork.studies.study import Arms, ClaimResult, Lab, claim
from brickwork.studies.text2token.halves import cut_alike
from brickwork.studies.text2token.measures import MACRO, PLAIN, WITHOUT, quality, watched, words_alone
from brickwork.studies.text2token.retrieval import documents_run, searched
from brickwork.studies.text2token.setups import SIMCSE, WARM_START, arms, topics

KEY = ("vectors", "task")
NEEDS = "the longer training of the scale small: after some seconds no arm has learnt much"
POINTS = "points, mean of four tasks"


@claim(
    "C1",
    "Predicting the words that a text is about is as good a teacher without labels as SimCSE",
    paper="competitive with LLM2Vec's unsupervised SimCSE on MTEB (English, v2); numbers not public in the abstract",
    criterion="mean of kNN accuracy, V-measure, half-to-half nDCG@10 and STS-B: two-stage − SimCSE at least −1 point, "
    "− warm start at least 3; and targets of other texts (shuffled) not above the warm start",
    needs=NEEDS,
)
def as_good_as_simcse(lab: Lab) -> ClaimResult:
    """Equal steps and batches after the same warm start; beside it TF-IDF with SVD."""
    trained = arms(lab, "two-stage", SIMCSE, "shuffled", WARM_START)
    at = trained.measure(quality, key=KEY)
    gain = at["two-stage", PLAIN, MACRO] - at[SIMCSE, PLAIN, MACRO]
    learnt = at["two-stage", PLAIN, MACRO] - at[WARM_START, PLAIN, MACRO]
    senseless = at["shuffled", PLAIN, MACRO] - at[WARM_START, PLAIN, MACRO]
    classical = trained.only("two-stage").measure(words_alone, key=KEY).named("TF-IDF, SVD")
    over_words = at["two-stage", PLAIN, MACRO] - classical["TF-IDF, SVD", PLAIN, MACRO]
    return lab.verdict(
        gain,
        {"against SimCSE": gain >= -1, "against the warm start": learnt >= 3, "shuffled": senseless <= 0},
        unit=f"{POINTS}, two-stage − SimCSE",
        table=(at | classical).rows("arm", "vectors", sd=True),
        note=f"Against the warm start {learnt.mean:+.2f}, shuffled {senseless.mean:+.2f}; against TF-IDF with SVD "
        f"{over_words.mean:+.2f}.",
    )


@claim(
    "C1b",
    "The gain is more than what removing the first principal component gives",
    paper="2406.17378: what embedders change lies almost wholly on the first principal component",
    criterion="mean of four tasks: two-stage − warm start without its first principal component at least 1 point",
    needs=NEEDS,
)
def more_than_one_direction(lab: Lab) -> ClaimResult:
    """The cheapest rival, without any training: the same warm start, its mean and first component removed, or whitened."""
    trained = arms(lab, "two-stage", WARM_START)
    at = trained.measure(quality, key=KEY)
    gain = at["two-stage", PLAIN, MACRO] - at[WARM_START, WITHOUT, MACRO]
    white = at["two-stage", PLAIN, MACRO] - at[WARM_START, "whitened", MACRO]
    return lab.verdict(
        gain,
        {"over the removal": gain >= 1},
        unit=f"{POINTS}, two-stage − warm start without u₁",
        table=at.rows("arm", "vectors", sd=True),
        note=f"Over the whitened warm start {white.mean:+.2f}.",
    )


@claim(
    "C2",
    "Related words as second targets bring paraphrases with few words in common together",
    paper="two constructors of targets, data-driven and model-derived; both matter (no numbers in the abstract)",
    criterion="Spearman on the third of STS-B with the least overlap: two-stage − words in the text at least 1.5 points; "
    "mean of four tasks: two-stage − unfiltered targets at least 2",
    needs=NEEDS,
)
def related_words_help(lab: Lab) -> ClaimResult:
    trained = arms(lab, "two-stage", "words in the text", "mixture", "unfiltered")
    at = trained.measure(quality, key=KEY)
    task = "few words in common"
    gain = at["two-stage", PLAIN, task] - at["words in the text", PLAIN, task]
    filtered = at["two-stage", PLAIN, MACRO] - at["unfiltered", PLAIN, MACRO]
    mixture = at["mixture", PLAIN, task] - at["words in the text", PLAIN, task]
    return lab.verdict(
        gain,
        {"related words": gain >= 1.5, "the filter": filtered >= 2},
        unit="hundredths of Spearman's correlation, two-stage − words in the text, on pairs with few words in common",
        table=at.rows("arm", "vectors", sd=True),
        note=f"Both kinds from the start {mixture.mean:+.2f}. Over unfiltered targets {filtered.mean:+.2f} points.",
    )


@claim(
    "C3",
    "Words and vectors become better together while it trains, and the change lies on the first principal component",
    paper="both spaces improve together towards an optimum; the change lies on u₁ (2406.17378)",
    criterion="Spearman of −KL with kNN accuracy over the run at least 0.8; share of the change of vectors on the first "
    "component of the start at least 0.3 (a random direction: 1/D)",
    needs=NEEDS,
)
def better_together(lab: Lab) -> ClaimResult:
    trained = lab.arms({"two-stage": partial(_with_curve, lab)})
    at = trained.measure(_curve_facts, key="what")
    together, share = at["two-stage", "KL with kNN"], at["two-stage", "share on u₁"]
    return lab.verdict(
        together,
        {"together": together >= 0.8, "one direction": share >= 0.3},
        unit="Spearman of −KL with kNN accuracy",
        table=[*at.rows("arm", digits=3), *_curves(trained)],
        note=f"Hit@10 with kNN {at['two-stage', 'Hit@10 with kNN'].mean:.2f}; share of the change on u₁ {share.mean:.2f}.",
    )


def _with_curve(lab: Lab, seed: int) -> Trained:
    """The two-stage arm once more, looked at every twelfth of what follows its warm start."""
    return lab.bench.memo(("text2token curve", lab.scale, seed), lambda: _trained_with_curve(lab, seed))


def _trained_with_curve(lab: Lab, seed: int) -> Trained:
    from brickwork.representation.contract import build_system
    from brickwork.training.run import planned_stages

    run = replace(topics(lab.scale), seed=seed)
    data = lab.bench.data(run)
    system = build_system(run.system, run.model, data, seed)
    texts = list(data.validation.columns["input"][:200])
    labels = np.asarray(data.validation.columns["label"][:200])
    known = data.train.take(range(min(1000, len(data.train))))
    system.curve, system.start = [], None

    def look(model: Any) -> dict[str, float]:
        numbers = watched(model, texts, known, labels)
        model.curve.append(numbers)
        if model.start is None:
            with cut_alike():
                model.start = model.encode(texts)
        return numbers

    train = replace(run.train, validate_every=max(1, lab.bench.steps(run.train.steps) // 24))
    trained = lab.bench.fit(system, data.train, train, seed, look, planned_stages(run))
    with cut_alike():
        system.end = system.encode(texts)
    return replace(trained, data=data)


def _curve_facts(trained: Trained) -> dict[str, float]:
    from brickwork.evaluation.similarity import spearman
    from brickwork.systems.text2token.alignment import share_on_first

    curve = trained.system.curve
    columns = {name: np.array([point[name] for point in curve]) for name in curve[0]}
    return {
        "KL with kNN": spearman(-columns["kl"], columns["knn"]),
        "Hit@10 with kNN": spearman(columns["hit@10"], columns["knn"]),
        "share on u₁": share_on_first(trained.system.start, trained.system.end),
    }


def _curves(trained: Arms) -> list[dict[str, Any]]:
    """The points of each seed's curve."""
    return [
        {"seed": one.seed, "point": number, **{name: round(value, 4) for name, value in point.items()}}
        for one in trained["two-stage"]
        for number, point in enumerate(one.system.curve)
    ]


@claim(
    "C4",
    "The words of a vector search nearly as well as the vector, and both together better",
    paper="2406.17378, nDCG@10 of aligned words / dense, LLM2Vec on FiQA, NFCorpus, SciFact, ArguAna: .404/.531, .326/.393, "
    ".669/.789, .481/.575: .76 to .85",
    criterion="NFCorpus, test queries: nDCG@10 of sparse at least .75 of dense; both fused − dense at least 0 points",
    needs="MiniLM as the encoder; at smoke it is one from scratch",
)
def words_search(lab: Lab) -> ClaimResult:
    """Trained on the documents alone, no query and no judgement is seen."""
    trained = lab.arms({"text2token": documents_run(lab.scale)})
    at = trained.measure(searched, lab.smoke, key="by")
    dense, sparse = at["text2token", "dense"], at["text2token", "sparse"]
    ratio = Effect(tuple(s / d if d else float("nan") for s, d in zip(sparse.values, dense.values)))
    fused = at["text2token", "dense + sparse"] - dense
    bm25 = at["text2token", "dense + sparse"] - at["text2token", "BM25"]
    untouched = dense - at["text2token", "untouched"]
    return lab.verdict(
        ratio,
        {"sparse / dense": ratio >= 0.75, "fused − dense": fused >= 0},
        unit="nDCG@10 of sparse as a share of dense",
        table=at.rows("arm"),
        note=f"Fused − dense {fused.mean:+.2f} points, − BM25 {bm25.mean:+.2f}; dense − the untouched encoder "
        f"{untouched.mean:+.2f}.",
    )
