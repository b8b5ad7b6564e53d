"""The claims of Disambiguated Skip-gram. See setups.py for the texts and measures.py for what is counted."""

from itertools import pairwise

import numpy as np

from brickwork.studies.disambiguated_skipgram.measures import ambiguous_words, gained, pruned, scored
from brickwork.studies.disambiguated_skipgram.setups import DSG, MSSG, SKIPGRAM, arms
from brickwork.studies.effects import Effect, average
from brickwork.studies.study import ClaimResult, Lab, claim

_NEEDS = "natural texts: the made-up language has topics that nothing mixes"
THRESHOLDS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3)


@claim(
    "C1",
    "Senses are found better than by the state of the art",
    paper="best adjusted Rand index on three of four sets (SemEval-2007, -2010, -2013, WWSI), against AdaGram and MSSG",
    criterion="pseudo-words that chose nothing: ARI at least .10 and above shuffled contexts; − MSSG above 0; "
    "− k-means on contexts of skip-gram at least 0",
    needs=_NEEDS,
)
def finds_senses(lab: Lab) -> ClaimResult:
    at = lab.arms(arms(lab, DSG, MSSG, SKIPGRAM)).measure(scored, key="what")
    ari, over = at[DSG, "ari"], at[DSG, "ari"] - at[MSSG, "ari"]
    kmeans = at[DSG, "ari"] - at[SKIPGRAM, "ari"]
    return lab.verdict(
        ari,
        {
            "ARI": ari >= 0.10,
            "− shuffled": ari - at[DSG, "shuffled"] > 0,
            "− MSSG": over > 0,
            "− k-means": kmeans >= 0,
        },
        unit="adjusted Rand index, mean over pseudo-words (smoke: homonyms)",
        table=at.rows("arm", digits=3),
        note=f"MSSG {at[MSSG, 'ari'].mean:.3f}, k-means on averaged contexts {at[SKIPGRAM, 'ari'].mean:.3f}. Each is read "
        "in the way, and learns at the rate, that is best on other words.",
    )


@claim(
    "C1b",
    "Senses are found better on SemEval's words",
    paper="as C1",
    criterion="mean ARI on SemEval-2010 and -2013, learnt from their texts without senses: − MSSG at least 0 in both; − "
    "k-means at least 0 in both",
    scales=("small",),
)
def semeval(lab: Lab) -> ClaimResult:
    sets = {"2010": "semeval2010-wsi", "2013": "semeval2013-wsi"}
    criterion, results, rows = {}, [], []
    for year, source in sets.items():
        named = {f"{year} {name}": of for name, of in arms(lab, DSG, MSSG, SKIPGRAM, source=source).items()}
        at = lab.arms(named).measure(scored, key="what")
        ours = at[f"{year} {DSG}", "ari"]
        criterion[f"{year} − MSSG"] = ours - at[f"{year} {MSSG}", "ari"] >= 0
        criterion[f"{year} − k-means"] = ours - at[f"{year} {SKIPGRAM}", "ari"] >= 0
        results.append(ours)
        rows += at.rows("arm", digits=3)
    return lab.verdict(
        average(results), criterion, unit="adjusted Rand index, mean of both sets", table=rows,
        note="The texts are learnt from as well (with WikiText-2 small), so these are no published figures.",
    )  # fmt: skip


@claim(
    "C2",
    "The choice of a sense is learnt by back-propagation with all else",
    paper="a feed-forward network with a probabilistic reading",
    criterion="held-out words around are predicted at least .3 nats better than by their frequency",
)
def learns(lab: Lab) -> ClaimResult:
    at = lab.arms(arms(lab, DSG)).measure(gained)
    return lab.verdict(
        at[DSG],
        {"nats": at[DSG] >= 0.3},
        unit="nats a word, against frequencies of words",
        table=at.rows("arm"),
        note="That gradients through the draws are right is a test (float64, against differences).",
    )


@claim(
    "C3",
    "Pruning by use sets how fine senses are",
    paper="a threshold on how often a sense is used controls the granularity",
    criterion="senses a word fall with every higher threshold; ambiguous words have more of them (with a fifth of the "
    "word's places) than others of like frequency, ROC-AUC at least .65",
    needs=_NEEDS,
)
def prunes(lab: Lab) -> ClaimResult:
    trained = lab.arms(arms(lab, DSG))
    at = trained.measure(pruned, THRESHOLDS, key="what")
    auc = trained.measure(ambiguous_words, key="by")
    senses = [at[DSG, f"senses at {least}"] for least in THRESHOLDS]
    falls = [before - after for before, after in pairwise(senses)]
    smallest = Effect(tuple(float(np.min([fall.values[s] for fall in falls])) for s in range(len(lab.seeds))))
    by_number, by_ambiguity = auc[DSG, "number of senses"], auc[DSG, "ambiguity"]
    listed = ", ".join(f"{effect.mean:.2f} at {least}" for least, effect in zip(THRESHOLDS, senses))
    return lab.verdict(
        by_number,
        {"falls": smallest >= 0, "AUC": by_number >= 0.65},
        unit="ROC-AUC of words with several senses, by their number",
        table=[*at.rows("what", digits=3), *auc.rows("by", digits=3)],
        note=f"By ambiguity, which weighs how far apart senses are, {by_ambiguity.mean:.2f}: where entropy is rewarded "
        f"every word keeps its senses, and those of a word with one meaning lie together. Senses a word: {listed}.",
    )


@claim(
    "C4",
    "The first stage, its entropy and the noise are needed",
    paper="one epoch of pre-training with a shared gate and rewarded entropy, then Gumbel noise",
    criterion="ARI − that without the first stage, − without entropy, − without noise: each above 0",
    needs=_NEEDS,
)
def needs_all(lab: Lab) -> ClaimResult:
    without = ("no first stage", "no entropy", "no noise")
    at = lab.arms(arms(lab, DSG, *without, "published λ")).measure(scored, key="what")
    gaps = {f"− {name}": at[DSG, "ari"] - at[name, "ari"] for name in without}
    return lab.verdict(
        average(gaps.values()),
        {name: gap > 0 for name, gap in gaps.items()},
        unit="adjusted Rand index, ours − without, mean over the three",
        table=at.rows("arm", digits=3),
        note=f"With entropy in the first stage alone, as published: {at['published λ', 'ari'].mean:.3f}, ours "
        f"{at[DSG, 'ari'].mean:.3f}.",
    )
