"""The decoder of images against torch.distributions."""

import pytest
import torch
from torch.distributions import Bernoulli, Normal

from brickwork.core.errors import ArtifactError
from brickwork.modules.recorder import tap
from brickwork.systems.cmim.image_decoder import ImageDecoder, ImageDecoderConfig

SHAPE = (9, 7, 3)


@pytest.mark.parametrize("architecture", ["mlp", "conv"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_image_decoder_gives_the_density_of_torch(architecture, likelihood):
    config = ImageDecoderConfig(architecture=architecture, likelihood=likelihood, width=8, depth=3)
    decoder = ImageDecoder(config, 5, SHAPE).double()
    z = torch.randn(4, 5, dtype=torch.float64)
    x = torch.bernoulli(torch.full((4, 3, 9, 7), 0.5, dtype=torch.float64))
    results = decoder(z)
    assert results.shape == x.shape
    law = Bernoulli(logits=results) if likelihood == "bernoulli" else Normal(results, decoder.log_scale.exp())
    torch.testing.assert_close(decoder.log_prob(z, x), law.log_prob(x).flatten(1).sum(1))
    assert 0 <= decoder.mean(z).min() <= decoder.mean(z).max() <= 1
    assert decoder.hidden(z).shape == (4, decoder.hidden_dim)


@pytest.mark.parametrize("architecture", ["mlp", "conv"])
def test_hidden_states_are_what_goes_into_the_output_layer(architecture):
    decoder = ImageDecoder(ImageDecoderConfig(architecture=architecture, width=8), 5, SHAPE)
    z = torch.randn(2, 5)
    with tap(decoder.output) as seen:
        decoder(z)
    tapped = (
        seen[0] if architecture == "mlp" else torch.nn.functional.adaptive_avg_pool2d(seen[0], 4).flatten(1)
    )
    assert torch.equal(decoder.hidden(z), tapped)
    decoder(z)
    assert len(seen) == 1, "the tap is closed with its context"


def test_damaged_descriptions_are_refused():
    with pytest.raises(ArtifactError, match="damaged"):
        ImageDecoder.from_architecture({"config": {}, "latent_dim": 3})
