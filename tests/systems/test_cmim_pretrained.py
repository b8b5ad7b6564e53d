"""Informative embeddings of pretrained encoder-decoders: transformers' own decoder states, kept and searched with."""

import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from typer.testing import CliRunner

import brickwork
from brickwork.cli.main import app
from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.representation.export_sentence_transformers import export_sentence_transformers
from brickwork.systems.cmim.pretrained import informative_representation

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own
TEXTS = ["a fish in the sea", "pear", "numbers: 1 2 3, and more of them"]
MODELS = {
    "t5": {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 3, "num_heads": 4, "num_decoder_layers": 2},
    "bart": {"d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 4,
             "decoder_attention_heads": 4, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 64},
}  # fmt: skip
MARKS = {"pad_token_id": 256, "bos_token_id": 257, "eos_token_id": 258, "decoder_start_token_id": 258}


@pytest.fixture(scope="module", params=MODELS)
def folder(request, tmp_path_factory):
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    place = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    config = AutoConfig.for_model(request.param, vocab_size=259, **MODELS[request.param], **MARKS)
    model = AutoModelForSeq2SeqLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():  # fresh norms are all the same
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(place)
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(letters, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<pad>", "<start>", "<end>"])
    tokenizer.save(str(place / "tokenizer.json"))
    return place


@pytest.fixture(scope="module")
def model(folder):
    return informative_representation(folder, max_tokens=40)


def theirs(folder, text):
    """The decoder's states by transformers' own model with a head, which shifts the labels itself; one text, no padding."""
    from transformers import AutoModelForSeq2SeqLM

    reference = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    ids = torch.tensor([Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids])
    with torch.no_grad():
        output = reference(input_ids=ids, labels=ids, output_hidden_states=True)
    return [hidden[0] for hidden in output.decoder_hidden_states]


@torch.no_grad()
def test_states_are_those_of_transformers(folder, model):
    tokens = model.encoder.tokenize(TEXTS)
    states = model.encoder.body(tokens, [0, 2])
    assert model.encoder.num_layers == 2
    for row, text in enumerate(TEXTS):
        expected = theirs(folder, text)
        for layer in (0, 2):
            torch.testing.assert_close(
                states[layer][tokens.sequence == row], expected[layer], atol=1e-5, rtol=1e-5
            )
    means = np.stack([theirs(folder, text)[-1].mean(0).numpy() for text in TEXTS])
    unit = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(model.encode(TEXTS, precision="fp32"), unit, atol=1e-5)


def test_it_is_kept_indexed_and_searched(model, tmp_path):
    kept = brickwork.load(model.save(tmp_path / "model"))
    np.testing.assert_allclose(kept.encode(TEXTS), model.encode(TEXTS), atol=1e-6)
    table = tmp_path / "texts.csv"
    table.write_text("id,text\n" + "".join(f'{i},"{text}"\n' for i, text in enumerate(TEXTS)))
    index = brickwork.build_index(kept, table, tmp_path / "index")
    assert index.search(TEXTS[1], mode="dense")[0][0].id == "1"
    with pytest.raises(ArtifactError, match="encoder-decoder"):
        export_sentence_transformers(kept, tmp_path / "st")


def test_from_the_command_line_to_a_search(folder, model, tmp_path):
    """One command makes the model; the others take it as they take any."""
    call, kept = CliRunner().invoke, tmp_path / "states"
    made = call(app, ["export", str(folder), "--to", "decoder-states", "--out", str(kept)])
    assert made.exit_code == 0, made.output
    np.testing.assert_allclose(brickwork.load(kept).encode(TEXTS), model.encode(TEXTS), atol=1e-6)
    table = tmp_path / "texts.csv"
    table.write_text("id,text\n" + "".join(f'{i},"{text}"\n' for i, text in enumerate(TEXTS)))
    done = call(app, ["index", str(kept), str(table), "--out", str(tmp_path / "index")])
    assert done.exit_code == 0, done.output
    hits = call(app, ["search", str(tmp_path / "index"), TEXTS[2], "--mode", "dense", "--json"])
    assert json.loads(hits.stdout)["results"][0]["id"] == "2", hits.output
    done = call(app, ["encode", str(kept), str(table), "--out", str(tmp_path / "vectors")])
    assert done.exit_code == 0, done.output
    for extra in (["--layers", "1"], ["--rank", "2"]):
        refused = call(
            app, ["export", str(folder), "--to", "decoder-states", "--out", str(tmp_path / "no"), *extra]
        )
        assert refused.exit_code == 2, refused.output
        assert not (tmp_path / "no").exists()


def test_what_is_none_is_refused(folder, tmp_path):
    if folder.name.startswith("bart"):
        with pytest.raises(ConfigError, match="max_tokens=65 is more than the 64"):
            informative_representation(folder, max_tokens=65)
    from transformers import BertConfig, BertModel

    small = {"vocab_size": 259, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    BertModel(BertConfig(**small, intermediate_size=8)).save_pretrained(tmp_path)
    with pytest.raises(ArtifactError, match="'bert' is no encoder-decoder"):
        informative_representation(tmp_path)
    with pytest.raises(ArtifactError, match="no model that was trained"):
        informative_representation("scratch")
