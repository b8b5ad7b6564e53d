"""The queue by its arithmetic: who is in which batch, in which order, and what is refused."""

import threading
import time
from concurrent.futures import CancelledError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brickwork.service.batching import Batcher, Piece, Work
from brickwork.service.errors import ApiError


class Recorder:
    """Stands in for the model: gives (request, text number) of each text; notes each batch.

    While ``held``, the first batch does not end.
    """

    def __init__(self) -> None:
        self.batches: list[list[tuple[str, int, int]]] = []
        self.held = threading.Event()
        self.held.set()
        self.begun = threading.Event()

    def __call__(self, pieces: list[Piece]) -> list[list[tuple[str, int]]]:
        self.begun.set()
        self.held.wait(10)
        self.batches.append([(piece.work.request, piece.start, piece.stop) for piece in pieces])
        if any(piece.work.request == "bad" for piece in pieces):
            raise ValueError("bad")
        return [[(p.work.request, row) for row in range(p.start, p.stop)] for p in pieces]


def make(recorder, batch_tokens=10, queue_tokens=100, queue_requests=50, **options):
    return Batcher(
        recorder,
        batch_tokens=batch_tokens,
        queue_tokens=queue_tokens,
        queue_requests=queue_requests,
        **options,
    )


def work(name, *tokens, key="k"):
    return Work(key, list(tokens), name)


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def busy(recorder):
    """A batcher whose first batch is held until ``recorder.held.set()``."""
    batcher = make(recorder)
    recorder.held.clear()
    batcher.start()
    batcher.submit(work("first", 1))
    assert recorder.begun.wait(5)
    yield batcher
    recorder.held.set()
    assert batcher.stop(5.0)


def finish(recorder, batcher):
    recorder.held.set()
    assert batcher.stop(5.0)
    return recorder.batches[1:]


def test_an_idle_batcher_answers_at_once(recorder):
    batcher = make(recorder)
    batcher.start()
    one = work("one", 3, 3)
    started = time.perf_counter()
    batcher.submit(one)
    assert one.future.result(5) == [[("one", 0), ("one", 1)]]
    assert time.perf_counter() - started < 0.5
    assert batcher.stop(5.0)


def test_what_queued_meanwhile_shares_the_next_batch(recorder, busy):
    for name in "abc":
        busy.submit(work(name, 3))
    assert finish(recorder, busy) == [[("a", 0, 1), ("b", 0, 1), ("c", 0, 1)]]


def test_a_batch_takes_only_work_of_one_key_and_the_oldest_decides(recorder, busy):
    for name, key in (("a", 6), ("b", 3), ("c", 6), ("d", 3)):
        busy.submit(work(name, 2, key=key))
    assert finish(recorder, busy) == [[("a", 0, 1), ("c", 0, 1)], [("b", 0, 1), ("d", 0, 1)]]


def test_a_long_list_goes_to_the_end_after_each_piece(recorder, busy):
    """30 texts of 2 tokens are three batches of 10 tokens and more; the small one is not kept waiting."""
    busy.submit(work("long", *[2] * 30))
    busy.submit(work("small", 2))
    batches = finish(recorder, busy)
    assert batches[0] == [("long", 0, 5)]
    assert batches[1] == [("small", 0, 1), ("long", 5, 9)]
    assert [piece for batch in batches for piece in batch if piece[0] == "long"][-1][2] == 30


def test_a_short_list_that_is_cut_is_finished_next(recorder, busy):
    busy.submit(work("a", 7))
    busy.submit(work("b", 3, 3))
    busy.submit(work("c", 9))
    assert finish(recorder, busy) == [
        [("a", 0, 1), ("b", 0, 1)],
        [("b", 1, 2)],
        [("c", 0, 1)],
    ]


def test_a_text_larger_than_a_batch_is_a_batch_of_its_own(recorder, busy):
    busy.submit(work("huge", 40, 1))
    busy.submit(work("next", 1))
    assert finish(recorder, busy)[0] == [("huge", 0, 1)]


def test_one_text_and_many_are_refused_by_the_same_rule(busy):
    """The queue holds 100 tokens: 96 wait, so 4 more are taken in any form, 5 in none."""
    busy.submit(work("a", *[8] * 12))
    for wanted in ([5], [1] * 5):
        with pytest.raises(ApiError) as refused:
            busy.submit(work("b", *wanted))
        assert refused.value.status_code == 429
        assert int(refused.value.headers["Retry-After"]) >= 1
    busy.submit(work("c", 2))
    busy.submit(work("d", 1, 1))
    assert busy.waiting == (3, 100)
    assert busy.full


def test_the_number_of_requests_is_bounded_too(recorder):
    batcher = make(recorder, queue_requests=2)  # not started: all of it waits
    batcher.submit(work("a", 1))
    assert not batcher.full
    batcher.submit(work("b", 1))
    assert batcher.full
    with pytest.raises(ApiError):
        batcher.submit(work("c", 1))


def test_dropped_work_is_not_done_and_makes_room(recorder, busy):
    gone = work("gone", *[10] * 9)
    busy.submit(gone)
    assert busy.drop(gone)
    assert busy.waiting == (0, 0)
    assert not busy.drop(gone)
    stays = work("stays", *[10] * 10)
    busy.submit(stays)
    assert not any(name == "gone" for batch in finish(recorder, busy) for name, _, _ in batch)
    with pytest.raises(CancelledError):
        gone.future.result(0)
    assert len(stays.future.result(0)) == 10


def test_the_rest_of_work_dropped_while_a_piece_runs_is_not_done(recorder):
    batcher = make(recorder)
    recorder.held.clear()
    batcher.start()
    long = work("long", *[5] * 8)
    batcher.submit(long)
    assert recorder.begun.wait(5)
    assert batcher.drop(long)
    recorder.held.set()
    assert batcher.stop(5.0)
    assert recorder.batches == [[("long", 0, 2)]]


def test_only_who_caused_an_error_is_told(recorder, busy):
    good, bad, other = work("good", 1), work("bad", 1), work("other", 1)
    for each in (good, bad, other):
        busy.submit(each)
    recorder.held.set()
    assert good.future.result(5) == [[("good", 0)]]
    assert other.future.result(5) == [[("other", 0)]]
    with pytest.raises(ValueError, match="bad"):
        bad.future.result(5)


def test_the_rest_of_work_that_failed_is_not_tried(recorder, busy):
    bad = work("bad", *[8] * 4)
    busy.submit(bad)
    recorder.held.set()
    with pytest.raises(ValueError, match="bad"):
        bad.future.result(5)
    assert busy.stop(5.0)
    assert recorder.batches[1:] == [[("bad", 0, 1)]]
    assert busy.waiting == (0, 0)


def test_a_call_runs_between_batches_in_the_same_thread(recorder, busy):
    busy.submit(work("a", 1))
    called = busy.call(lambda: (threading.current_thread().name, len(recorder.batches)))
    failing = busy.call(lambda: 1 / 0)
    recorder.held.set()
    assert called.result(5) == ("batches", 1)
    with pytest.raises(ZeroDivisionError):
        failing.result(5)


def test_stopping_finishes_what_waits_and_takes_nothing_new(recorder, busy):
    waiting = [work(f"w{n}", 5) for n in range(10)]
    for each in waiting:
        busy.submit(each)
    recorder.held.set()
    assert busy.stop(5.0)
    assert all(each.future.done() for each in waiting)
    assert not busy.alive
    with pytest.raises(ApiError):
        busy.submit(work("late", 1))


def test_the_time_to_wait_follows_from_the_speed(recorder):
    """A batch of 10 tokens took 0.1 s: 100 tokens a second, so 90 that wait take a second."""
    times = []
    batcher = make(recorder, on_batch=lambda pieces, seconds: times.append(seconds))
    recorder.held.clear()
    batcher.start()
    batcher.submit(work("a", 10))
    assert recorder.begun.wait(5)
    time.sleep(0.1)
    recorder.held.set()
    while not times:
        time.sleep(0.001)
    recorder.held.clear()
    recorder.begun.clear()
    batcher.submit(work("b", 10))
    assert recorder.begun.wait(5)
    batcher.submit(work("c", *[10] * 9))
    assert batcher.retry_after() == round(9 * times[0] + 0.5)
    recorder.held.set()
    assert batcher.stop(5.0)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.lists(st.integers(1, 15), min_size=1, max_size=12)), max_size=12
    ),
    st.integers(1, 20),
)
def test_every_text_is_done_once_in_order_and_batches_keep_the_budget(requests, budget):
    """Against what was submitted: an oracle needs no scheduling."""
    recorder = Recorder()
    batcher = make(recorder, batch_tokens=budget, queue_tokens=10**6)
    works = [work(str(number), *tokens, key=key) for number, (key, tokens) in enumerate(requests)]
    for each in works:
        batcher.submit(each)
    batcher.start()
    assert batcher.stop(10.0)
    assert batcher.waiting == (0, 0)
    for each in works:
        done = [pair for part in each.future.result(0) for pair in part]
        assert done == [(each.request, row) for row in range(len(each.tokens))]
    by_name = {each.request: each for each in works}
    for batch in recorder.batches:
        assert len({by_name[name].key for name, _, _ in batch}) == 1
        tokens = [t for name, start, stop in batch for t in by_name[name].tokens[start:stop]]
        assert sum(tokens) <= budget or len(tokens) == 1
