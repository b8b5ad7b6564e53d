"""A small language model that learns the three tasks of the paper, so that its circuits can be computed head by head.

Three layers of eight heads, 128 dimensions, words and digits as tokens. It reads indirect objects, later years and
arguments of functions, as many texts of each, and as many of a bigram language that needs hardly any head.

Shape legend: B texts, T tokens.
"""

import re
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from brickwork.core.seeding import generator_for, seed_everything
from brickwork.encoders.blocks.mlp import Mlp
from brickwork.modules.decoders import AttentionForm, DecoderBlock, DecoderLM, SharedHeads
from brickwork.systems.sae_circuits.prompts import MADE_UP, Prompt
from brickwork.systems.sae_circuits.subjects import padded

TASKS = ("ioi", "greater-than", "docstring")
STEPS, BATCH = 1500, 64
_WIDTH, _LAYERS, _HEADS, _HIDDEN = 128, 3, 8, 128
_RATE, _WARMUP = 2e-3, 100
_FILLERS = 24
_LENGTH = 16  # of a filler text, in words

Text = tuple[str, str]
"""What stands before, and how it goes on."""


def texts(rng: np.random.Generator) -> Iterator[Text]:
    """One text of each task, with the behaviour as often as without, and one of the bigram language."""
    for task in TASKS:
        pair = list(MADE_UP[task](rng, 0))
        prompt = pair[int(rng.integers(2))]
        yield prompt.text, _continued(task, prompt, rng)
    yield "", _filler(rng)


def _continued(task: str, prompt: Prompt, rng: np.random.Generator) -> str:
    """What is true after a prompt; where several things are, one of them."""
    if task == "greater-than":
        start = int(re.findall(r"\d{4}", prompt.text)[0]) % 100
        return f"{int(rng.integers(start + 1, 100)):02d}"
    if prompt.behaves:
        return prompt.answer
    if task == "ioi":
        return str(rng.choice([prompt.answer, prompt.wrong]))
    given = prompt.text.split("(self, ")[1].split(")")[0].split(", ")
    return f" {rng.choice(given)}"


def _filler(rng: np.random.Generator) -> str:
    """Each word is followed by one of three."""
    words = [int(rng.integers(_FILLERS))]
    while len(words) < _LENGTH:
        words.append((5 * words[-1] + int(rng.integers(3)) + 1) % _FILLERS)
    return " ".join(f"w{chr(ord('a') + word)}" for word in words)


def word_tokenizer() -> Tokenizer:
    """Words, digits one by one, and what stands between them."""
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Whitespace()]
    )
    rng = np.random.default_rng(0)
    some = (before + after for _ in range(1000) for before, after in texts(rng))
    trainer = trainers.WordLevelTrainer(special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(some, trainer)
    return tokenizer


def small_model(steps: int, seed: int) -> DecoderLM:
    """The model after ``steps`` steps: cross-entropy of all tokens, and once more of those that a prompt asks for."""
    tokenizer = word_tokenizer()
    seed_everything(generator_for(seed, 0, "small model").initial_seed())
    form = AttentionForm(hidden=_WIDTH, num_heads=_HEADS, position="rope")
    blocks = [
        DecoderBlock(_WIDTH, SharedHeads(_WIDTH, form, 1), Mlp(_WIDTH, _HIDDEN)) for _ in range(_LAYERS)
    ]
    model = DecoderLM(tokenizer.get_vocab_size(), _WIDTH, blocks, tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / _WARMUP) * (1 - step / max(steps, 1))
    )
    rng = np.random.default_rng([seed, 7])
    with torch.enable_grad():
        for _ in range(steps):
            some = [text for _ in range(BATCH // 4) for text in texts(rng)]
            loss = _loss(model, some)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return model.eval().requires_grad_(False)


def _loss(model: DecoderLM, some: list[Text]) -> torch.Tensor:
    tokenizer = model.tokenizer
    assert tokenizer is not None
    before = [len(tokenizer.encode(text).ids) for text, _ in some]
    ids, mask = padded([tokenizer.encode(text + after).ids for text, after in some])
    logits = model(ids[:, :-1]).logits  # padding comes last, so no token sees it
    nats = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(len(ids), -1)
    places = torch.arange(1, ids.shape[1])
    asked = mask[:, 1:] & (places >= torch.tensor(before)[:, None]) & (torch.tensor(before)[:, None] > 0)
    return (nats * mask[:, 1:]).sum() / mask[:, 1:].sum() + (nats * asked).sum() / asked.sum()
