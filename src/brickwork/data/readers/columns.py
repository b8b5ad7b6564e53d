"""Which column of a table plays which role: by the user's word, else by the usual names."""

from collections.abc import Sequence
from dataclasses import asdict

from brickwork.core.config import nearest_column
from brickwork.core.errors import DataError
from brickwork.data.config import ColumnNames
from brickwork.data.types import Kind

USUAL_NAMES = {
    "anchor": "anchor query question sentence1 sentence_1 sentence_a text1 text_a premise source_text",
    "positive": "positive pos answer passage response sentence2 sentence_2 sentence_b text2 text_b "
    "entailment document context hypothesis",
    "negative": "negative neg hard_negative negative_1 contradiction",
    "text": "text content body passage document abstract description sentence input review caption captions alt alt_text "
    "smiles canonical_smiles",
    "image": "image image_file file_name filename file image_path path img image photo",
    "label": "label labels class category target topic",
    "score": "score similarity similarity_score relatedness_score",
    "title": "title heading headline subject name",
    "id": "id _id doc_id docid document_id pid",
    "group": "group",
}

JUDGING_NAMES = """is_duplicate duplicate is_paraphrase paraphrase entails entailed is_entailment is_similar similar is_match
match is_relevant relevant relevance is_answer is_correct correct gold_label judgement judgment"""
"""Columns that say whether a pair is right: they are asked about, as a label of pairs is."""


def match(columns: Sequence[str], chosen: ColumnNames, where: str) -> dict[str, str]:
    """The column of each role that has one.

    Raises:
        DataError: a chosen column does not exist; lists those that do.
    """
    roles: dict[str, str] = {}
    for role, name in asdict(chosen).items():
        if name is None:
            continue
        if name not in columns:
            raise DataError(
                f"{where} has no column '{name}' (wanted as {role}): {nearest_column(name, columns)}"
            )
        roles[role] = name
    by_lower = {column.strip().lower(): column for column in reversed(columns)}
    for role, names in USUAL_NAMES.items():
        if role not in roles:
            for name in names.split():
                column = by_lower.get(name)
                if column is not None and column not in roles.values():
                    roles[role] = column
                    break
    return roles


def task_of(columns: Sequence[str], chosen: ColumnNames, where: str) -> tuple[Kind | None, dict[str, str]]:
    """What can be learnt from a table, and the columns for it; ``None`` for plain texts.

    Raises:
        DataError: neither pairs nor texts are found, lists the columns; or both negatives and a score.
    """
    given = {role for role, name in asdict(chosen).items() if name is not None}
    roles = match(columns, chosen, where)
    wants_pairs = bool(given & {"anchor", "positive", "negative", "score"})
    wants_texts = bool(given & {"text", "label"}) and not wants_pairs
    if wants_pairs and "positive" not in roles and "text" in roles:
        roles["positive"] = roles.pop("text")
    if not wants_texts and "anchor" in roles and "positive" not in roles and "text" in roles:
        roles["positive"] = roles["text"]
    # Whoever names the columns of a pair means pairs, whatever a label says of them.
    judged = () if {"anchor", "positive"} <= given else ("label",)
    if not wants_texts and {"anchor", "positive"} <= roles.keys():
        if {"negative", "score"} <= roles.keys() - given:
            raise DataError(
                f"{where} has pairs with both negatives ('{roles['negative']}') and a score ('{roles['score']}'). Say which "
                f"is to be learnt from: --column negative={roles['negative']} or --column score={roles['score']}"
            )
        if "negative" in roles and "score" not in given:
            return "triplets", _only(roles, "anchor", "positive", "negative", "group")
        if "score" in roles:
            return "scored", _only(roles, "anchor", "positive", "score", "group")
        if "label" not in roles:
            free = {column.strip().lower(): column for column in columns if column not in roles.values()}
            judging = [free[name] for name in JUDGING_NAMES.split() if name in free]
            roles |= {"label": judging[0]} if judging else {}
        return "pairs", _only(roles, "anchor", "positive", *judged, "group")
    if "text" not in roles and "positive" in roles:
        roles["text"] = roles["positive"]
    if "text" in roles and "label" in roles and not wants_pairs:
        return "labelled", _only(roles, "text", "label")
    if "text" in roles and "title" in roles and not wants_pairs:
        return "pairs", {"anchor": roles["title"], "positive": roles["text"], **_only(roles, "group")}
    if "text" in roles and not wants_pairs:
        return None, _only(roles, "text", "title", "id")
    raise DataError(
        f"{where} has the columns {', '.join(columns)}: no pair and no text among the usual names. Say which "
        "are which, for example --column anchor=NAME --column positive=NAME, or --column text=NAME"
    )


def document_columns(columns: Sequence[str], chosen: ColumnNames, where: str) -> dict[str, str]:
    """The columns of text, title and id for documents that are only read, not learnt from.

    Raises:
        DataError: no column of texts is found; lists the columns.
    """
    roles = match(columns, chosen, where)
    for fallback in ("positive", "anchor"):
        if "text" not in roles and fallback in roles:
            roles["text"] = roles[fallback]
    if "text" not in roles and len(columns) == 1:
        roles["text"] = columns[0]
    if "text" not in roles:
        raise DataError(
            f"{where} has the columns {', '.join(columns)}: none is called like a text. Say which it is: "
            "--column text=NAME"
        )
    return _only(roles, "text", "title", "id")


def describe(kind: str | None, roles: dict[str, str]) -> str:
    """One sentence that tells the user what was understood."""
    listed = ", ".join(f"{role} = '{column}'" for role, column in roles.items())
    return f"read as {kind or 'plain texts'}: {listed}; choose otherwise with --column ROLE=NAME"


def _only(roles: dict[str, str], *wanted: str) -> dict[str, str]:
    return {role: roles[role] for role in wanted if role in roles}
