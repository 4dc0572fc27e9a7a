"""The processes of a run and their communication: gradients (plain DDP), stop and report decisions, sums, checkpoints.

BatchNorm statistics are per process; before each step all processes take rank 0's running ones, which are evaluated,
exported and saved.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel
from typing_extensions import override

from trainserve.api import reasons
from trainserve.api.reasons import Reason
from trainserve.models.errors import Interrupted, PeerFailed, PortTaken, RankLost, RunFailed, UserError
from trainserve.models.rank import Rank

_START = 120.0
"""Seconds to wait for all processes to start."""
_LOAD = 3600.0
"""Seconds to wait for all processes to have loaded their data."""
_ANSWER = timedelta(seconds=600)
"""Timeout of collective operations after that."""
_POLL = 0.02
_WORD = 0.5
"""Seconds to wait for the error that a lost process leaves in the store."""


class Alone:
    """A run with a single process."""

    rank = Rank()

    def meet(self, device: torch.device) -> None:
        """Wait for all processes and connect. Raises RankLost if one is missing, PeerFailed if it reported an error."""

    def prepare(self, module: nn.Module) -> nn.Module:
        """The module to call for the forward pass."""
        return module

    def local_gradients(self, module: nn.Module) -> AbstractContextManager[None]:
        """Inside, gradients of `module` (from `prepare`) accumulate without being exchanged."""
        return contextlib.nullcontext()

    def agree(self, *wishes: bool) -> tuple[bool, ...]:
        """Logical OR of each of `wishes` over all processes, in a gang one step late, so that no step blocks."""
        return wishes

    def total(self, sums: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of `sums` and the minimum of `least` over all processes."""
        return sums, least

    def share(self, content: bytes | None) -> bytes | None:
        """Rank 0's `content`, on every process."""
        return content

    def wait(self) -> None:
        """Wait until all processes have called this."""

    def leave(self) -> None:
        """Disconnect, after the last collective operation."""

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Inside, the failure of another process is raised with that process's reason."""
        yield


ALONE = Alone()


class Gang(Alone):
    """One process of several, made by `gang_of`."""

    def __init__(self, rank: Rank, store: Store) -> None:
        self.rank = rank
        self._store = store
        self._control: dist.ProcessGroup | None = None
        self._asked: tuple[Tensor, dist.Work] | None = None
        self._store.set(f"started/{rank.rank}", "")

    @override
    def meet(self, device: torch.device) -> None:
        self._wait_for_all("started", _START)
        self._store.set(f"ready/{self.rank.rank}", "")
        self._wait_for_all("ready", _LOAD)
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(
            backend, store=self._store, rank=self.rank.rank, world_size=self.rank.size, timeout=_ANSWER
        )
        self._control = dist.new_group(backend="gloo", timeout=_ANSWER)

    def _wait_for_all(self, state: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        # Polled: a process that waits inside the store does not react to SIGTERM.
        while missing := [rank for rank in range(self.rank.size) if not self._store.check([f"{state}/{rank}"])]:
            self.raise_what_another_said()
            if time.monotonic() > deadline:
                raise RankLost(f"rank {missing[0]} of {self.rank.size} was not {state} within {seconds:.0f} s")
            time.sleep(_POLL)

    @override
    def prepare(self, module: nn.Module) -> nn.Module:
        device = next(module.parameters()).device
        return DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)

    @override
    def local_gradients(self, module: nn.Module) -> AbstractContextManager[None]:
        assert isinstance(module, DistributedDataParallel)
        return module.no_sync()

    @override
    def agree(self, *wishes: bool) -> tuple[bool, ...]:
        agreed = self._answer()
        asked = torch.tensor(wishes, dtype=torch.int32)
        work = dist.all_reduce(asked, dist.ReduceOp.MAX, group=self._control, async_op=True)
        assert work is not None
        self._asked = asked, work
        return tuple(map(bool, agreed)) if agreed else (False,) * len(wishes)

    def _answer(self) -> list[int]:
        if self._asked is None:
            return []
        asked, work = self._asked
        self._asked = None
        work.wait()
        return list(asked.tolist())

    @override
    def total(self, sums: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
        sums, least = sums.clone(), least.clone()
        dist.all_reduce(sums)
        dist.all_reduce(least, dist.ReduceOp.MIN)
        return sums, least

    @override
    def share(self, content: bytes | None) -> bytes | None:
        size = torch.tensor(-1 if content is None else len(content))
        dist.broadcast(size, 0, group=self._control)
        if (length := int(size)) < 0:
            return None
        data = torch.empty(length, dtype=torch.uint8)
        if self.rank.first:
            assert content is not None
            data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        dist.broadcast(data, 0, group=self._control)
        return data.numpy().tobytes()

    @override
    def wait(self) -> None:
        self._answer()
        dist.barrier(group=self._control)

    @override
    def leave(self) -> None:
        dist.destroy_process_group()

    @override
    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self._wait_for_a_last_word()
            if any(word in str(error).lower() for word in ("gloo", "nccl", "connection")):
                raise RankLost(f"another process of the run ended without reporting why ({_brief(error)})") from error
            raise

    def tell(self, error: RunFailed) -> None:
        """Store this process's error for the others; only the first error is kept."""
        said = {"rank": self.rank.rank, "reason": error.reason, "message": str(error)}
        with contextlib.suppress(RuntimeError):
            self._store.compare_set("failed", "", json.dumps(said))

    def _wait_for_a_last_word(self) -> None:
        deadline = time.monotonic() + _WORD
        while time.monotonic() < deadline:
            self.raise_what_another_said()
            time.sleep(_POLL)

    def raise_what_another_said(self) -> None:
        """Raise PeerFailed if another process stored its error, RankLost if the store is gone."""
        try:
            if not self._store.check(["failed"]):
                return
            said: dict[str, Any] = json.loads(self._store.get("failed"))
        except RuntimeError as error:
            raise RankLost("the process that hosts the run's rendezvous store has ended") from error
        if said["rank"] != self.rank.rank:
            raise PeerFailed(f"rank {said['rank']}: {said['message']}", reasons.of(said["reason"]) or Reason.USER_ERROR)


@contextlib.contextmanager
def gang_of(rank: Rank) -> Iterator[Gang]:
    """The run's processes, not yet connected; an error inside is stored for the others."""
    gang = Gang(rank, _store(rank))
    try:
        yield gang
    except RunFailed as error:
        gang.tell(error)
        raise
    except Interrupted:
        # torchrun sends SIGTERM to the others when one process fails; if all were stopped, rank 0 may have ended by
        # now.
        with contextlib.suppress(RankLost):
            gang.raise_what_another_said()
        raise
    except Exception as error:
        gang.tell(UserError(f"unexpected {type(error).__name__}: {error}"))
        raise


def _store(rank: Rank) -> Store:
    """The rendezvous store: torchrun's, or one hosted by rank 0. Raises RankLost, and PortTaken of rank 0.

    Keys are prefixed by the restart: in torch 2.13 a restarted gang finds the addresses of the dead one in the shared
    store (pytorch#135712), and hangs or fails about half the time.
    """
    host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT", "")
    if not host or not port.isdecimal():
        raise UserError(f"MASTER_ADDR, MASTER_PORT: {host!r}, {port!r} is not allowed; must be set as torchrun does")
    listens = rank.first and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    try:
        store = TCPStore(
            host,
            int(port),
            rank.size,
            is_master=listens,
            timeout=timedelta(seconds=_START),
            wait_for_workers=False,
        )
    except RuntimeError as error:
        if listens and "EADDRINUSE" in str(error):
            raise PortTaken(f"MASTER_PORT: port {port} of {host} is taken by another process") from error
        raise RankLost(f"cannot reach rank 0 at {host}:{port}: {_brief(error)}") from error
    return PrefixStore(f"attempt{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _brief(error: RuntimeError) -> str:
    """The first sentence of the error, without the leading source location in torch."""
    return re.sub(r"^\[\S+:\d+\] ", "", str(error).splitlines()[0]).split(". ")[0]
