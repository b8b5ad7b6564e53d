"""The known text sets as learning tasks, with their official parts."""

from collections.abc import Callable, Sequence
from typing import Any

from brickwork.data import splits
from brickwork.data.config import DataConfig
from brickwork.data.generators.toy_text import toy_pairs
from brickwork.data.readers.passages import cut_words, pack, paragraphs
from brickwork.data.retrieval import retrieval_from_pairs
from brickwork.data.sets.sources import locate
from brickwork.data.types import Examples, RetrievalSet, TaskData

_TOY_PAIRS = 2000


def _table(name: str, file: str) -> dict[str, list[Any]]:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(locate(name) / file)
    return {column: table[column].to_pylist() for column in table.column_names}


def _examples(columns: dict[str, list[Any]], rows: Sequence[int], limit: int | None) -> Examples:
    kept = [rows[place] for place in splits.pick(len(rows), limit)]
    return Examples({name: [column[row] for row in kept] for name, column in columns.items()})


def _hold_out(
    examples: Examples, keys: Sequence[str], config: DataConfig, seed: int, *, test: bool = False
) -> splits.Parts:
    return splits.split(
        keys,
        validation_share=config.validation_share,
        test_share=config.test_share if test else 0.0,
        max_held_out=config.max_held_out,
        seed=seed,
    )


def _where(column: Sequence[Any], value: Any) -> list[int]:
    return [row for row, entry in enumerate(column) if entry == value]


def python_task(config: DataConfig, seed: int) -> TaskData:
    """Documentation search (summary → rest of the documentation) and code search (summary → source without
    documentation), split by module."""
    from brickwork.data.sets.python_corpus import collect

    table = collect(config.limit).to_pydict()
    columns: dict[str, list[Any]] = {"anchor": [], "positive": [], "group": []}
    tasks: list[str] = []
    keys: list[str] = []
    titles: list[str] = []
    for row in range(len(table["name"])):
        for task, column in (("documentation", "body"), ("code", "source")):
            text = table[column][row]
            if text:
                columns["anchor"].append(table["summary"][row])
                columns["positive"].append(cut_words(text, config.max_passage_words))
                columns["group"].append(row)
                tasks.append(task)
                keys.append(table["module"][row])
                titles.append(table["name"][row])
    examples = Examples(columns)
    parts = _hold_out(examples, keys, config, seed, test=True)
    train, validation, test = splits.select(examples, parts)
    retrieval = {}
    for task in ("documentation", "code"):
        rows = [row for row in parts.test if tasks[row] == task]
        if rows:
            retrieval[task] = retrieval_from_pairs(task, examples.select(rows), [titles[row] for row in rows])
    note = (
        f"{len(table['name']):,} documented functions and classes of {len(set(keys)):,} modules; "
        "each module is wholly in one part"
    )
    return TaskData(
        name="python",
        kind="pairs",
        modality="text",
        train=train,
        validation=validation,
        test=test,
        retrieval=retrieval,
        notes=(note,),
    )


def _toy(config: DataConfig, seed: int) -> TaskData:
    pairs = toy_pairs(config.limit or _TOY_PAIRS, 0)
    examples = Examples(
        {"anchor": [a for a, _ in pairs], "positive": [p for _, p in pairs], "group": list(range(len(pairs)))}
    )
    parts = _hold_out(examples, [anchor for anchor, _ in pairs], config, seed, test=True)
    return _pairs_task("toy", *splits.select(examples, parts))


def _pairs_task(
    name: str, train: Examples, validation: Examples, test: Examples, notes: tuple[str, ...] = ()
) -> TaskData:
    return TaskData(
        name=name,
        kind="triplets" if "negative" in train.columns else "pairs",
        modality="text",
        train=train,
        validation=validation,
        test=test,
        retrieval={name: retrieval_from_pairs(name, test)} if len(test) else {},
        notes=notes,
    )


def _sts_benchmark(config: DataConfig, seed: int) -> TaskData:
    table = _table("sts_benchmark", "sts/sts_benchmark.parquet")
    columns = {
        "anchor": table["sentence1"],
        "positive": table["sentence2"],
        "score": [score / 5 for score in table["score"]],
    }
    train, validation, test = (
        _examples(columns, _where(table["split"], part), config.limit) for part in ("train", "dev", "test")
    )
    return TaskData(
        name="sts_benchmark", kind="scored", modality="text", train=train, validation=validation, test=test
    )


def _nli_snli(config: DataConfig, seed: int) -> TaskData:
    """Premises that carry an entailed and a contradicted sentence (the first of each)."""
    table = _table("nli_snli", "nli_paraphrase/snli_dev_test.parquet")
    first: dict[tuple[str, str], dict[str, str]] = {}
    for part, premise, hypothesis, label in zip(
        *(table[c] for c in ("split", "premise", "hypothesis", "label"))
    ):
        first.setdefault((part, premise), {}).setdefault(label, hypothesis)
    complete = [
        (key, hypotheses)
        for key, hypotheses in first.items()
        if {"entailment", "contradiction"} <= hypotheses.keys()
    ]
    columns: dict[str, list[Any]] = {
        "anchor": [premise for (_, premise), _ in complete],
        "positive": [hypotheses["entailment"] for _, hypotheses in complete],
        "negative": [hypotheses["contradiction"] for _, hypotheses in complete],
    }
    columns["group"] = splits.connect(columns["anchor"], columns["positive"])
    part_of = [part for (part, _), _ in complete]
    trained = _examples(columns, _where(part_of, "dev"), config.limit)
    test = _examples(columns, _where(part_of, "test"), config.limit)
    parts = _hold_out(trained, [str(number) for number in trained.columns["group"]], config, seed)
    return _pairs_task(
        "nli_snli",
        trained.select(parts.train),
        trained.select(parts.validation),
        test,
        ("SNLI dev is trained on and SNLI test measured on; the official training part is not used",),
    )


def _ag_news(config: DataConfig, seed: int) -> TaskData:
    """Title → description; items that share a title or description with a training item leave the test."""
    table = _table("ag_news", "text_classification/ag_news_7600.parquet")
    columns: dict[str, list[Any]] = {"anchor": table["title"], "positive": table["description"]}
    columns["group"] = splits.connect(columns["anchor"], columns["positive"])
    trained_rows = _where(table["split"], "train")
    trained_groups = {columns["group"][row] for row in trained_rows}
    test_rows = [row for row in _where(table["split"], "test") if columns["group"][row] not in trained_groups]
    trained = _examples(columns, trained_rows, config.limit)
    parts = _hold_out(trained, [str(number) for number in trained.columns["group"]], config, seed)
    return _pairs_task(
        "ag_news",
        trained.select(parts.train),
        trained.select(parts.validation),
        _examples(columns, test_rows, config.limit),
        ("the 7,600 items of the official test part, split at random: not the 120,000-item benchmark",),
    )


def _newsgroups20(config: DataConfig, seed: int) -> TaskData:
    table = _table("newsgroups20", "text_classification/newsgroups20.parquet")
    names = dict(zip(table["label"], table["group"]))
    columns = {"input": table["text"], "label": table["label"]}
    trained = _examples(columns, _where(table["split"], "train"), config.limit)
    parts = _hold_out(trained, [splits.normalised(text) for text in trained.columns["input"]], config, seed)
    return TaskData(
        name="newsgroups20",
        kind="labelled",
        modality="text",
        train=trained.select(parts.train),
        validation=trained.select(parts.validation),
        test=_examples(columns, _where(table["split"], "test"), config.limit),
        num_classes=len(names),
        class_names=tuple(names[number] for number in sorted(names)),
        notes=("random split: easier than the split by date",),
    )


def _judged(name: str, part: str | None) -> tuple[RetrievalSet, dict[str, list[Any]]]:
    """The queries of a part against all documents, and the columns of the different pairs judged relevant.

    A query may be asked in several ways (title, description of a video): they are one group.
    """
    documents = _table(name, f"retrieval/{name}_docs.parquet")
    queries = _table(name, f"retrieval/{name}_queries.parquet")
    judged = _table(name, f"retrieval/{name}_qrels.parquet")
    place = {document: row for row, document in enumerate(documents["doc_id"])}
    kept = range(len(queries["text"])) if part is None else _where(queries["split"], part)
    gains: dict[str, dict[int, int]] = {queries["query_id"][row]: {} for row in kept}
    for query, document, gain in zip(judged["query_id"], judged["doc_id"], judged["relevance"]):
        if query in gains and gain > 0:
            gains[query][place[document]] = int(gain)
    rows = [row for row in kept if gains[queries["query_id"][row]]]
    retrieval = RetrievalSet(
        name=name,
        queries=[queries["text"][row] for row in rows],
        documents=documents["text"],
        relevant=[gains[queries["query_id"][row]] for row in rows],
    )
    pairs = dict.fromkeys(
        (queries["query_id"][row], queries["text"][row], retrieval.documents[answer])
        for row, relevant in zip(rows, retrieval.relevant)
        for answer in relevant
    )
    columns: dict[str, list[Any]] = {
        "anchor": [query for _, query, _ in pairs],
        "positive": [document for _, _, document in pairs],
        "group": splits.group_numbers(number for number, _, _ in pairs),
    }
    return retrieval, columns


def _nfcorpus(config: DataConfig, seed: int) -> TaskData:
    """Queries and the documents judged relevant to them, with the official split by query."""
    examples = {}
    for part in ("train", "dev", "test"):
        retrieval, columns = _judged("nfcorpus", part)
        examples[part] = _examples(columns, range(len(columns["anchor"])), config.limit)
    return TaskData(
        name="nfcorpus",
        kind="pairs",
        modality="text",
        train=examples["train"],
        validation=examples["dev"],
        test=examples["test"],
        retrieval={"nfcorpus": retrieval},
        notes=("NFCorpus (original): not comparable with the copy in BEIR",),
    )


def _vaswani(config: DataConfig, seed: int) -> TaskData:
    """All 93 queries are the test; what is trained on is halves of the documents (first half → second)."""
    retrieval, judged = _judged("vaswani", None)
    columns: dict[str, list[Any]] = {"anchor": [], "positive": []}
    for text in retrieval.documents:
        halves = list(pack(paragraphs(text), max(1, (len(text.split()) + 1) // 2)))
        if len(halves) == 2:
            columns["anchor"].append(halves[0])
            columns["positive"].append(halves[1])
    columns["group"] = splits.connect(columns["anchor"], columns["positive"])
    trained = _examples(columns, range(len(columns["anchor"])), config.limit)
    parts = _hold_out(trained, [str(number) for number in trained.columns["group"]], config, seed)
    return TaskData(
        name="vaswani",
        kind="pairs",
        modality="text",
        train=trained.select(parts.train),
        validation=trained.select(parts.validation),
        test=Examples(judged),
        retrieval={"vaswani": retrieval},
        notes=("trained on halves of the documents, without any query; the documents are those searched",),
    )


TASKS: dict[str, Callable[[DataConfig, int], TaskData]] = {
    "python": python_task,
    "toy": _toy,
    "sts_benchmark": _sts_benchmark,
    "nli_snli": _nli_snli,
    "nfcorpus": _nfcorpus,
    "vaswani": _vaswani,
    "ag_news": _ag_news,
    "newsgroups20": _newsgroups20,
}
