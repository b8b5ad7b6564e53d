"""The decoder of strings against plain loops; the tap against transformers' own states."""

import math

import numpy as np
import pytest
import torch

from brickwork.core.errors import ArtifactError
from brickwork.core.types import TokenBatch
from brickwork.modules.latent import mean_over_valid
from brickwork.modules.recorder import tap
from brickwork.modules.sequence_decoder import SequenceDecoder, SequenceDecoderConfig


def strings() -> TokenBatch:
    return TokenBatch.from_lists([[0, 3, 4, 1], [0, 5, 1], [0, 3, 3, 3, 4, 1]])


@pytest.fixture
def writer():
    torch.manual_seed(0)
    return SequenceDecoder(SequenceDecoderConfig(width=6, num_layers=2), 4, 8, start=0, end=1).eval()


def test_probability_of_a_string_is_a_product_over_its_tokens(writer):
    """Each string alone, each prefix run again: no padding, no teacher forcing in one piece."""
    z = torch.randn(3, 4)
    results = writer.log_prob(z, strings())
    start = 0
    for row, length in enumerate([4, 3, 6]):
        ids = strings().ids[start : start + length]
        start += length
        total = 0.0
        for end in range(1, length):
            states = writer._states(z[row : row + 1], ids[None, :end])
            total += writer.output(states[0, -1]).log_softmax(0)[ids[end]].item()
        assert results[row].item() == pytest.approx(total, rel=1e-5)


def test_states_of_a_string_are_the_mean_over_what_predicts_its_tokens(writer):
    z, tokens = torch.randn(3, 4), strings()
    with tap(writer.output) as seen:
        writer.log_prob(z, tokens)
    for row, length in enumerate([4, 3, 6]):
        torch.testing.assert_close(writer.hidden(z, tokens)[row], seen[0][row, : length - 1].mean(0))


def test_generation_is_greedy_at_temperature_zero_and_seeded_otherwise(writer):
    z = torch.randn(2, 4)
    greedy = writer.generate(z, [[], [3]], max_tokens=5, temperature=0.0)
    for row, prefix in enumerate([[], [3]]):
        ids = [0, *prefix]
        for token in greedy[row]:
            logits = writer.output(writer._states(z[row : row + 1], torch.tensor([ids]))[0, -1]).clone()
            logits[0] = -math.inf
            assert int(logits.argmax()) == token
            ids.append(token)

    def drawn(seed: int, **options) -> list[list[int]]:
        return writer.generate(
            z, [[], []], max_tokens=30, generator=torch.Generator().manual_seed(seed), **options
        )

    assert drawn(1) == drawn(1) != drawn(2)
    assert all({0, 1, 5}.isdisjoint(row) for row in drawn(1, banned=[5]))
    assert drawn(1, top_k=1) == writer.generate(z, [[], []], max_tokens=30, temperature=0.0)


def test_blanked_tokens_only_while_training():
    torch.manual_seed(0)
    writer = SequenceDecoder(SequenceDecoderConfig(width=6, word_dropout=0.9), 4, 8, start=0, end=1)
    z = torch.randn(3, 4)
    once, again = (writer.log_prob(z, strings()) for _ in range(2))
    assert not torch.equal(once, again)
    writer.eval()
    assert torch.equal(writer.log_prob(z, strings()), writer.log_prob(z, strings()))


def test_mean_over_valid_is_numpys():
    hidden, valid = torch.randn(3, 4, 2), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]).bool()
    results = mean_over_valid(hidden, valid)
    np.testing.assert_allclose(results[0], hidden[0, :2].mean(0), rtol=1e-6)
    np.testing.assert_allclose(results[1], hidden[1].mean(0), rtol=1e-6)
    assert not results[2].any()


def test_the_tap_works_on_another_librarys_encoder_decoder():
    """T5 of transformers with random weights: what goes into its lm_head is its last decoder state."""
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    sizes = {"vocab_size": 20, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    config = T5Config(**sizes, decoder_start_token_id=0, pad_token_id=0, tie_word_embeddings=False)
    model = T5ForConditionalGeneration(config).eval()
    ids = torch.randint(2, 20, (2, 5))
    with torch.no_grad(), tap(model.lm_head) as seen:
        out = model(input_ids=ids, labels=ids, output_hidden_states=True)
    torch.testing.assert_close(seen[0], out.decoder_hidden_states[-1])
    assert mean_over_valid(seen[0], torch.ones(2, 5, dtype=torch.bool)).shape == (2, 8)


def test_damaged_descriptions_are_refused():
    with pytest.raises(ArtifactError, match="damaged"):
        SequenceDecoder.from_architecture({"config": {}, "latent_dim": 3})
