"""Files of prompts as users write them, and prompts and texts that are made up."""

import json

import numpy as np
import pytest
import torch

from brickwork.api import train as api
from brickwork.core.config import override
from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.studies.sae_circuits import small_model
from brickwork.systems.sae_circuits.data import Data, load_data
from brickwork.systems.sae_circuits.subjects import NO_TOKEN, Subject, first_token, load_subject, read_prompts
from brickwork.systems.sae_circuits.system import System
from leading_piece import llama_2_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")


def test_texts_of_the_small_model_are_true_and_its_words_known():
    rng = np.random.default_rng(0)
    tokenizer = small_model.word_tokenizer()
    for number, (before, after) in enumerate(text for _ in range(60) for text in small_model.texts(rng)):
        assert 0 not in tokenizer.encode(before + after).ids, "an unknown word"
        if number % 4 == 0:
            names = [word for word in before.replace(",", "").split() if word.strip() in sae_names()]
            assert after.strip() in names
            assert names.count(after.strip()) == 1, "the name that comes once"
        if number % 4 == 1:
            century, start = (before.split("year ")[1][:2], before.split("year ")[1][2:4])
            assert before.endswith(century)
            assert start < after <= "99"
        if number % 4 == 2:
            assert f"{after.strip()}" in before.split(")")[0]
    one, again, other = (small_model.small_model(1, seed).embedding.weight for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def sae_names():
    from brickwork.systems.sae_circuits.prompts import _NAMES

    return _NAMES


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Data(source=str(path))


def test_bad_files_are_refused(tmp_path):
    good = [{"text": f"t{n}", "label": "yes" if n % 2 else "no"} for n in range(20)]
    path = tmp_path / "prompts.jsonl"
    cases = [
        ([{"text": "a"}], "no column for label .label or behaviour"),
        ([{"words": "a", "label": "yes"}], "no column for text"),
        ([*good, {"text": "t1", "label": "perhaps"}], r"row 21: label is 'perhaps'; write yes"),
        ([*good, {"text": "  ", "label": "yes"}], r"row 21: the column 'text' is empty"),
        (good[:4], "too few for a p-value"),
        ([{**row, "label": "yes"} for row in good], "0 prompts with label no to learn from"),
        (
            [*good, {**good[0], "label": "yes"}],
            r"rows 1 and 21 have the same text \('t0'\), once with and once without",
        ),
        (
            [{**good[0], "text": ["t1", "t2"]}],
            r"row 1: text is \['t1', 't2'\], a nested value; write one text",
        ),
        (
            [*good, {"text": "t", "label": "no", "wrong": " t1"}],
            "row 21: 'wrong' says what would be wrong, and no answer",
        ),
    ]
    for rows, message in cases:
        with pytest.raises(DataError, match=message):
            load_data(write(path, rows), 0)
    with pytest.raises(DataError, match="no file of prompts and no made-up set"):
        load_data(Data(source="ioy"), 0)
    with pytest.raises(DataError, match="no column 'answr' for answer"):
        load_data(Data(source=str(path), answer="answr"), 0)
    subject = load_subject("wired")
    columns = {"behaves": [True], "group": [0], "answer": [" t1"], "wrong": [" t1"], "text": ["t1 t2"]}
    with pytest.raises(DataError, match="begin with the same token"):
        read_prompts(subject, columns)
    with pytest.raises(DataError, match="has 30 tokens; wired reads 1 to 18"):
        read_prompts(subject, {**columns, "wrong": [""], "text": ["t1 " * 30]})
    with pytest.raises(DataError, match=r"row 7 \('t1 t1"):
        read_prompts(subject, {**columns, "wrong": [""], "text": ["t1 " * 30], "row": [7]})
    with pytest.raises(ArtifactError, match=r"model.subject=/no/where: .* is not a folder"):
        load_subject("/no/where")
    with pytest.raises(ConfigError, match=r"model.subject=m: Linear has no stack of layers"):
        Subject("m", torch.nn.Linear(2, 2), {}).shape  # noqa: B018
    lonely = read_prompts(subject, {**columns, "wrong": [""]})
    with pytest.raises(DataError, match=r"not one partner.*model.ablation=resample needs"):
        lonely.partners()
    with pytest.raises(ConfigError, match="has no effect with subject 'smollm2-135m'"):
        override(api.recipe("sae-circuits"), ["model.distractor=2"])


def test_prompts_given_twice_are_no_further_evidence(tmp_path):
    """A copy of every pair, once under the same name and once under another, and a row that stands twice in its group."""
    pairs = [
        {"text": f"t{n} {word}", "label": label, "group": n}
        for n in range(12)
        for word, label in (("a", "yes"), ("b", "no"))
    ]
    once = load_data(write(tmp_path / "once.jsonl", pairs), 0)
    again = [{**row, "group": row["group"] + 100} for row in pairs]
    many = load_data(write(tmp_path / "many.jsonl", [*pairs, *again, *pairs, pairs[0]]), 0)
    assert once.notes == ()
    assert many.notes == ("left out: 49 of 73 prompts, which say again what others say",)
    for column in ("text", "group", "row"):
        assert list(many.train.columns[column]) == list(once.train.columns[column])
    # A text that stands in two pairs is kept: its partners differ.
    shared = load_data(write(tmp_path / "shared.jsonl", [*pairs, {**pairs[0], "group": 1}]), 0)
    assert len(shared.train) + len(shared.test) + len(shared.validation) == 25


def test_what_a_reader_of_the_file_would_ask_is_noted(tmp_path):
    good = [{"text": f"t{n}", "label": "yes" if n % 2 else "no", "answer": " a"} for n in range(20)]
    cases = [
        (
            [{**row, "text": row["text"] + " "} for row in good],
            "20 of 20 prompts end with a space (first: row 1)",
        ),
        ([{**row, "answer": "a"} for row in good], "20 answers follow their prompt without a space"),
        (
            [*good, {"text": "u", "label": "yes"}],
            "1 of 11 prompts with the behaviour have no answer (first: row 21)",
        ),
        (good, ""),
        ([{**row, "answer": None} for row in good], ""),
    ]
    for rows, start in cases:
        notes = load_data(write(tmp_path / "prompts.jsonl", rows), 0).notes
        assert [note[: len(start)] for note in notes] == ([start] if start else [])


def test_a_prompt_that_is_too_long_is_refused_before_anything_is_measured():
    task = load_data(Data(source="wired", validation_share=0.0, test_share=0.5), 0)
    task.test.columns["text"][3] = "t1 " * 30
    config = override(api.recipe("sae-circuits", "smoke"), []).model
    with pytest.raises(DataError, match="has 30 tokens; wired reads 1 to 18"):
        System.build(config, task, None, 0)


def test_docstring_prompts_ask_for_the_third_argument():
    """The behaviour by hand, from the text alone: arguments of the first line, of which the two described come first."""
    columns = load_data(Data(source="docstring", made_up=30, test_share=0.0), 0).train.columns
    for text, behaves, answer, wrong in zip(
        *(columns[name] for name in ("text", "behaves", "answer", "wrong"))
    ):
        given = text.split("(self, ")[1].split(")")[0].split(", ")
        described = [
            line.split()[1].rstrip(":")
            for line in text.splitlines()
            if line.count(":param") and line.count(":") == 2
        ]
        assert len(given) == 4
        assert len(set(given) | set(described)) == (4 if behaves else 6)
        assert (described == given[:2]) == behaves
        assert (answer == f" {given[2]}" and wrong == f" {given[3]}") == behaves
        assert behaves or {answer.strip(), wrong.strip()}.isdisjoint({*given, *described})


def test_made_up_prompts_differ_where_they_should():
    for source in ("ioi", "greater-than"):
        columns = load_data(Data(source=source, made_up=40), 0).train.columns
        by_group = {}
        for text, behaves, group in zip(columns["text"], columns["behaves"], columns["group"]):
            by_group.setdefault(int(group), {})[bool(behaves)] = text
        for pair in by_group.values():
            ours, theirs = pair[True].split(), pair[False].split()
            assert len(ours) == len(theirs)
            assert sum(a != b for a, b in zip(ours, theirs)) == 1


def test_the_first_token_of_an_answer_is_the_one_that_follows_its_prompt():
    tokenizer = llama_2_tokenizer()

    def piece(text, answer):
        return tokenizer.id_to_token(first_token(tokenizer, text, answer))

    assert tokenizer.encode(" Mary").tokens == ["▁", "▁Mary"], "alone it begins with an empty piece"
    assert tokenizer.encode("to Mary").tokens == ["▁to", "▁Mary"]
    assert piece("to", " Mary") == "▁Mary"
    assert piece("to 17", "4") == "4"
    assert tokenizer.encode("to\nab").tokens[-1] == "ab"
    assert piece("to\na", "b") == "b", (
        "text and answer have a token in common, so it is that after a new line"
    )
    assert first_token(tokenizer, "to", "") == NO_TOKEN
