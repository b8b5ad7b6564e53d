"""Cross-encoders: which folders are taken, and what pairs become; scores against another library: tests/interop."""

import json

import numpy as np
import pytest
import torch

from brickwork.core.errors import ArtifactError, NonFiniteError
from brickwork.encoders.cross_encoder import load_cross_encoder
from brickwork.index.reranking import Reranker
from tiny_cross_encoder import WORDS, write

PAIRS = [("a b", "c d e"), ("a", "b"), ("c", "d " * 40), ("j i h", "a")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("cross") / "encoder")


@pytest.fixture
def changed(folder, tmp_path):
    """A copy of the folder, with some values of a JSON file changed."""
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)

    def change(name, **values):
        path = copy / name
        before = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps({**before, **values}))
        return copy

    return change


def test_the_score_of_a_pair_does_not_depend_on_the_others(folder):
    reranker = Reranker.load(folder, precision="fp32")
    together = reranker.scores(PAIRS)
    assert together.dtype == np.float32
    assert np.ptp(together) > 1e-3
    np.testing.assert_allclose(together, [reranker.scores([pair])[0] for pair in PAIRS], atol=1e-6)
    assert reranker.scores([]).shape == (0,)
    np.testing.assert_allclose(Reranker.load(folder).scores(PAIRS), together, atol=2e-2)


def test_of_a_long_pair_the_document_is_cut_first(folder):
    model = load_cross_encoder(folder)
    assert model.max_tokens == 20  # the positions of the model: its tokenizer sets no limit
    (read,) = model.tokenize([("a b c", "d " * 50)])
    assert model.tokenizer.decode(read["input_ids"]) == f"[CLS] a b c [SEP] {'d ' * 14}[SEP]"
    (read,) = model.tokenize([("a " * 50, "d " * 50)])
    assert len(read["input_ids"]) == 20
    assert read["input_ids"].count(WORDS.index("d")) in (8, 9)


def test_the_limit_and_the_case_of_the_folder_are_kept(changed):
    folder = changed("sentence_bert_config.json", max_seq_length=9, do_lower_case=True)
    model = load_cross_encoder(folder)
    (read,) = model.tokenize([("A B C", "D " * 50)])
    assert model.tokenizer.decode(read["input_ids"]) == "[CLS] a b c [SEP] d d d [SEP]"


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("config.json", {"num_labels": 3}, "gives 3 scores for a pair, and reranking needs one"),
        ("config.json", {"model_type": "made_up"}, "model type 'made_up' is not known"),
        (
            "config.json",
            {"sbert_ce_default_activation_function": "evil.Code"},
            "puts evil.Code on its scores",
        ),
        ("config.json", {"hidden_size": 32}, "was refused"),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": "q"},
            "puts a prompt before every text",
        ),
        (
            "sentence_bert_config.json",
            {"transformer_task": "text-generation"},
            "asks for the task 'text-generation'",
        ),
        ("config.json", {"hidden_size": "wide"}, "was refused .*hidden_size"),
        ("config.json", {"num_attention_heads": 0}, "was refused .*modulo by zero"),
        ("config.json", {"id2label": []}, "was refused"),
        ("tokenizer_config.json", {"pad_token": None}, "a tokenizer without a padding token"),
        (
            "tokenizer_config.json",
            {"model_max_length": 3},
            "reads 3 tokens of a pair, and 3 of them are marks: a pair needs at least 5",
        ),
        ("tokenizer.json", {"model": 3}, "has no tokenizer that can be read"),
    ],
)
def test_folders_that_cannot_be_used(changed, name, values, message):
    with pytest.raises(ArtifactError, match=message):
        load_cross_encoder(changed(name, **values))


def test_an_encoder_is_no_cross_encoder(tmp_path):
    folder = write(tmp_path / "encoder", kind="Model")
    with pytest.raises(ArtifactError, match=r"not those of a cross-encoder \(missing .*classifier"):
        Reranker.load(folder)


def test_a_chain_that_gives_vectors_is_named(changed):
    folder = changed("config.json")
    kinds = ("Transformer", "Pooling")
    chain = [
        {"idx": n, "path": "", "type": f"sentence_transformers.models.{kind}"} for n, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(chain))
    with pytest.raises(ArtifactError, match="a chain of Transformer → Pooling"):
        Reranker.load(folder)


def test_only_safetensors_are_read(changed):
    folder = changed("config.json")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match=r"only safetensors are read; pytorch_model.bin"):
        Reranker.load(folder)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8 + b"{}", b"\x40" + b"\0" * 7 + b'{"a":'])
def test_damaged_files_of_weights_are_told(changed, content):
    folder = changed("config.json")
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"was refused.*header"):
        Reranker.load(folder)


def test_a_decoder_that_names_no_padding_scores_each_pair_as_if_alone(folder, tmp_path):
    import shutil

    from transformers import LlamaConfig, LlamaForSequenceClassification

    copy = tmp_path / "decoder"
    shutil.copytree(folder, copy)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(WORDS), max_position_embeddings=20, num_labels=1, **sizes)
    LlamaForSequenceClassification(config).save_pretrained(copy)
    values = json.loads((copy / "tokenizer_config.json").read_text())
    values["model_input_names"] = ["input_ids", "attention_mask"]
    (copy / "tokenizer_config.json").write_text(json.dumps(values))
    reranker = Reranker.load(copy, precision="fp32")
    np.testing.assert_allclose(
        reranker.scores(PAIRS), [reranker.scores([pair])[0] for pair in PAIRS], atol=1e-6
    )


@pytest.mark.parametrize(
    "values", [{"num_attention_heads": 0}, {"num_attention_heads": "2"}, {"vocab_size": 0}]
)
def test_a_description_with_wrong_values_is_one_clear_error(changed, values):
    with pytest.raises(ArtifactError, match="was refused"):
        load_cross_encoder(changed("config.json", **values))


def test_truncated_weights_are_one_clear_error(changed):
    weights = changed("config.json") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="truncated"):
        load_cross_encoder(weights.parent)


def test_what_is_not_there_says_what_can_be_given(tmp_path):
    with pytest.raises(ArtifactError, match="is not a model folder; give"):
        Reranker.load(tmp_path / "nothing")


def test_damaged_weights_are_told(folder):
    reranker = Reranker.load(folder)
    with torch.no_grad():
        next(reranker.model.model.parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="gave a score that is not finite"):
        reranker.scores(PAIRS)
