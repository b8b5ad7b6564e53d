"""Search of NFCorpus by the vectors of a model, by their words, by both and by BM25."""

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from brickwork.data.config import DataConfig
from brickwork.data.load import load_task
from brickwork.data.types import RetrievalSet
from brickwork.evaluation.baselines import rank_bm25
from brickwork.evaluation.retrieval import score
from brickwork.index.fusion import Fusion, Side
from brickwork.studies.bench import Trained
from brickwork.studies.study import Scale
from brickwork.studies.text2token.halves import cut_alike

if TYPE_CHECKING:
    from brickwork.training.run import RunConfig

_TOP, _CANDIDATES = 10, 100
_SMOKE_DOCUMENTS, _SMOKE_QUERIES = 200, 60


def documents_run(scale: Scale) -> "RunConfig":
    """The texts of NFCorpus' training pairs, queries and medical abstracts, as plain texts: no judgement is used, and no
    query that is searched for is read."""
    from brickwork.studies.text2token.setups import topics
    from brickwork.systems.text2token.recipes import small

    if scale == "smoke":
        run = topics(scale)
        data = DataConfig(source="nfcorpus", limit=400)
        train = replace(run.train, batch_size=32)
        return replace(run, recipe="claims: NFCorpus, from scratch", data=data, train=train)
    run = small()
    return replace(
        run,
        recipe="claims: NFCorpus, MiniLM",
        data=DataConfig(source="nfcorpus", limit=2000),
        train=replace(run.train, precision="fp32", validate_every=0),
    )


@cut_alike()
def searched(trained: Trained, short: bool) -> dict[str, float]:
    """100 · nDCG@10 of the test queries by each way of searching. ``dense + sparse``: the best hundred of each side fused as
    an index fuses them, both counting alike. ``short``: a few queries and documents."""
    from brickwork.representation.contract import build_system

    found = _nfcorpus(short)
    model = trained.system.representation()
    documents, queries = model.encode(found.documents), model.encode(found.queries)
    by_vector = queries @ documents.T
    by_words = np.asarray((model.asked(found.queries) @ model.sparse(documents).T).todense())
    run = documents_run("smoke" if short else "small")
    plain = build_system(run.system, run.model, trained.data, trained.seed).eval().representation()
    untouched = plain.encode(found.queries) @ plain.encode(found.documents).T
    fused = np.stack([_fused(dense, sparse) for dense, sparse in zip(by_vector, by_words)])
    ranked = {
        name: _best(scores)
        for name, scores in {
            "dense": by_vector,
            "sparse": by_words,
            "dense + sparse": fused,
            "untouched": untouched,
        }.items()
    }
    ranked["BM25"] = rank_bm25(found.queries, found.documents, _TOP)
    return {
        name: 100 * float(score(rows, found.relevant, ["ndcg@10"])["ndcg@10"].mean())
        for name, rows in ranked.items()
    }


def _best(scores: Float[np.ndarray, "queries documents"]) -> np.ndarray:
    return np.argsort(-scores, axis=1, kind="stable")[:, :_TOP]


def _fused(
    dense: Float[np.ndarray, " documents"], sparse: Float[np.ndarray, " documents"]
) -> Float[np.ndarray, " documents"]:
    best = [np.sort(side)[::-1][:_CANDIDATES] for side in (dense, sparse)]
    sides = [Side(side, top[top > -np.inf], _CANDIDATES) for side, top in zip((dense, sparse), best)]
    return Fusion().combine(*sides)


@cache
def _nfcorpus(short: bool) -> RetrievalSet:
    """The official test queries; ``short``: some of them, with their documents and as many others."""
    whole = load_task(DataConfig(source="nfcorpus", limit=10), 0).retrieval["nfcorpus"]
    if not short:
        return whole
    queries = range(0, len(whole.queries), max(1, len(whole.queries) // _SMOKE_QUERIES))[:_SMOKE_QUERIES]
    judged = dict.fromkeys(row for query in queries for row in list(whole.relevant[query])[:3])
    rows = [*judged, *(row for row in range(len(whole.documents)) if row not in judged)][:_SMOKE_DOCUMENTS]
    place = {row: number for number, row in enumerate(rows)}
    relevant = [{place[r]: g for r, g in whole.relevant[q].items() if r in place} for q in queries]
    return RetrievalSet(
        name=whole.name,
        queries=[whole.queries[query] for query in queries],
        documents=[whole.documents[row] for row in rows],
        relevant=relevant,
    )
