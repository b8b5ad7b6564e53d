"""Text2Token from pretrained models: rows of a model's own head, rows that start as vectors of words, words by a prompt."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import brickwork
from brickwork.api import train as api
from brickwork.data.config import DataConfig
from brickwork.data.load import load_task
from brickwork.encoders.config import TextEncoderConfig
from brickwork.representation.contract import build_system
from brickwork.systems.text2token.config import Config, Filter
from brickwork.systems.text2token.head import mean_of_pieces, own_rows, pieces_of
from brickwork.systems.text2token.prompting import AFTER, BEFORE
from brickwork.systems.text2token.recipes import smoke

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own
DATA = DataConfig(source="toy", limit=120)
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24,
         "max_position_embeddings": 64}  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return load_task(DATA, 0)


@pytest.fixture(scope="module")
def llama(tmp_path_factory, data):
    """A random language model whose output layer is not its input layer, as transformers writes it."""
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    spoken = [*data.texts(), *(f'"{word}' for text in data.texts() for word in text.split())]
    tokenizer.train_from_iterator(
        spoken, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(0)
    shape = {**SIZES, "num_key_value_heads": 2, "eos_token_id": None, "bos_token_id": None}
    config = AutoConfig.for_model(
        "llama", vocab_size=tokenizer.get_vocab_size(), tie_word_embeddings=False, **shape
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def config(backbone, **options):
    encoder = TextEncoderConfig(backbone=str(backbone), max_tokens=48)
    few = Filter(most_documents=0.2, frequent=10)
    return Config(**{"encoder": encoder, "words": 60, "filter": few, "related_words": 4, **options})


def test_own_rows_are_those_of_the_output_layer(llama, data):
    """transformers' lm_head; a word has the mean of its pieces' rows, behind a space."""
    from transformers import AutoModelForCausalLM

    system = build_system("text2token", config(llama, head="own"), data, 0)
    head = AutoModelForCausalLM.from_pretrained(llama).lm_head.weight.detach()
    tokenizer = Tokenizer.from_file(str(llama / "tokenizer.json"))
    for place in (0, 7, 30):
        ids = tokenizer.encode(f" {system.key_words.words[place]}").ids
        torch.testing.assert_close(system.head.rows[place], head[ids].mean(0))
    assert "head.rows" not in dict(system.named_parameters())
    assert system.encoder.pooling == "last"


def test_the_logit_of_a_word_is_the_mean_of_its_pieces(llama, data):
    system = build_system("text2token", config(llama, head="own"), data, 0)
    pieces = pieces_of(system.encoder.tokenizer, ["vessel"])
    rows = own_rows(system.encoder, system.config.encoder)
    h = torch.randn(3, 16)
    torch.testing.assert_close(
        (h @ mean_of_pieces(rows, pieces).T)[:, 0], (h @ rows[pieces[0]].T).mean(1), rtol=1e-4, atol=1e-6
    )


def test_a_prompt_is_answered_as_transformers_answers_it(llama, data):
    """Logits of the next token after the prompt, by transformers, less the usual ones; words of the text are left out."""
    from transformers import AutoModelForCausalLM

    system = build_system("text2token", config(llama, head="own", related="prompt"), data, 0)
    tokenizer = Tokenizer.from_file(str(llama / "tokenizer.json"))
    asked, words = system.asked, system.key_words.words
    text = "the doctor mends a lamp"
    theirs = AutoModelForCausalLM.from_pretrained(llama)
    ids = [i for part in (BEFORE, text, AFTER) for i in tokenizer.encode(part).ids]
    with torch.no_grad():
        logits = theirs(torch.tensor([ids])).logits[0, -1]
    single = {w: tokenizer.encode(word).ids for w, word in enumerate(words)}
    single = {w: ids[0] for w, ids in single.items() if len(ids) == 1}
    assert len(single) > 3
    ours = asked.logits(asked.prompts([text]))[0]
    for w, token in single.items():
        torch.testing.assert_close(ours[w], logits[token], rtol=1e-4, atol=1e-5)
    present = torch.zeros(1, len(words), dtype=torch.bool)
    present[0, next(iter(single))] = True
    found = asked.related(asked.prompts([text]), present, 3)
    left = {w: float(logits[t] - asked.usual[w]) for w, t in single.items() if not present[0, w]}
    best = sorted(left, key=left.get, reverse=True)[:3]
    assert found.ids[0].tolist() == best
    expected = F.softmax(torch.tensor([left[w] for w in best]), 0)
    torch.testing.assert_close(found.probs[0], expected, rtol=1e-3, atol=1e-5)


def test_a_long_text_is_cut_and_the_question_stays(llama, data):
    system = build_system("text2token", config(llama, head="own", related="prompt"), data, 0)
    tokens = system.asked.prompts(["lamp " * 200])
    end = system.encoder.tokenizer.encode(AFTER, add_special_tokens=False).ids
    assert tokens.ids[-len(end) :].tolist() == end
    assert tokens.max_length == 48


def test_a_causal_model_is_trained_with_adapters_and_kept(llama, tmp_path):
    run = smoke()
    model = config(llama, head="own", related="prompt")
    model = replace(model, encoder=replace(model.encoder, adapt="lora", lora_rank=2))
    run = replace(
        run, model=model, data=DATA, train=replace(run.train, steps=6, batch_size=8, validate_every=0)
    )
    trained = api.train(run, tmp_path / "run", measure=False).system
    assert not any(name.startswith("asked.") for name in brickwork.load(tmp_path / "run").state_dict())
    assert [w.word for w in brickwork.load(tmp_path / "run").explain("a lamp")] == [
        w.word for w in trained.explain("a lamp")
    ]


def test_rows_may_start_as_the_encoder_s_own_vectors(llama, data):
    system = build_system("text2token", config(llama, head="encoded"), data, 0)
    vectors = torch.from_numpy(system.eval().encode(list(system.key_words.words[:5])))
    torch.testing.assert_close(system.head.rows[:5].detach(), vectors, rtol=1e-4, atol=1e-5)
    assert system.head.rows.requires_grad
