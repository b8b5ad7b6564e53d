"""What held-out texts say of what was learnt.

Shape legend: V words, K senses, P positions.
"""

from collections import defaultdict

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from brickwork.data.types import Examples
from brickwork.data.windows import Windows
from brickwork.evaluation.clustering import clustering_scores
from brickwork.systems.disambiguated_skipgram.learning import Tables
from brickwork.systems.disambiguated_skipgram.senses import By, Senses, find


@torch.no_grad()
def held_out_nats(
    tables: Tables,
    usage: Float[Tensor, "words senses"],
    block: Windows,
    frequency: Float[np.ndarray, " words"],
) -> dict[str, float]:
    """−ln p(c|w) of each word c around w, p(c|w) = Σ_k P̂(k|w) softmax(U E_w,k + β)_c: without the gate, which sees c. And
    −ln of the frequency of c alone."""
    centres, contexts = (torch.from_numpy(a).long().to(usage.device) for a in (block.centres, block.contexts))
    logits = tables.senses[centres] @ tables.words.T + tables.bias
    log_p = (logits.log_softmax(-1) + usage[centres].clamp_min(1e-12).log()[..., None]).logsumexp(1)
    there = contexts >= 0
    nats = -log_p.gather(1, contexts.clamp_min(0))[there].double().mean()
    share = torch.from_numpy(np.log(frequency / frequency.sum()))
    return {
        "nats_per_word": float(nats),
        "nats_by_frequency": float(-share[contexts.cpu()[there.cpu()]].mean()),
    }


def sense_scores(senses: Senses, examples: Examples, by: By = "cosine", reach: int = 0) -> dict[str, float]:
    """Means over words of the agreement of found and given senses; words with one given sense are left out, and texts
    without any. Nothing where no word is left."""
    scores = scores_by_word(senses, examples, by, reach)
    if not scores:
        return {}
    names = {"ari": "ari", "v": "v", "paired f": "paired_f"}
    return {
        "words_with_senses": float(len(scores)),
        **{ours: float(np.mean([one[name] for one in scores.values()])) for name, ours in names.items()},
    }


def scores_by_word(
    senses: Senses, examples: Examples, by: By = "cosine", reach: int = 0
) -> dict[str, dict[str, float]]:
    """:func:`~brickwork.evaluation.clustering.clustering_scores` of each word with two given senses or more."""
    columns = examples.columns
    rows: dict[str, list[int]] = defaultdict(list)
    for row, (word, sense) in enumerate(zip(columns.get("word", ()), columns.get("sense", ()))):
        if sense and word in senses.vocabulary.ids:
            rows[word].append(row)
    results = {}
    for word, of in rows.items():
        given = [columns["sense"][row] for row in of]
        if len(set(given)) < 2:
            continue
        texts = [columns["input"][row] for row in of]
        p = senses.probabilities(find(senses.vocabulary, [word] * len(of), texts, reach), by)
        results[word] = clustering_scores(given, p.argmax(1).cpu().numpy())
    return results
