"""Slots trained one after the other, and each in a process of its own."""

import hashlib
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from brickwork.studies.bench import Bench, Trained
from brickwork.training.run import planned_stages


@dataclass(frozen=True)
class SlotTrained:
    """What training one slot left: a digest of all its weights, and the seconds that it took."""

    digest: str
    seconds: float


@dataclass(frozen=True)
class Apart:
    """Slots in turn, and at once, with the seconds of both."""

    in_turn: tuple[SlotTrained, ...]
    at_once: tuple[SlotTrained, ...]
    seconds_in_turn: float
    seconds_at_once: float

    @property
    def identical(self) -> bool:
        """Whether every slot has the same bits."""
        return [one.digest for one in self.in_turn] == [one.digest for one in self.at_once]


def train_apart(prepared: Trained, run: Any, max_steps: int | None) -> Apart:
    """All slots of ``run`` with the teacher and meta network of ``prepared``, in this process and in others."""
    slots = range(1, run.model.slots + 1)
    began = time.perf_counter()
    in_turn = tuple(train_slot(prepared, run, slot, max_steps) for slot in slots)
    middle = time.perf_counter()
    with ProcessPoolExecutor(len(slots), mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(train_slot, prepared, run, slot, max_steps) for slot in reversed(slots)]
        at_once = tuple(future.result() for future in reversed(waiting))
    return Apart(in_turn, at_once, middle - began, time.perf_counter() - middle)


def train_slot(prepared: Trained, run: Any, slot: int, max_steps: int | None) -> SlotTrained:
    """One slot, which knows nothing of the others."""
    steps = max(1, round(run.train.steps / (2 * run.model.slots)))
    own = replace(
        run,
        model=replace(run.model, slot=slot),
        train=replace(run.train, steps=steps, threads=1),
    )
    system = type(prepared.system)
    finished = prepared.system
    facts = {"classes": finished.classes, "image_shape": finished.image_shape}
    made = system.continued(finished, own.model, seed=run.seed, **facts)
    trained = Bench(max_steps=max_steps).fit(
        made, prepared.data.train, own.train, run.seed, stages=planned_stages(own)
    )
    parts = (made.student.slots()[slot - 1], made.stitches[slot - 1])
    digest = hashlib.sha256()
    for part in parts:
        for tensor in part.state_dict().values():
            digest.update(tensor.numpy().tobytes())
    return SlotTrained(digest.hexdigest(), trained.seconds)
