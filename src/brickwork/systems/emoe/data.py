"""The data of a run: anything with labels; two sets that the claims are checked on; and the domains of a user's rows."""

from dataclasses import dataclass, replace
from pathlib import Path

from brickwork.core.config import nearest
from brickwork.core.errors import DataError
from brickwork.data import splits
from brickwork.data.config import DataConfig, ImageDataConfig, refuse_image_size
from brickwork.data.generators.toy_text import ToyFact, toy_facts
from brickwork.data.load import load_task
from brickwork.data.readers.columns import task_of
from brickwork.data.readers.files import ReadReport, column_names, row_of, rows
from brickwork.data.readers.values import name_value, text_value
from brickwork.data.sets.sentence_tasks import SENTENCE_TASKS, sentence_task
from brickwork.data.sets.sources import locate
from brickwork.data.types import Examples, TaskData

PLACES = "toy-places"
AG_NEWS = "ag_news-topics"
TOPICS = ("world", "sports", "business", "technology")
_FACTS = 300
_KNOWN = 10  # kinds of people in the task of the backbone; as many as there are places


@dataclass(frozen=True, kw_only=True)
class Data(ImageDataConfig):
    """The data of a run of ``emoe``: anything with labels."""

    domain: str | None = None
    """The column of your table that says which domain a row is of, for `brickwork inspect` (none: a column called domain;
    without one the labels are the domains)."""


def load_data(config: Data, seed: int) -> TaskData:
    """The source, with the ``domain`` of each row of the test part where there is one. Also the sentence tasks, the topics
    of AG News, and ``toy-places``: where something happens, in a made-up language; its variant ``people`` asks who.

    Raises:
        DataError: the source cannot be used; names file, row or column and what to do.
    """
    made = {
        **dict.fromkeys(SENTENCE_TASKS, lambda: sentence_task(config.source, config, seed)),
        PLACES: lambda: _places(config, seed),
        AG_NEWS: lambda: _ag_news_topics(config, seed),
    }
    if config.source in made:
        refuse_image_size(config)
        return made[config.source]()
    task = load_task(config, seed)
    path = Path(config.source).expanduser()
    return _with_domains(task, path, config) if path.is_file() and task.kind == "labelled" else task


# ---- domains of a user's table -----------------------------------------------------------------------------------


def _with_domains(task: TaskData, path: Path, config: Data) -> TaskData:
    names = column_names(path)
    usual = next((name for name in names if name.strip().lower() == "domain"), None)
    column = config.domain or usual
    if column is None:
        return task
    if column not in names:
        raise DataError(f"{path} has no column '{column}' for data.domain: {nearest(column, names)}")
    _, roles = task_of(names, config.columns, str(path))
    report = ReadReport()
    by_text: dict[str, str] = {}
    for number, row in rows(path, report, [roles["text"], column]):
        where = row_of(path.name, number)
        domain = name_value(row.get(column), report, where)
        by_text.setdefault(text_value(row.get(roles["text"]), report, where), domain or "none")
    test = {**task.test.columns, "domain": [by_text[text] for text in task.test.columns["input"]]}
    return replace(task, test=Examples(test), notes=(*task.notes, f"domain = '{column}'"))


# ---- known sets --------------------------------------------------------------------------------------------------


def _places(config: DataConfig, seed: int) -> TaskData:
    """Facts of the made-up language: some with the place as label, others with who, for a stage that trains a backbone."""
    count = config.limit or _FACTS
    facts = toy_facts(3 * count, 0)
    places = sorted({fact.concepts["where"] for fact in toy_facts(500, 0)})
    people = sorted({fact.concepts["who"] for fact in toy_facts(500, 0)})[:_KNOWN]
    labelled = _labelled(facts[:count], "where", places)
    known = [fact for fact in facts[count:] if fact.concepts["who"] in people]
    parts = _split(labelled, config, seed, test=True)
    return TaskData(
        name=PLACES,
        kind="labelled",
        modality="text",
        train=labelled.select(parts.train),
        validation=labelled.select(parts.validation),
        test=labelled.select(parts.test),
        num_classes=len(places),
        class_names=tuple(places),
        variants={"people": _labelled(known, "who", people)},
    )


def _labelled(facts: list[ToyFact], concept: str, classes: list[str]) -> Examples:
    both = [(text, fact) for fact in facts for text in (fact.question, fact.statement)]
    labels = [classes.index(fact.concepts[concept]) for _, fact in both]
    return Examples({"input": [text for text, _ in both], "label": labels})


def _ag_news_topics(config: DataConfig, seed: int) -> TaskData:
    """Title and description of a news item, and which of four topics it is of."""
    import pyarrow.parquet

    path = locate("ag_news") / "text_classification" / "ag_news_7600.parquet"
    table = pyarrow.parquet.read_table(path)

    def part(which: str) -> Examples:
        chosen = table.filter([split == which for split in table["split"].to_pylist()])
        columns = {name: chosen[name].to_pylist() for name in ("title", "description", "label")}
        texts = [f"{title}. {text}" for title, text in zip(columns["title"], columns["description"])]
        examples = Examples({"input": texts, "label": columns["label"]})
        return examples.select([int(row) for row in splits.pick(len(texts), config.limit)])

    everything = part("train")
    parts = _split(everything, config, seed)
    return TaskData(
        name=AG_NEWS,
        kind="labelled",
        modality="text",
        train=everything.select(parts.train),
        validation=everything.select(parts.validation),
        test=part("test"),
        num_classes=len(TOPICS),
        class_names=TOPICS,
        notes=("the 7,600 items of the official test part, split at random: not the 120,000-item benchmark",),
    )


def _split(examples: Examples, config: DataConfig, seed: int, *, test: bool = False) -> splits.Parts:
    return splits.split(
        [splits.normalised(text) for text in examples.columns["input"]],
        validation_share=config.validation_share,
        test_share=config.test_share if test else 0.0,
        max_held_out=config.max_held_out,
        seed=seed,
    )
