"""Laws that hold for every value that hypothesis comes up with (R13)."""

import contextlib
import json
import shutil
import tempfile
from pathlib import Path

import artifacts
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from brickwork.api import train as api
from brickwork.core import registry
from brickwork.core.config import from_dict, to_dict
from brickwork.core.elastic import ElasticAxes, nested_sizes
from brickwork.core.errors import ConfigError
from brickwork.core.files import checksum, load_tensors, save_tensors
from brickwork.data.types import Document
from brickwork.index.build import build_index
from brickwork.index.filters import parse_filter
from brickwork.index.index import open_index
from brickwork.index.shortlists import build_shortlist, load_shortlist
from brickwork.index.store import stored_form
from brickwork.index.types import KINDS
from brickwork.representation.load import load_representation
from brickwork.representation.model import Representation
from brickwork.representation.truncate import truncate
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig, run_from_dict, run_to_dict

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def law(tally, long):
    """Runs a property: ``law(what, strategy, test, examples)``; examples are counted."""

    def check(what, strategy, test, examples):
        count = 0

        @settings(
            max_examples=examples * (20 if long else 1),
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def run(value):
            nonlocal count
            test(value)
            count += 1

        run()
        tally("R13", what, count)

    return check


def _vectors(low=-1e6, high=1e6):
    shapes = st.tuples(st.integers(1, 20), st.integers(1, 16))
    # Squares of what is smaller are nothing in float32; no encoder gives such numbers.
    numbers = st.floats(low, high, width=32).map(lambda x: x if abs(x) > 1e-15 else 0.0)
    return shapes.flatmap(
        lambda s: st.lists(numbers, min_size=s[0] * s[1], max_size=s[0] * s[1]).map(
            lambda flat: np.array(flat, np.float32).reshape(s)
        )
    )


def test_configurations_come_back(law):
    def check(values):
        steps, rate, seed, slug, name = values
        run: RunConfig = getattr(registry.load(slug, "recipes"), name)()
        steps = run.train.steps if run.stages else steps  # those of the stages add up to it
        train = from_dict(TrainConfig, {**to_dict(run.train), "steps": steps, "learning_rate": rate})
        run = RunConfig(**{**vars(run), "seed": seed, "train": train})
        assert run_from_dict(json.loads(json.dumps(run_to_dict(run)))) == run

    recipes = [(slug, name) for slug in registry.slugs() for name in api.recipe_names(slug)]
    values = st.tuples(
        st.integers(1, 10**9), st.floats(1e-9, 10), st.integers(0, 2**31), st.sampled_from(recipes)
    ).map(lambda v: (*v[:3], *v[3]))
    law("runs of every recipe to JSON and back: equal", values, check, 30)


def test_models_come_back(law):
    """Axes, lineage, card and every bit of every weight."""
    place = Path(tempfile.mkdtemp())

    def check(values):
        lineage, card, scale, dims = values
        base = artifacts.model()
        axes = ElasticAxes(dims=(*sorted(dims), 16), layers=(1, 2))
        with torch.no_grad():
            for parameter in base.encoder.parameters():
                parameter.mul_(scale)
        folder = Representation(base.encoder, axes, lineage, card).save(place / "model")
        results = load_representation(folder)
        assert (results.axes, results.lineage, results.card) == (axes, lineage, card)
        assert results.fingerprint == base.fingerprint
        for name, tensor in base.encoder.state_dict().items():
            assert torch.equal(results.encoder.state_dict()[name], tensor)
        with torch.no_grad():
            for parameter in base.encoder.parameters():
                parameter.div_(scale)

    objects = st.dictionaries(st.text(), JSON, max_size=3)
    cards = st.dictionaries(
        st.sampled_from(["data", "licence", "note"]), st.text(st.characters(exclude_categories=["Cs"]))
    )
    values = st.tuples(
        objects, cards, st.sampled_from([0.5, 1.0, 2.0, -1.0]), st.sets(st.integers(1, 15), min_size=1)
    )
    try:
        law("models saved and loaded: every bit and every note", values, check, 10)
    finally:
        shutil.rmtree(place)


def test_tensors_come_back(law):
    """All types, shapes with zeros, names of any kind, NaN and infinities bit for bit."""
    place = Path(tempfile.mkdtemp())
    types = [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
    names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
        lambda n: n != "__metadata__"
    )
    tensors = st.dictionaries(
        names, st.tuples(st.lists(st.integers(0, 4), max_size=3), st.sampled_from(types)), max_size=4
    )

    def check(described):
        given = {}
        for name, (shape, kind) in described.items():
            bits = torch.randint(
                0, 256, (*shape, torch.empty(0, dtype=kind).element_size()), dtype=torch.uint8
            )
            given[name] = (bits[..., 0] > 127) if kind == torch.bool else bits.view(kind)[..., 0]
        save_tensors(place / "t.safetensors", given)
        results = load_tensors(place / "t.safetensors")
        assert results.keys() == given.keys()
        for name, tensor in given.items():
            assert results[name].dtype == tensor.dtype
            assert results[name].shape == tensor.shape
            same = [t.contiguous().flatten().view(torch.uint8) for t in (results[name], tensor)]
            assert torch.equal(*same)

    try:
        law("files of tensors written and read: every bit", tensors, check, 30)
    finally:
        shutil.rmtree(place)


def test_cutting_and_normalising(law):
    """Length 1 or 0; cutting twice is cutting once; the order of cut vectors does not depend on their length."""

    def check(vectors):
        for dim in {1, vectors.shape[1] // 2 or 1, vectors.shape[1]}:
            cut = truncate(vectors, dim)
            lengths = np.linalg.norm(cut.astype(np.float64), axis=1)
            zero = ~vectors[:, :dim].any(axis=1)
            assert np.all(zero | (np.abs(lengths - 1) < 1e-5))
            assert np.isfinite(cut).all()
            np.testing.assert_array_equal(truncate(vectors, dim, normalize=False), vectors[:, :dim])
            np.testing.assert_allclose(truncate(cut, dim), cut, atol=1e-6)
            smaller = truncate(vectors, max(1, dim // 2))
            kept = np.linalg.norm(cut[:, : max(1, dim // 2)].astype(np.float64), axis=1) > 1e-3
            np.testing.assert_allclose(truncate(cut, max(1, dim // 2))[kept], smaller[kept], atol=1e-4)

    law("matrices cut and normalised: length 1, and cutting again changes nothing", _vectors(), check, 40)


def test_shortlists_find_what_is_there(law):
    """Every kind: distinct rows, only allowed ones, as many as were asked for; saved and loaded it finds the same."""
    place = Path(tempfile.mkdtemp())

    def check(values):
        seed, rows, dim, keep, share, kind = values
        rng = np.random.default_rng(seed)
        vectors = truncate(rng.standard_normal((rows, 16)).astype(np.float32), 16)
        queries = truncate(rng.standard_normal((2, 16)).astype(np.float32), 16)
        allowed = None if share is None else rng.random(rows) < share
        shortlist = build_shortlist(kind, vectors, dim)
        results = shortlist.search(queries, keep, allowed=allowed)
        assert results.shape == (2, keep)
        possible = set(range(rows)) if allowed is None else set(np.flatnonzero(allowed).tolist())
        for one in results.tolist():
            there = [row for row in one if row >= 0]
            assert len(there) == min(keep, len(possible))
            assert set(there) <= possible
            assert len(set(there)) == len(there)
            assert one[len(there) :] == [-1] * (keep - len(there))
        if kind == "flat":
            cosines = truncate(queries, dim) @ truncate(vectors, dim).T
            best = np.sort(np.where(allowed if allowed is not None else True, cosines, -np.inf))[:, ::-1]
            top = min(keep, len(possible))
            got = np.take_along_axis(cosines, np.maximum(results, 0), axis=1)[:, :top]
            np.testing.assert_allclose(got, best[:, :top], atol=1e-6)
        shortlist.save(place / "s.safetensors")
        again = load_shortlist(place / "s.safetensors", vectors)
        np.testing.assert_array_equal(again.search(queries, keep, allowed=allowed), results)

    values = st.tuples(
        st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 16), st.integers(1, 70),
        st.none() | st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.sampled_from(KINDS),
    )  # fmt: skip
    try:
        law(
            "shortlists of every kind: distinct allowed rows, all that were asked for, the same after loading",
            values,
            check,
            60,
        )
    finally:
        shutil.rmtree(place)


def test_eight_bits_are_close(law):
    """What a code of 8 bits stands for is off by no more than a step of its dimension."""

    def check(vectors):
        dim = vectors.shape[1]
        unit = truncate(vectors, dim)
        shortlist = build_shortlist("int8", unit, dim)
        prefixes = truncate(unit, dim)
        back = shortlist._engine._index.reconstruct_n(0, len(prefixes)).astype(np.float64)
        reach = prefixes.max(0) - prefixes.min(0)
        assert np.all(np.abs(back - prefixes) <= reach / 255 + 1e-6)

    law("matrices in 8 bits and back: off by no more than a step", _vectors(-1, 1), check, 30)


def test_tokens_come_back(law):
    """A byte-level tokenizer loses nothing but case and runs of white space; any text gives tokens within bounds."""
    encoder = artifacts.model().encoder

    def check(text):
        ids = encoder.tokenize([text]).ids.tolist()
        assert 1 <= len(ids) <= encoder.max_tokens
        assert max(ids) < encoder.tokenizer.get_vocab_size()
        normal = encoder.tokenizer.normalizer.normalize_str(text)
        if len(ids) < encoder.max_tokens:
            assert encoder.tokenizer.decode(ids).strip() == normal.strip()

    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    texts = texts.filter(
        lambda t: not any(mark in t for mark in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))
    )
    law("texts to tokens and back: the same letters", texts, check, 60)


def test_documents_come_back(law):
    """An index gives back every document as it was, and upsert, get and remove agree with a dictionary."""
    place = Path(tempfile.mkdtemp())
    model = artifacts.static_model()
    text = st.text(max_size=20)
    fields = st.dictionaries(
        st.text(min_size=1, max_size=5), st.text(max_size=5) | st.integers(-5, 5) | st.booleans(), max_size=2
    )
    steps = st.lists(
        st.tuples(
            st.sampled_from(["upsert", "remove", "reopen", "compact"]), st.integers(0, 5), text, text, fields
        ),
        max_size=8,
    )

    def check(actions):
        first = Document(id="first", title="", text="seven small birds", source="s")
        known = {"first": first}
        shutil.rmtree(place / "index", ignore_errors=True)
        index = build_index(model, [first], place / "index")
        for action, number, title, body, meta in actions:
            name = f"id {number}"
            if action == "upsert":
                document = Document(id=name, title=title, text=body, source=title, meta=meta)
                index.upsert([document])
                known[name] = stored_form(document)
            elif action == "remove" and name in known:
                index.remove(name)
                del known[name]
            elif action == "reopen":
                index.close()
                index = open_index(place / "index", model)
            elif action == "compact":
                index.backend.compact()
        assert {d.id: d for d in index.backend.documents()} == known
        (hits,) = index.search("seven small birds", 10)
        assert {hit.id for hit in hits} == set(known)
        index.close()

    try:
        law("sequences of changes to an index: what a dictionary holds", steps, check, 10)
    finally:
        shutil.rmtree(place)


def test_sizes(law):
    """Nested sizes ascend and end at the full one; every request is resolved within bounds or refused."""

    def check(values):
        width, dim = values
        sizes = nested_sizes(width)
        assert list(sizes) == sorted(set(sizes))
        assert sizes[-1] == width
        axes = ElasticAxes(dims=sizes, layers=(1,))
        if 1 <= dim <= width:
            results, _, notes = axes.resolve(dim, None)
            assert results == dim
            assert bool(notes) == (dim not in sizes)
        else:
            with pytest.raises(ConfigError):
                axes.resolve(dim, None)

    law(
        "widths and requested sizes: resolved or refused",
        st.tuples(st.integers(1, 5000), st.integers(-10, 6000)),
        check,
        60,
    )


def test_checksums(law):
    """A checksum survives JSON, and changes with any value."""

    def check(values):
        one, other = values
        assume(json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True))
        assert checksum(one) == checksum(json.loads(json.dumps({**one, "checksum": "x"})))
        assert checksum({"a": one}) != checksum({"a": other})

    objects = st.dictionaries(st.text().filter(lambda k: k != "checksum"), JSON, max_size=4)
    law(
        "manifests: a checksum that survives JSON and sees every change",
        st.tuples(objects, objects),
        check,
        60,
    )


def test_filters_are_read_or_refused(law):
    """Whatever is typed after --where."""

    def check(text):
        with contextlib.suppress(ConfigError):
            parse_filter(text)

    law("texts typed as filters: read, or refused", st.text(max_size=30), check, 60)
