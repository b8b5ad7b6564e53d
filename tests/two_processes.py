"""The same function in two processes that talk over gloo, as a training on two devices runs it."""

import os
import socket
from collections.abc import Callable
from typing import Any

import torch
import torch.multiprocessing as multiprocessing


def in_two_processes(function: Callable[[int], Any]) -> list[Any]:
    """What ``function(rank)`` gives in each of two processes, by rank.

    It has to be a module's function, as new processes import it; what it gives travels by pickle.
    """
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    port = _unused_port()
    workers = [context.Process(target=_work, args=(function, rank, port, queue)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    results = dict(queue.get() for _ in workers)
    return [results[rank] for rank in range(2)]


def _work(function: Callable[[int], Any], rank: int, port: int, queue: Any) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    queue.put((rank, function(rank)))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
