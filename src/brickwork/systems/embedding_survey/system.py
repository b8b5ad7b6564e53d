"""Embedding survey: vectors of words and texts by any classical method, from one corpus, and what they are worth.

Zhang et al.: From Word Vectors to Multimodal Embeddings. arXiv 2411.05036, 2024. A survey: no code, no experiments; each
method is taken from its own paper (catalogue.py).

What is learnt: a table of vectors, one a word (or the words of topics), and weights by which they make the vector of a text.

| paper     | here                 | shape  | meaning                                                     |
|-----------|----------------------|--------|-------------------------------------------------------------|
| v_w       | table.rows           | (V, D) | vector of a word; its share of each topic (φ)               |
| u_c       | held["contexts"]     | (V, D) | vector of a word as a neighbour                             |
| a/(a + p) | pooling.weights      | (V,)   | weight of a word in a text                                  |
| c₁        | pooling.removed      | (M, D) | what all texts have in common                               |
| W         | alignment.procrustes | (D, D) | turns vectors onto those of another language                |
| b         | bias.direction       | (D,)   | direction of a bias                                         |

Flow: data.vocabulary → data.windows → catalogue.py (predicting, counting, topics) → encoder.py → representation.model.

Differences from the papers: see README.md. Shape legend: V words, D dimensions, M directions, C classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from brickwork.core.config import from_dict, to_dict
from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ConfigError, DataError, warn
from brickwork.core.types import Batch
from brickwork.data.types import Examples, TaskData
from brickwork.data.vocabulary import Vocabulary
from brickwork.representation.contract import encodes
from brickwork.representation.model import Representation
from brickwork.representation.vectors import WordVectors
from brickwork.systems.embedding_survey import found_topics, measuring, phrases, pooling
from brickwork.systems.embedding_survey.catalogue import (
    METHODS,
    PREDICTIVE,
    Corpus,
    check_room,
    words_a_second,
)
from brickwork.systems.embedding_survey.changes import changed, target_of
from brickwork.systems.embedding_survey.compression import COMPRESSIONS, kept_neighbours
from brickwork.systems.embedding_survey.config import COMPARE, Config, Data
from brickwork.systems.embedding_survey.data import TEXT_COLUMNS, load_data, texts_of, vocabulary_of
from brickwork.systems.embedding_survey.encoder import Pooling, Table, WordsEncoder, replaced
from brickwork.systems.embedding_survey.text_vectors import TextVectors

__all__ = ["Config", "Data", "System", "load_data"]

BASELINE = "tf-idf"
"""What all methods are held against: counts of words weighed by idf, a dimension each."""
_POOLED = 20_000
"""Texts that what all of them have in common is taken from, at most."""
_NEIGHBOURS = 5
_FAMILIAR = 30
_FEW = 0.05  # of the texts


@encodes
class System(nn.Module):
    """A table and a pooling for each method that is learnt; one, or with ``compare`` all."""

    reads = ("texts", "labelled", "pairs", "triplets", "scored")
    transient = ("held",)
    best: torch.Tensor
    aligned: torch.Tensor

    def __init__(
        self,
        config: Config,
        vocabulary: Vocabulary,
        *,
        seed: int,
        classes: tuple[str, ...] = (),
        pairs: Sequence[Sequence[str]] = (),
        dictionary: Sequence[Sequence[str]] = (),
        together: Sequence[Sequence[Sequence[str]]] = (),
        kept: bool = False,
    ):
        super().__init__()
        self.config, self.vocabulary, self.seed = config, vocabulary, seed
        self.classes, self.pairs, self.dictionary, self.together = classes, pairs, dictionary, together
        words, dim = len(vocabulary), config.dimensions
        tables, poolings, probes, held = {}, {}, {}, {}
        for name in config.methods:
            method = METHODS[name]
            tables[name] = Table(
                words, config.grams if name == "fasttext" else 0, dim, method.kind == "topics"
            )
            own = config.pooled_by if method.kind == "words" else "tfidf"
            poolings[name] = Pooling(words, dim, pooling.number_of_directions(own))
            if classes:
                probes[name] = measuring.Probe(len(classes), dim)
            if not kept:
                held[name] = Held(method.held(config, words))
        if classes and config.method == COMPARE:
            probes[BASELINE] = measuring.Probe(len(classes), words)
        self.tables, self.poolings = nn.ModuleDict(tables), nn.ModuleDict(poolings)
        self.probes, self.held = nn.ModuleDict(probes), nn.ModuleDict(held)
        # Of methods that are compared, which is used.
        self.register_buffer("best", torch.zeros((), dtype=torch.int64))
        # Translations found for held-out words of the dictionary: by cosine, by CSLS.
        self.register_buffer("aligned", torch.zeros(2 if config.target else 0))

    @classmethod
    def build(cls, config: Config, data: TaskData, assets: Path | None, seed: int) -> "System":
        """The untrained system with the vocabulary of the training part.

        Raises:
            DataError: no word is there often enough, or methods are to be compared by nothing.
            ConfigError: an option that needs data which is not given.
        """
        if config.method == COMPARE and data.kind == "texts":
            raise DataError(
                f"{data.name} is texts alone, by which methods cannot be compared; bring a table with labels (columns text "
                "and label), pairs (anchor and positive) or scores (anchor, positive, score), or take one method: "
                "--set model.method=sgns"
            )
        details = data.details or {}
        if config.debias and not details.get("pairs"):
            raise ConfigError(
                f"model.debias={config.debias} needs words that define the bias: --set data.word_lists=bias.csv"
            )
        if details.get("pairs") and not config.debias:
            raise ConfigError("data.word_lists has no effect without model.debias; set it to hard or inlp")
        if details.get("dictionary") and not config.target:
            raise ConfigError("data.dictionary has no effect without model.target, a file of word vectors")
        texts = texts_of(data.train)
        together = phrases.learn(texts) if config.phrases else []
        vocabulary = vocabulary_of(texts, config, phrases.joined(together))
        check_room(config, len(vocabulary), len(texts))
        if config.target is not None:  # said before anything is learnt
            target_of(vocabulary, config, details.get("dictionary", ()))
        classes = tuple(data.class_names or map(str, range(data.num_classes or 0)))
        return cls(
            config,
            vocabulary,
            seed=seed,
            classes=classes if data.kind == "labelled" else (),
            pairs=details.get("pairs", ()),
            dictionary=details.get("dictionary", ()),
            together=together,
        )

    def architecture(self) -> dict[str, Any]:
        """Configuration, vocabulary and names of classes."""
        return {
            "config": to_dict(self.config),
            "vocabulary": self.vocabulary.state(),
            "classes": list(self.classes),
            "phrases": [[list(pair) for pair in pairs] for pairs in self.together],
        }

    @classmethod
    def restore(cls, architecture: Mapping[str, Any], tokenizer_json: str | None) -> "System":
        """The system of :meth:`architecture`, without what only learning needs."""
        config = from_dict(Config, architecture["config"])
        together = architecture["phrases"]
        vocabulary = Vocabulary.from_state(architecture["vocabulary"], phrases.joined(together))
        return cls(
            config, vocabulary, seed=0, classes=tuple(architecture["classes"]), together=together, kept=True
        )

    # ---- learning

    def fit(self, examples: Examples, *, start: int) -> Iterator[float]:
        """Method after method, each in rounds of its own (epochs, or one); the last also pools and measures."""
        corpus = Corpus(self.vocabulary, texts_of(examples))
        plan = [
            (name, number)
            for name in self.config.methods
            for number in range(METHODS[name].rounds(self.config))
        ]
        if not start and BASELINE in self.probes:
            self._selected(BASELINE, examples)
        for done, (name, number) in enumerate(plan[start:], start=start + 1):
            self._learn(name, number, corpus, examples)
            yield done / len(plan)

    @torch.no_grad()
    def _learn(self, name: str, number: int, corpus: Corpus, examples: Examples) -> None:
        method, table = METHODS[name], self.table(name)
        held: Any = self.held[name]
        method.learn(corpus, table, dict(held.named_buffers()), self.config, number, self.seed)
        if number + 1 < method.rounds(self.config):
            return
        if method.kind == "words":
            rows = table.rows[: len(self.vocabulary)]
            vectors, found = changed(
                rows.numpy(), self.vocabulary, self.config, self.pairs, self.dictionary, self.seed
            )
            rows.copy_(torch.from_numpy(vectors))
            if found is not None:
                self.aligned.copy_(torch.tensor(found))
        self._pool(name, corpus)
        self._choose(name, self._selected(name, examples))

    def _selected(self, name: str, examples: Examples) -> float:
        """What a method is chosen by; a classifier of the labels is learnt on the way."""
        return measuring.selection_score(self._encoding(name), examples, self._probe(name), self.seed)

    def _probe(self, name: str) -> measuring.Probe | None:
        found: Any = self.probes[name] if self.classes else None
        return found

    def _pool(self, name: str, corpus: Corpus) -> None:
        method, own = METHODS[name], self._pooling(name)
        if method.kind == "topics":
            return
        how = self.config.pooled_by if method.kind == "words" else "tfidf"
        length = len(corpus.tokens) / len(corpus.texts)
        own.weights.copy_(torch.from_numpy(pooling.weights(how, self.vocabulary, length)))
        if len(own.removed):
            own.removed.zero_()
            texts = corpus.texts[:: -(-len(corpus.texts) // _POOLED)]
            found, shares = pooling.directions(how, self._encoding(name)(texts))
            own.removed.copy_(torch.from_numpy(np.ascontiguousarray(found)))
            own.shares.copy_(torch.from_numpy(np.ascontiguousarray(shares)))

    def _choose(self, name: str, score: float) -> None:
        """Keeps the method with the highest score in the training part, the first of equals."""
        scores: Any = self.held
        scores[name].score.fill_(score)
        every = [float(scores[other].score) for other in self.config.methods]
        self.best.fill_(int(np.argmax(every)))

    # ---- using

    def table(self, name: str) -> Table:
        found: Any = self.tables[name]
        return found

    def _pooling(self, name: str) -> Pooling:
        found: Any = self.poolings[name]
        return found

    @property
    def chosen(self) -> str:
        """The method whose vectors are used."""
        return self.config.methods[int(self.best)]

    def encoder_of(self, name: str) -> WordsEncoder:
        """Texts to vectors by one of the methods."""
        return WordsEncoder(self.vocabulary, self.table(name), self._pooling(name), METHODS[name].alpha)

    def _encoding(self, name: str) -> measuring.Encode:
        """Texts to vectors by one of the methods; by the baseline, to sparse ones."""
        if name == BASELINE:
            return lambda texts: self.vocabulary.bags(texts).multiply(self.vocabulary.idf()).tocsr()
        return self._encoding_of(self.encoder_of(name))

    def _encoding_of(self, encoder: WordsEncoder) -> measuring.Encode:
        one = Representation(encoder, self.axes)
        return lambda texts: one.encode(list(texts), normalize=False, precision="fp32")

    @property
    def axes(self) -> ElasticAxes:
        return ElasticAxes(dims=(self.config.dimensions,), layers=(1,))

    def representation(self) -> Representation:
        """Vectors of texts by the chosen method."""
        return TextVectors(self)

    def word_vectors(self) -> WordVectors:
        """The table of the chosen method, from frequent words to rare ones."""
        vectors = self.table(self.chosen).vectors.cpu().numpy()
        return WordVectors(self.vocabulary.entries, np.ascontiguousarray(vectors))

    def collate(self, columns: Mapping[str, Any]) -> Batch:
        """Texts as tokens."""
        return self.encoder_of(self.chosen).collate(columns)

    def measured(self, examples: Examples) -> dict[str, dict[str, measuring.Measured]]:
        """Method → measure → its values by row."""
        names = ((BASELINE,) if self.config.method == COMPARE else ()) + self.config.methods
        return {name: measuring.measures(self._encoding(name), examples, self._probe(name)) for name in names}

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """``known_words``: the share of words that have a vector; of vectors that were turned onto others, the share of
        held-out words of the dictionary that find theirs; and what :func:`measuring.measures` gives of the chosen method."""
        texts = texts_of(examples)
        ids = np.concatenate(
            [np.zeros(0, np.int64), *(ids for ids, _ in self.vocabulary.sequences_of(texts))]
        )
        name = self.chosen
        found = measuring.measures(self._encoding(name), examples, self._probe(name))
        aligned = dict(zip(("translated_by_cosine", "translated_by_csls"), self.aligned.tolist()))
        return {"known_words": pooling.counts_known(ids), **aligned, **measuring.flat(found)}

    input_kind = "texts"

    def predict(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """``nearest``: the words whose vectors are nearest to that of each text (of one word: its neighbours); of a run with
        labels ``label``, the class that its vector has in a linear classifier."""
        texts = list(next(columns[name] for name in TEXT_COLUMNS if name in columns))
        name, encode = self.chosen, self._encoding(self.chosen)
        vectors = encode(texts)
        answers: dict[str, Any] = {
            "nearest": self._nearest(texts, vectors * self.table(name).scale.cpu().numpy())
        }
        if probe := self._probe(name):
            known = np.asarray(np.any(vectors, axis=1))
            answers["label"] = [
                self.classes[place] if there else "" for place, there in zip(probe.predict(vectors), known)
            ]
            if not known.all():
                warn(f"{int((~known).sum())} of {len(texts)} texts have no known word, and get no label")
        return answers

    def _nearest(self, texts: Sequence[str], vectors: np.ndarray) -> list[str]:
        words = self.vocabulary.entries
        found = measuring.neighbours(
            self.table(self.chosen).vectors.cpu().numpy(), vectors, words, _NEIGHBOURS + 1
        )
        return [
            ", ".join([word for word in row if word != text.lower().strip()][:_NEIGHBOURS])
            if np.any(vector)
            else ""
            for text, row, vector in zip(texts, found, vectors)
        ]

    def analyse(self, examples: Examples) -> dict[str, dict[str, Any]]:
        """``methods``: what was measured of each, with 95 % intervals; ``topics`` of the texts; ``words``: neighbours of
        typical words."""
        rows: dict[str, list[Any]] = {n: [] for n in ("method", "measure", "value", "low", "high", "used")}
        for name, found in self.measured(examples).items():
            for measure, one in found.items():
                low, high = np.quantile(one.resampled(), [0.025, 0.975])
                values = (name, measure, one.estimate, float(low), float(high), name == self.chosen)
                for column, value in zip(rows.values(), values):
                    column.append(value)
        words = self._typical()
        topics = self.topics(examples)
        return {
            "methods": rows,
            "topics": {
                "words": [", ".join(topic.words) for topic in topics],
                "share": [topic.share for topic in topics],
                "coherence": [topic.coherence for topic in topics],
            },
            "words": {"word": words, "nearest": self.predict({"input": words})["nearest"]},
        }

    def draw(self, examples: Examples) -> list[Any]:
        """Of lists of words, bias before and after; of examples, methods by measures, and quality against bytes."""
        from brickwork.systems.embedding_survey import drawing
        from brickwork.systems.embedding_survey.audit import audit

        if "set" in examples.columns:
            return drawing.bias_drawings(audit(self.word_vectors(), examples.columns, self.seed))
        found = self.measured(examples)
        drawings = [drawing.heat_map(found, self.chosen)] if any(found.values()) else []
        if METHODS[self.chosen].kind != "topics":
            drawings.append(drawing.quality_by_bytes(self.compressed(examples), self.chosen))
        if topics := self.topics(examples):
            drawings.append(drawing.topics_drawing(topics, METHODS[self.chosen].kind == "topics"))
        words = self._typical()
        return [*drawings, drawing.nearest_words(words, self.predict({"input": words})["nearest"])]

    def topics(self, examples: Examples) -> list[found_topics.Topic]:
        """What texts are about: topics of a method that learns them, else clusters of vectors; none of too few texts."""
        texts = texts_of(examples)
        vectors, bags = self._encoding(self.chosen)(texts), self.vocabulary.bags(texts)
        words, table = self.vocabulary.entries, self.table(self.chosen)
        if table.topics:
            return found_topics.of_topics(table.rows.cpu().numpy(), vectors, bags, words)
        return found_topics.of_clusters(vectors, bags, words, self.seed)

    def _typical(self) -> list[str]:
        """The words that make most of the texts' TF-IDF, of those that few texts have."""
        words = self.vocabulary
        rare = words.documents <= max(_FEW * words.num_texts, words.documents.min())
        weight = words.counts * (words.idf() - 1) * rare
        return [self.vocabulary.entries[row] for row in np.argsort(-weight, kind="stable")[:_FAMILIAR]]

    def compressed(self, examples: Examples) -> "dict[str, tuple[float, str, measuring.Measured]]":
        """Way to keep the table → bytes a word, and a measure with it: the first that there is of these examples, or for
        texts alone how many of the ten nearest words stay."""
        name = self.chosen
        table, encoder = self.table(name), self.encoder_of(name)
        vectors = table.rows[: table.words].cpu().numpy()
        results = {}
        for way, compress in COMPRESSIONS.items():
            made, size = compress(vectors)
            rows = torch.cat([torch.from_numpy(made), table.rows[table.words :].cpu()])
            encode = self._encoding_of(replaced(encoder, rows))
            found = measuring.measures(encode, examples, self._probe(name))
            if found:
                measure, one = next(iter(found.items()))
            else:
                measure, one = "nearest words kept", measuring.Measured(kept_neighbours(vectors, made))
            results[way] = (size, measure, one)
        return results

    def foretell(self, examples: Examples) -> str:
        """What is learnt from how many words; of predictive methods how long that takes, from a try on some of them."""
        corpus = Corpus(self.vocabulary, texts_of(examples))
        tokens, dim = len(corpus.tokens), self.config.dimensions
        what = f"{tokens:,} words of a vocabulary of {len(self.vocabulary):,}, {dim} dimensions"
        name = next((name for name in self.config.methods if name in PREDICTIVE), None)
        if name is None:
            return what
        speed, rounds = words_a_second(corpus, self.config, name), self.config.rounds(name)
        return f"{what}; {name}: {speed:,.0f} words a second, {rounds} epochs in {rounds * tokens / speed:,.0f} s"


class Held(nn.Module):
    """What a method needs to go on learning, and its score once it is done."""

    score: torch.Tensor

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]):
        super().__init__()
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("score", torch.full((), -1.0))
