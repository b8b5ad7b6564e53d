"""The next token: the likeliest, or drawn by its chance."""

import torch
from tokenizers import Tokenizer, decoders, models

from brickwork.modules.sampling import sample, text_after
from leading_piece import llama_2_tokenizer


def test_sampling():
    logits = torch.tensor([0.0, 3.0, 2.9, -1.0])
    assert sample(logits, temperature=0.0, top_k=0, generator=torch.Generator()) == 1
    drawn = {
        sample(logits, temperature=1.0, top_k=2, generator=torch.Generator().manual_seed(seed))
        for seed in range(40)
    }
    assert drawn == {1, 2}


def test_draws_have_the_chances_of_the_softmax():
    """5,000 draws against torch's softmax at half the temperature, within four standard errors."""
    logits = torch.tensor([0.0, 1.0, 0.5])
    expected = torch.softmax(logits / 0.5, dim=0)
    generator = torch.Generator().manual_seed(0)
    drawn = [sample(logits, temperature=0.5, top_k=0, generator=generator) for _ in range(5000)]
    shares = torch.bincount(torch.tensor(drawn), minlength=3) / 5000
    error = (expected * (1 - expected) / 5000).sqrt()
    assert ((shares - expected).abs() < 4 * error).all()


def test_what_is_added_to_a_text_keeps_its_space():
    tokenizer = llama_2_tokenizer()
    prompt, new = tokenizer.encode("to").ids, [tokenizer.token_to_id("▁Mary"), tokenizer.token_to_id("▁17")]
    assert tokenizer.decode(new) == "Mary 17", "what the library gives for the tokens alone"
    assert text_after(tokenizer, prompt, new) == " Mary 17"
    assert text_after(tokenizer, prompt, []) == ""
    bytes_ = Tokenizer(models.BPE({"Ã": 0, "©": 1}, []))  # half of é, then the other: no text ends in between
    bytes_.decoder = decoders.ByteLevel()
    assert text_after(bytes_, [0], [1]) == bytes_.decode([1])
