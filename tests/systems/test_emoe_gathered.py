"""Groups computed alone: the numbers of the mask, the products of what is used, and nothing changed afterwards."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from brickwork.core.errors import ConfigError
from brickwork.modules.ffn_split import average_gate, balanced_groups, feed_forwards, gated, highest
from brickwork.systems.emoe.gathered import gathered
from sample_transformers import MODELS, PACKED, inputs, ours, pretrained, run_ours

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own
KNOWN = [name for name in MODELS if name != "modernbert"]  # whose gate is one matrix of two halves


def parts(model, used, groups=4):
    labels = {half: balanced_groups(half.keys().detach(), groups) for half in feed_forwards(model).values()}
    return labels, {half: average_gate(half, own, highest(used)) for half, own in labels.items()}


@pytest.mark.parametrize("name", KNOWN)
@torch.no_grad()
def test_the_same_as_the_mask(name):
    model = pretrained(name)[0].eval()
    given = inputs(name)
    whole = model(**given)[0]
    for used in (1, 3, 4):
        labels, gates = parts(model, used)
        with gated(labels, gates):
            masked = model(**given)[0]
        with gathered(labels, gates):
            computed = model(**given)[0]
        torch.testing.assert_close(computed, masked, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(computed, whole, atol=2e-6, rtol=1e-5)
    assert torch.equal(model(**given)[0], whole)  # afterwards as before


@torch.no_grad()
def test_weights_of_a_gate_and_rows_that_use_fewer_groups():
    model = ours().eval()
    labels, _ = parts(model, 1)

    def gate(x):
        scores = x[..., :4].relu()  # of any number of groups, also none
        return scores / scores.sum(-1, keepdim=True).clamp(min=1e-9)

    gates = dict.fromkeys(labels, gate)
    with gated(labels, gates):
        masked = run_ours(model, PACKED)
    with gathered(labels, gates):
        torch.testing.assert_close(run_ours(model, PACKED), masked, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_only_what_is_used_is_multiplied():
    """FLOPs as torch counts them: of the matrices of the halves k/E are left, the gate is 2·E·D a token, the sum 2·K·D."""
    model = ours().eval()
    labels, gates = parts(model, 1)

    def count():
        with FlopCounterMode(display=False) as counter:
            run_ours(model, PACKED)
        return counter.get_total_flops()

    seen = []
    hook = next(iter(labels)).down.register_forward_pre_hook(
        lambda _, x: seen.append(x[0].shape[:-1].numel())
    )
    whole = count()
    hook.remove()
    with gathered(labels, gates):
        few = count()
    half = next(iter(labels))
    products = sum(2 * layer.weight.numel() for h in labels for layer in (*h.makers, h.down))
    width = half.down.weight.numel() // half.neurons
    gate, sum_of_groups = len(labels) * 2 * 4 * width, len(labels) * 2 * width
    assert whole - few == seen[0] * (products * 3 // 4 - gate - sum_of_groups)


def test_labels_are_checked():
    model = ours()
    labels, gates = parts(model, 1)
    half = next(iter(labels))
    with pytest.raises(ConfigError, match="one label for each"), gathered({half: labels[half][:-1]}, gates):
        pass
