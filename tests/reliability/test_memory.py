"""Too little memory, large inputs, and leaks: advice, flat memory, nothing left behind (R10, R18, R19)."""

import gc
import itertools
import os
import threading
import tracemalloc

import artifacts
import numpy as np
import psutil
import pytest
import torch
from faults import MEGABYTE, in_child

from brickwork.core.errors import BrickworkError, ResourceError
from brickwork.index.build import build_index
from brickwork.index.index import open_index
from brickwork.representation import cuts
from brickwork.representation.export_parquet import encode_to_disk, read_vectors
from brickwork.training.checkpoint import newest_good
from brickwork.training.config import TrainConfig
from brickwork.training.loop import fit
from toy_system import Toy, toy_data


def resident() -> float:
    """MB of memory that are in use, what can be let go let go."""
    gc.collect()
    return psutil.Process().memory_info().rss / MEGABYTE


def descriptors() -> int:
    """Open files of this process."""
    return psutil.Process().num_fds()


# --- too little memory (R18) -------------------------------------------------------------------------------------


def test_encoding_with_little_memory(tally, long):
    """From plenty down to nothing: the same vectors, from smaller batches where need be, or advice; nothing else."""
    model = artifacts.model(0, width=256, num_heads=4, max_tokens=512)
    texts = [" ".join(itertools.islice(itertools.cycle(artifacts.WORDS), 100 + n)) for n in range(64)]
    options = {"precision": "fp32", "token_budget": 32768}
    expected = model.encode(texts, **options)
    done, advised = 0, 0
    for memory in (400, 200, 100, 50, 25) if long else (400, 25):

        def encode():
            try:
                return model.encode(texts, **options).tolist()
            except ResourceError as error:
                return str(error)

        child = in_child(encode, memory=memory)
        assert child.status == 0, f"{memory} MB: {child.error}"
        if isinstance(child.value, str):
            assert "out of memory while encoding a single input; free some memory" in child.value
            advised += 1
        else:
            np.testing.assert_allclose(child.value, expected, atol=2e-6)
            done += 1
    assert done >= 1
    tally(
        "R18",
        "encodings with little memory: the same vectors, from smaller batches, or advice",
        done + advised,
    )


def test_batches_are_halved_when_memory_runs_out(tally, monkeypatch):
    """An allocator that refuses batches of more than 8 texts, as torch's does: all vectors, in smaller batches."""
    model, sizes = artifacts.model(), []
    forward = type(model.encoder).forward

    def refusing(self, tokens, layers):
        sizes.append(len(tokens))
        if len(tokens) > 8:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] data. DefaultCPUAllocator: not enough memory: you tried"
            )
        return forward(self, tokens, layers)

    texts = artifacts.texts(60)
    expected = model.encode(texts, precision="fp32")
    monkeypatch.setattr(type(model.encoder), "forward", refusing)
    np.testing.assert_allclose(model.encode(texts, precision="fp32"), expected, atol=2e-6)
    refused = [size for size in sizes if size > 8]
    assert refused
    assert max(size for size in sizes if size <= 8) <= 8
    tally("R18", "batches that did not fit and were halved", len(refused))


class Hungry(Toy):
    """Needs 4 GB from step 3 on."""

    def loss(self, batch):
        if batch["step"] == 3:
            torch.empty(2**30).fill_(1)
        return super().loss(batch)


def test_training_with_too_little_memory(tmp_path, tally):
    config = TrainConfig(
        steps=6, batch_size=8, learning_rate=0.02, precision="fp32", device="cpu", save_every=2
    )

    def train():
        with pytest.raises(ResourceError, match="memory") as error:
            fit(Hungry(), toy_data(), config, tmp_path, seed=0)
        return str(error.value)

    child = in_child(train, memory=500)
    assert child.status == 0, child.error
    assert "batch_size" in child.value, "what to do"
    path = newest_good(tmp_path)
    assert path is not None
    assert path.name == "step-00000002"
    expected, system = Toy(), Toy()
    fit(expected, toy_data(), config, tmp_path.parent / "whole", seed=0)
    fit(system, toy_data(), config, tmp_path, seed=0, resume=True)
    assert all(v.equal(expected.state_dict()[name]) for name, v in system.state_dict().items())
    tally("R18", "trainings that ran out of memory: advice, resumed to the same bits", 1)


@pytest.mark.parametrize(
    "artifact", [artifacts.INDEX_ADD, artifacts.INDEX_BUILD, artifacts.VECTORS], ids=lambda a: a.name
)
def test_changes_with_too_little_memory(artifact, tmp_path, tally, long):
    """Allocations fail at any point: an error, and the state before or after is whole."""
    folder, states, failed = tmp_path / "it", [], 0
    artifact.make(folder)
    states.append(artifact.read(folder))

    def change():
        try:
            artifact.change(folder)
        except (BrickworkError, MemoryError) as error:
            return f"{type(error).__name__}: {error}"

    for memory in (0, 1, 2, 4, 8, 16, 32) if long else (0, 4):
        child = in_child(change, memory=memory, tight=True)
        # Libraries in C++ and Rust may end the process; what is on disk has to survive that too.
        failed += child.value is not None or child.status != 0
        if child.status == 0 and child.value is None:
            break
        results = artifact.read(folder)
        states.append(results)
    artifact.change(folder)
    last = artifact.read(folder)
    assert set(states) <= {states[0], last}
    assert failed >= 1
    tally("R18", f"times that memory ran out in what {artifact.verb}: a whole state on disk", failed)


# --- large inputs (R10) ------------------------------------------------------------------------------------------


def test_a_stream_of_texts_is_encoded_in_flat_memory(tmp_path, tally, long):
    """A million texts in the long run; memory after a fifth of them is memory after all of them."""
    count, model = (1_000_000 if long else 10_000), artifacts.static_model()
    some = artifacts.texts(1000)

    def encode():
        seen = []

        def stream():
            for number in range(count):
                if number % (count // 10) == count // 10 - 1:
                    seen.append(resident())
                yield f"{some[number % 1000]} {number}"

        encode_to_disk(model, stream(), tmp_path / "v", shard_size=10_000 if long else 500)
        return seen

    child = in_child(encode, seconds=600)
    assert child.status == 0, child.error
    growth = max(child.value[4:]) - max(child.value[1:4])
    tally("R10", "texts streamed through encode to Parquet", count)
    tally("R10", "MB that memory grew by over the second half of the texts", round(growth, 1), limit=30)
    assert sum(len(ids) for ids, _ in read_vectors(tmp_path / "v")) == count


def test_a_text_of_a_hundred_thousand_tokens(tally, monkeypatch):
    """Only its start is looked at; it costs no more than a text of the length that the model reads."""
    # What is told, not how it is shown: threads of other tests may change the process's warning filters meanwhile.
    told = []
    monkeypatch.setattr(cuts, "tell", told.append)
    model = artifacts.model()
    long_text = " ".join(itertools.islice(itertools.cycle(artifacts.WORDS), 100_000))
    texts = [long_text, " " * 500_000 + "cat", "a" * 1_000_000, "cat"]
    tracemalloc.start()
    vectors = model.encode(texts)
    peak = tracemalloc.get_traced_memory()[1] / MEGABYTE
    tracemalloc.stop()
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors[1], vectors[3], atol=0.02)  # spaces count as nothing
    static = artifacts.model(1, backbone="static", num_layers=None, num_heads=None).encode([long_text])
    assert [("texts are longer than 128 tokens and were cut there" in message) for message in told] == [
        True
    ] * 2
    assert told[1].startswith("1 of 1 texts")
    assert np.isfinite(static).all()
    tally("R10", "texts of 100,000 words or 1,000,000 letters encoded", len(texts))
    tally("R10", "MB of Python objects that they took", round(peak, 1), limit=50)


def test_an_index_within_two_gigabytes(tmp_path, tally, long):
    """A process that may take 2 GB of address space builds, opens and searches it."""
    count, model = (1_000_000 if long else 5000), artifacts.static_model()
    some = artifacts.texts(1000)

    def stream():
        for number in range(count):
            yield artifacts.Document(
                id=str(number), title="", text=f"{some[number % 1000]} {number}", source="s"
            )

    def build():
        with build_index(model, stream(), tmp_path / "index", kind="int8"):
            pass
        with open_index(tmp_path / "index", model) as index:
            assert len(index) == count
            return [hit.id for hit in index.search(f"{some[7]} 7", 5)[0]]

    child = in_child(build, memory=2048, seconds=1200)
    assert child.status == 0, child.error
    assert len(child.value) == 5
    tally("R10", "documents indexed in a process that may take 2 GB", count)
    tally("R10", "MB that this took", round(child.grown), limit=1500)


# --- leaks (R19) -------------------------------------------------------------------------------------------------


def leak(work, rounds):
    """MB that memory grew by over the later rounds, and how many more files are open."""
    work()
    work()
    memory, files = resident(), descriptors()
    for _ in range(rounds):
        work()
    return [resident() - memory, descriptors() - files]


def check_leak(child, tally, what, limit):
    assert child.status == 0, child.error
    growth, opened = child.value
    assert opened == 0, "files are left open"
    tally("R19", f"MB that memory grew by over {what}", round(max(growth, 0.0), 1), limit=limit)


def test_training_leaks_nothing(tmp_path, tally, long):
    """Trainings of 50 steps that save, log and validate."""
    config = TrainConfig(steps=50, batch_size=8, precision="fp32", device="cpu", save_every=10, log_every=1)
    numbers = itertools.count()

    def train():
        fit(Toy(), toy_data(), config, tmp_path / str(next(numbers)), seed=0, validate=lambda _: {"x": 1.0})

    rounds = 8 if long else 2
    child = in_child(lambda: leak(train, rounds), seconds=300)
    check_leak(child, tally, f"{rounds * 50} training steps", 20)


def test_encoding_leaks_nothing(tally, long):
    model, texts = artifacts.model(), artifacts.texts(100)

    def encode():
        for text in texts:
            model.encode(text)

    rounds = 98 if long else 2
    child = in_child(lambda: leak(encode, rounds), seconds=400)
    check_leak(child, tally, f"{(rounds + 2) * 100:,} calls of encode", 20)


def test_indexes_leak_nothing(tmp_path, tally, long):
    """Opened, searched, changed and closed, again and again: maps, files and shortlists are let go."""
    model, numbers = artifacts.static_model(), itertools.count()
    build_index(model, artifacts.documents(50), tmp_path / "index", kind="int8").close()

    def use():
        with open_index(tmp_path / "index", model) as index:
            number = next(numbers)
            index.upsert(artifacts.documents(5, first=5 * (number % 10)))
            index.search("seven small birds", 5)
            index.refresh()

    rounds = 200 if long else 5
    child = in_child(lambda: leak(use, rounds), seconds=300)
    check_leak(child, tally, f"{rounds} indexes opened, changed, searched and closed", 20)


def test_no_thread_or_process_stays_behind(tmp_path, tally):
    """What is left running after everything was used once."""

    def use():
        artifacts.VECTORS.make(tmp_path / "v")
        artifacts.CHECKPOINT.make(tmp_path / "c")
        artifacts.model().encode(artifacts.texts(3000))
        process = psutil.Process()
        return [[thread.name for thread in threading.enumerate()], len(process.children())]

    child = in_child(use)
    assert child.status == 0, child.error
    threads, children = child.value
    assert [name for name in threads if "tokenise" in name or "collate" in name] == []
    assert children == 0
    tally(
        "R19",
        "threads and processes of ours left behind",
        len(threads) - 1 + children,
        limit=os.cpu_count() or 8,
    )
