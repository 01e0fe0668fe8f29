"""Two processes that can talk, forked from the one that asks, which spares them the import of Lightning."""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


def in_two(function: Callable[[int], Any], folder: Path, count: int = 2) -> list[Any]:
    """What a function of the rank gives on each of two processes; where one fails, the other is not waited for."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def enter(rank: int) -> None:
        torch.set_num_threads(1)
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
        os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0"}  # a trainer takes itself for one that was launched
        try:
            dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=count)
            torch.save(function(rank), folder / f"{rank}.pt")
            dist.destroy_process_group()
        except BaseException:
            (folder / f"{rank}.txt").write_text(traceback.format_exc())
            raise

    processes = [multiprocessing.get_context("fork").Process(target=enter, args=(rank,)) for rank in range(count)]
    for process in processes:
        process.start()
    running = processes
    try:
        while running and all(not process.exitcode for process in processes):
            connection.wait([process.sentinel for process in running])
            running = [process for process in processes if process.is_alive()]
    finally:
        for process in processes:
            process.kill()
            process.join()
    (folder / "meet").unlink(missing_ok=True)
    said = "\n".join(path.read_text() for path in sorted(folder.glob("?.txt")))
    assert all(process.exitcode == 0 for process in processes), said
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(count)]
