"""A tokenizer that begins every text with a piece of its own."""

from tokenizers import Tokenizer, decoders, models, normalizers


def llama_2_tokenizer():
    """Pieces with a leading space, one of which is put before every text: as the tokenizer.json of Llama 2 has it."""
    pieces = [
        "<unk>",
        "▁",
        "▁to",
        "▁Mary",
        "▁John",
        "Mary",
        "▁17",
        "1",
        "7",
        "4",
        "\n",
        "a",
        "b",
        "ab",
        "<s>",
        "</s>",
    ]
    tokenizer = Tokenizer(models.Unigram([(piece, -float(len(pieces))) for piece in pieces], 0))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<s>", "</s>"])
    return tokenizer
