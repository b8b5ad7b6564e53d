"""What users get of a trained system: vectors, the words that they can be read as, and what connects two texts.

Words are always read off whole vectors, so a shorter vector changes scores and no explanation.

Shape legend: N texts, V key words, D width.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from brickwork.core.errors import ConfigError
from brickwork.core.types import WordShare
from brickwork.core.words import query_words
from brickwork.representation.folder import fingerprint, tokenizer_json
from brickwork.representation.kept import SystemRepresentation

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

IN_TEXT, BEYOND = "in text", "beyond"
IN_BOTH, MEANT = "in both texts", "only meant"
SPARSE_WORDS = 128
"""How many words a sparse vector has at most."""
_ASKED_WORDS = 16  # of the vector of a query
_BATCH = 256


class ReadableRepresentation(SystemRepresentation):
    """Vectors of texts, dense or sparse, and reasons. It is saved as the whole system: it needs the head.

    Raises:
        ConfigError: words are asked of a model that learnt without (``objective`` dropout).
    """

    @property
    def words(self) -> tuple[str, ...]:
        """The key words, one a column of sparse vectors."""
        words: tuple[str, ...] = self.system.key_words.words
        return words

    def encode(self, inputs: Any, *, view: str = "dense", **options: Any) -> Any:
        """As :meth:`Representation.encode`; ``view`` ``sparse``: a row of word weights a text, (N, V) in CSR.

        Raises:
            ConfigError: another view, or a size of a sparse vector.
        """
        if view == "dense":
            return super().encode(inputs, **options)
        if view != "sparse":
            raise ConfigError(f"view={view!r} is unknown; use dense or sparse")
        if sized := [name for name in ("dim", "layers", "normalize") if options.get(name) is not None]:
            raise ConfigError(
                f"{' and '.join(sized)} {'is' if len(sized) == 1 else 'are'} of dense vectors; leave out"
            )
        texts = [inputs] if isinstance(inputs, str) else inputs
        return self.sparse(super().encode(texts, **options))

    def sparse(self, vectors: Float[np.ndarray, "n width"]) -> "csr_matrix":
        """The sparse vectors that belong to whole dense ones: weights of the likeliest words."""
        from scipy.sparse import csr_matrix

        ids, weights = [], []
        for start in range(0, len(vectors), _BATCH):
            p = self._probabilities(vectors[start : start + _BATCH])
            best, places = p.topk(min(SPARSE_WORDS, p.shape[1]), dim=1)
            ids.append(places.cpu().numpy())
            weights.append(_weight(best).cpu().numpy())
        width = min(SPARSE_WORDS, len(self.words))
        flat_ids, flat = (np.concatenate([np.zeros((0, width), kind), *parts]).ravel()
                          for kind, parts in ((np.int64, ids), (np.float32, weights)))  # fmt: skip
        ends = np.arange(len(vectors) + 1) * width
        made = csr_matrix((flat, flat_ids, ends), shape=(len(vectors), len(self.words)))
        made.eliminate_zeros()
        made.sort_indices()
        return made

    def asked(self, queries: Sequence[str]) -> "csr_matrix":
        """Sparse vectors of queries: the likeliest words of their vectors and, on top, the key words that they say, the more
        the rarer these are. With both, searches of NFCorpus are better than with either (lab/LOG.md)."""
        from scipy.sparse import lil_matrix

        made = lil_matrix((len(queries), len(self.words)), dtype=np.float32)
        if not len(queries):
            return made.tocsr()
        ids, idf = self.system.key_words.ids, self.system.key_words.idf
        p = self.probabilities(queries)
        best, places = p.topk(min(_ASKED_WORDS, p.shape[1]), dim=1)
        usual = max(float(idf.mean()), np.finfo(np.float32).tiny)
        for row, (weights, at) in enumerate(zip(_weight(best).tolist(), places.tolist())):
            made[row, at] = weights
            for w in {ids[word] for word in query_words(queries[row]) if word in ids}:
                made[row, w] += weights[0] * idf[w] / usual
        return made.tocsr()

    def words_of(self, vectors: Float[np.ndarray, "n width"]) -> list[dict[str, float]]:
        """The words of sparse vectors, from the whole dense ones of documents."""
        return self._by_word(self.sparse(vectors))

    def words_asked(self, queries: Sequence[str]) -> list[dict[str, float]]:
        """The words of queries: the likeliest ones, and those that they say."""
        return self._by_word(self.asked(queries))

    def _by_word(self, rows: "csr_matrix") -> list[dict[str, float]]:
        ends, words = rows.indptr, self.words
        return [
            {words[w]: float(x) for w, x in zip(rows.indices[a:b], rows.data[a:b])} for a, b in pairwise(ends)
        ]

    # ---- words -----------------------------------------------------------------------------------------------------

    def read(self, texts: Sequence[str], count: int = 10) -> list[list[WordShare]]:
        """The ``count`` likeliest words of each text's vector, likeliest first.

        Raises:
            ConfigError: a count below 1.
        """
        if count < 1:
            raise ConfigError(f"count={count}; ask for 1 word or more")
        p = self.probabilities(texts)
        best, places = p.topk(min(count, p.shape[1]), dim=1)
        held = [self.system.key_words.counts(text) for text in texts]
        return [
            [WordShare(self.words[w], float(x), IN_TEXT if w in known else BEYOND) for x, w in zip(row, at)]
            for row, at, known in zip(best.tolist(), places.tolist(), held)
        ]

    def explain(self, text: str, hit: str | None = None, count: int = 10) -> list[WordShare]:
        """The words of a text; with ``hit``, the words that connect both: the largest p_q(w) p_d(w), as shares of their sum.

        Raises:
            ConfigError: a count below 1.
        """
        if hit is None:
            return self.read([text], count)[0]
        return self.connections(text, [hit], count)[0]

    def connections(self, query: str, hits: Sequence[str], count: int = 10) -> list[list[WordShare]]:
        """The words that connect a query with each of several texts: :meth:`explain`."""
        if count < 1:
            raise ConfigError(f"count={count}; ask for 1 word or more")
        if not hits:
            return []
        asked, *found = self.probabilities([query, *hits]).double()
        in_query = self.system.key_words.counts(query)
        results = []
        for p, hit in zip(found, hits):
            both = asked * p
            best, places = (both / both.sum()).topk(min(count, len(both)))
            known = in_query.keys() & self.system.key_words.counts(hit).keys()
            results.append(
                [
                    WordShare(self.words[w], float(x), IN_BOTH if w in known else MEANT)
                    for x, w in zip(best.tolist(), places.tolist())
                ]
            )
        return results

    def probabilities(self, texts: Sequence[str]) -> Float[torch.Tensor, "n words"]:
        """p of each text over the key words."""
        return self._probabilities(super().encode(list(texts)))

    @torch.no_grad()
    def _probabilities(self, vectors: Float[np.ndarray, "n width"]) -> Float[torch.Tensor, "n words"]:
        head = self.system.head
        if head is None:
            raise ConfigError(
                "this model was trained with objective 'dropout', which learns no words; train with objective 'words'"
            )
        device = head.rows.device
        p: torch.Tensor = torch.softmax(head(torch.from_numpy(np.asarray(vectors)).to(device)), dim=1)
        return p

    # ---- keeping ---------------------------------------------------------------------------------------------------

    @property
    def fingerprint(self) -> str:
        """Changes with the encoder and with the head."""
        tokenizer = tokenizer_json(self.encoder.tokenizer)
        state: Mapping[str, Any] = self.system.state_dict()
        kept = {n: t for n, t in state.items() if n.partition(".")[0] not in self.system.transient}
        return fingerprint(self.system.architecture(), tokenizer, kept)


def _weight(p: Float[torch.Tensor, "n k"]) -> Float[torch.Tensor, "n k"]:
    """log(1 + 1000 p): of √p, p, p^¼ and the softplus of logits the best on NFCorpus' validation queries (lab/LOG.md)."""
    return torch.log1p(1000 * p)
