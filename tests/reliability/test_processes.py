"""Several processes in one folder: one writes, the others are told or see whole states (R12)."""

import os
import threading
import time

import artifacts
import numpy as np
import pytest
from faults import in_child

from brickwork.core.errors import ResourceError
from brickwork.core.files import FolderLock, load_tensors
from brickwork.index.build import build_index
from brickwork.index.index import open_index
from brickwork.representation.load import load_representation
from brickwork.training.config import TrainConfig
from brickwork.training.loop import fit
from toy_system import Toy, toy_data

CONFIG = TrainConfig(steps=4, batch_size=8, learning_rate=0.02, precision="fp32", device="cpu")


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: fit(Toy(), toy_data(), CONFIG, folder, seed=0),
        artifacts.VECTORS.make,
        artifacts.INDEX_ADD.change,
        artifacts.INDEX_BUILD.change,
        artifacts.INDEX_COMPACT.change,
    ],
    ids=["train", "encode", "index-add", "index-build", "index-compact"],
)
def test_the_second_writer_is_told_who_the_first_is(write, tmp_path, tally, request):
    folder = tmp_path / "it"
    if "index" in request.node.callspec.id:
        artifacts.INDEX_ADD.make(folder)
    with FolderLock(folder, "working"):

        def second():
            with pytest.raises(ResourceError, match=r"process \d+ .* is working there"):
                write(folder)

        child = in_child(second)
        assert child.status == 0, child.error
    write(folder)
    tally("R12", "second writers in a folder: told which process works there", 1)


def test_two_trainings_at_once_leave_one_whole_run(tmp_path, tally, long):
    """Both start at the same time; one of them trains, and its weights are those of a training alone."""
    expected = Toy()
    fit(expected, toy_data(), CONFIG, tmp_path / "alone", seed=0)
    rounds = 10 if long else 2
    for number in range(rounds):
        folder, results = tmp_path / f"run-{number}", []

        def train(folder=folder):
            fit(Toy(), toy_data(), CONFIG, folder, seed=0)
            return "trained"

        def start(train=train, results=results):
            results.append(in_child(train))

        threads = [threading.Thread(target=start) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        trained = [child for child in results if child.status == 0]
        refused = [child for child in results if child.status != 0]
        assert len(trained) == 1, [child.error for child in results]
        assert all("is in use" in c.error or "already holds a run" in c.error for c in refused)
        got = Toy(seed=1)
        got.load_state_dict(load_tensors(folder / "checkpoints" / "step-00000004" / "model.safetensors"))
        assert all(value.equal(expected.state_dict()[name]) for name, value in got.state_dict().items())
    tally("R12", "pairs of trainings started at once in one folder: one trains, one is told", rounds)


def test_readers_during_changes_see_whole_states(tmp_path, tally, long):
    """A writer adds, replaces and removes and merges; readers open again and refresh, and always find whole states.

    The documents of generation g are d0 … d(9 + g): each state is told by its number of documents, and every
    document must be there, found by its own text, with its own metadata.
    """
    folder, seconds = tmp_path / "index", 20 if long else 2
    model = artifacts.static_model()
    everything = artifacts.documents(60)
    build_index(model, everything[:10], folder, kind="int8").close()

    def going_on(began, content):
        spent = time.monotonic() - began
        return spent < seconds or (not content and spent < 60)

    def write():
        changes, began = 0, time.monotonic()
        with open_index(folder, model) as index:
            # On a busy machine a reader may sleep through many changes: go on until both have met several.
            while going_on(began, len(list(tmp_path.glob("*.content"))) == 2):
                for count in (12, 30, 60, 25, 10):
                    index.sync(everything[:count])
                    changes += 1
                index.backend.compact()
        return changes

    def read():
        counts, began = {}, time.monotonic()
        query = everything[3].text
        kept = open_index(folder, model)
        first = kept.search(query, 10)[0]
        while going_on(began, len(counts) >= 3):
            with open_index(folder, model) as index:
                for opened in (index, kept):
                    ids = set(opened.backend.ids())
                    assert ids == {f"d{n}" for n in range(len(ids))}
                    assert len(opened) == len(ids) in (10, 12, 25, 30, 60), len(ids)
                    (hits,) = opened.search(query, len(ids))
                    assert {hit.id for hit in hits} == ids
                    for hit in hits:
                        document = everything[int(hit.id[1:])]
                        assert (hit.text, hit.title, hit.meta) == (
                            document.text,
                            document.title,
                            document.meta,
                        )
                    counts[len(ids)] = counts.get(len(ids), 0) + 1
            kept.refresh()
        assert len(first) == 10
        (tmp_path / f"{os.getpid()}.content").touch()
        return counts

    results = {}
    threads = [
        threading.Thread(target=lambda name=name, work=work: results.update({name: in_child(work)}))
        for name, work in (("writer", write), ("reader", read), ("another", read))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, child in results.items():
        assert child.status == 0, f"{name}: {child.error}"
    seen = results["reader"].value
    assert len(seen) >= 3, "readers met several states"
    assert results["writer"].value >= 5
    tally("R12", "changes to an index under the eyes of two readers", results["writer"].value)
    reads = sum(sum(results[name].value.values()) for name in ("reader", "another"))
    tally("R12", "states that readers opened meanwhile, every document of each checked: all whole", reads)


def test_an_opened_index_outlives_every_change(tmp_path, tally):
    """What was opened stays as it was, although its files are gone from the folder, until it is refreshed."""
    folder, model = tmp_path / "index", artifacts.static_model()
    build_index(model, artifacts.documents(20), folder, kind="int8").close()
    with open_index(folder, model) as reader, open_index(folder, model) as writer:
        before = reader.search("seven small birds", 20)
        writer.sync(artifacts.documents(5, first=100))
        writer.backend.compact()
        assert [hit.id for hit in reader.search("seven small birds", 20)[0]] == [hit.id for hit in before[0]]
        assert reader.refresh()
        assert {hit.id for hit in reader.search("seven small birds", 20)[0]} == {
            f"d{n}" for n in range(100, 105)
        }
    tally("R12", "opened indexes whose files were replaced: the old state until refreshed", 1)


def test_processes_that_load_one_model_at_once(tmp_path, tally, long):
    """While it is saved over again and again: each load gives one of the two models, whole."""
    folder, count = tmp_path / "model", 12 if long else 4
    models = [artifacts.model(0), artifacts.model(1)]
    models[0].save(folder)
    expected = {m.fingerprint: m.encode(["seven small birds"], precision="fp32").tolist() for m in models}
    stop = threading.Event()
    told = []

    def loads():
        model = load_representation(folder)
        return [model.fingerprint, model.encode(["seven small birds"], precision="fp32").tolist()]

    def read():
        for _ in range(count):
            told.append(in_child(loads))
        stop.set()

    reader = threading.Thread(target=read)
    reader.start()
    number = 0
    while not stop.is_set():
        number += 1
        models[number % 2].save(folder)
    reader.join()
    whole = [child for child in told if child.status == 0]
    for child in whole:
        np.testing.assert_allclose(child.value[1], expected[child.value[0]], atol=1e-6)
    # A load that falls into the exchange of a model may be refused, and only with our own words.
    for child in told:
        assert child.status == 0 or "ArtifactError" in child.error, child.error
    assert whole
    tally("R12", "loads of a model that is saved over all the time: one of the two, or refused", len(told))
