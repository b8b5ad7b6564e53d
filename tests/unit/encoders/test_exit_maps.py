"""Maps behind exits: what they take, on packed and on padded texts, for encoders of every kind."""

import pytest
import torch
from sample_encoders import TEXTS, build_small

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.encoders.exit_maps import ExitMaps
from brickwork.encoders.hub import HubTransformer
from brickwork.encoders.text import TextEncoder

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own
DEPTHS = (0, 2, 3)


def hub(config):
    torch.manual_seed(0)
    sizes = {"vocab_size": 400, "max_position_embeddings": 40, "pad_token_id": 0}
    return TextEncoder(HubTransformer(config={**sizes, **config}), build_small().tokenizer, max_tokens=16)


CASES = {
    "mean": lambda: build_small(),
    "first token, norms at the exits": lambda: build_small(pooling="cls", norm="pre", exit_norm="shared"),
    "projected": lambda: build_small(projection=7),
    "distilbert": lambda: hub(
        {"model_type": "distilbert", "dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 24}
    ),
    # A norm after the last layer only: each exit is a pass of its own.
    "modernbert": lambda: hub(
        {
            "model_type": "modernbert",
            "hidden_size": 16,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "intermediate_size": 24,
        }
    ),
}


@pytest.fixture(params=CASES)
def encoder(request):
    encoder = CASES[request.param]().eval()
    torch.manual_seed(1)
    encoder.add_exits(DEPTHS)
    return encoder


def test_an_exit_maps_the_means_of_its_layer_and_of_the_embeddings(encoder):
    tokens = encoder.tokenize(TEXTS[-3:])
    hidden = {depth: encoder.body(tokens, [depth])[depth].split(tokens.lengths.tolist()) for depth in (0, 2)}
    mean = {depth: torch.stack([states.mean(0) for states in texts]) for depth, texts in hidden.items()}
    maps = encoder.exits.maps
    vectors = encoder(tokens, DEPTHS)
    torch.testing.assert_close(vectors[0], maps["0"](mean[0]))
    torch.testing.assert_close(vectors[2], maps["2"](torch.cat([mean[2], mean[0]], dim=1)))
    encoder.exits, kept = None, encoder.exits
    torch.testing.assert_close(vectors[3], kept.maps["3"](encoder(tokens, [3])[3]))


def test_padded_texts_get_the_same_vectors(encoder):
    tokens = encoder.tokenize(TEXTS[-3:])
    ids, mask = tokens.padded(encoder.pad_id)
    for depth in DEPTHS:
        alone = encoder(tokens, [depth])[depth]
        torch.testing.assert_close(encoder.forward_padded(ids, mask, depth), alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(encoder(tokens, DEPTHS)[depth], alone, rtol=1e-4, atol=1e-5)


def test_a_description_rebuilds_the_maps(encoder):
    again = TextEncoder.from_architecture(encoder.architecture(), encoder.tokenizer.to_str()).eval()
    again.load_state_dict(encoder.state_dict())
    tokens = encoder.tokenize(TEXTS[:4])
    torch.testing.assert_close(again(tokens, [0, 3])[0], encoder(tokens, [0, 3])[0])
    assert again.depths == DEPTHS


def test_operations_of_a_map_are_counted():
    encoder = build_small(projection=7)
    before = {depth: encoder.flops([5, 9], depth) for depth in (0, 2, 3)}
    encoder.add_exits(DEPTHS)
    assert encoder.flops([5, 9], 0) == 2 * 2 * 7 * 16
    assert encoder.flops([5, 9], 2) - before[2] == 2 * 2 * (7 * 32 - 7 * 16)  # in place of the projection
    assert encoder.flops([5, 9], 3) - before[3] == 2 * 2 * 7 * 7


def test_depths_that_make_no_sense_are_refused(static_encoder):
    for depths in ((), (0, 2), (2, 0, 3), (0, 3, 3), (-1, 3)):
        with pytest.raises(ConfigError, match="must ascend from 0 or more and end at 3"):
            ExitMaps(depths=depths, num_layers=3, width=4, dim=4)
    with pytest.raises(ConfigError, match="no exits to map"):
        static_encoder.add_exits((1,))
    encoder = build_small()
    broken = {**encoder.architecture(), "exits": [0, 9]}
    with pytest.raises((ConfigError, ArtifactError), match="end at 3"):
        TextEncoder.from_architecture(broken, encoder.tokenizer.to_str())
