"""Several processes that train as one: who we are, and the few things that are told, averaged or gathered.

Everything here is the identity where torch's process group is not initialised, so nobody has to ask. The processes make the same calls
in the same order; where they stand apart, one of them waits forever.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from tailwise.errors import Stopped

T = TypeVar("T")

_ALONE: ContextVar[bool] = ContextVar("alone", default=False)
_STANDS_IN: ContextVar[bool] = ContextVar("stands in", default=False)
_FINDS: ContextVar[bool] = ContextVar("finds", default=False)


def count() -> int:
    """Give the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() and not _ALONE.get() else 1


def rank() -> int:
    """Give this process's number among them, 0-based."""
    return dist.get_rank() if count() > 1 else 0


def is_first() -> bool:
    """Say whether this is the process that writes and speaks for all."""
    return rank() == 0


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Let this process do something as if there were no others: measure a few steps, for instance."""
    before = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(before)


@contextlib.contextmanager
def standing_in(stands_in: bool) -> Iterator[None]:
    """Let this process take part in every call, and count for nothing: a batch may have fewer rows than there are processes."""
    before = _STANDS_IN.set(stands_in)
    try:
        yield
    finally:
        _STANDS_IN.reset(before)


def presence() -> float:
    """Give what this process's rows count: 1, or 0 where it stands in for another."""
    return 0.0 if _STANDS_IN.get() else 1.0


def told(find: Callable[[], T]) -> T:
    """Let the first process find something out, and tell all: what is on disk, a decision, a score.

    Args:
        find: called in the first process alone; what it gives is sent to the others. It may call what is told itself, nothing else here.

    Raises:
        Stopped: in the others, where it fails in the first, which raises what it raised.
    """
    if count() == 1 or _FINDS.get():
        return find()
    return _find_and_tell(find) if is_first() else _hear()


def _find_and_tell(find: Callable[[], T]) -> T:
    before = _FINDS.set(True)
    try:
        found = find()
    except BaseException as error:
        dist.broadcast_object_list([None, f"{type(error).__name__}: {error}"], src=0)
        raise
    finally:
        _FINDS.reset(before)
    dist.broadcast_object_list([found, None], src=0)
    return found


def _hear() -> Any:
    box: list[Any] = [None, None]
    dist.broadcast_object_list(box, src=0)
    found, failed = box
    if failed is not None:
        raise Stopped(f"the first process ended: {failed}")
    return found


def agreed(*wishes: bool) -> tuple[bool, ...]:
    """Say of each wish whether any process has it; the same answer for all, at the same call."""
    if count() == 1:
        return wishes
    flags = torch.tensor(wishes, dtype=torch.int32)
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return tuple(bool(flag) for flag in flags.tolist())


def summed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sum tensors of equal names and shapes over the processes, to equal bits in all of them, in one message a type; differentiable."""
    if count() == 1:
        return dict(tensors)
    made: dict[str, Tensor] = {}
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors.values()):
        names = [name for name, tensor in tensors.items() if tensor.dtype == dtype]
        flat: Tensor = _Sum.apply(torch.cat([tensors[name].reshape(-1) for name in names]))
        parts = flat.split([tensors[name].numel() for name in names])
        made |= {name: part.view_as(tensors[name]) for name, part in zip(names, parts, strict=True)}
    return made


class _Sum(torch.autograd.Function):
    """The sum over all processes; backwards, the sum of what all processes ask of it."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:
        whole = mine.clone()
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        asked = gradients[0].contiguous().clone()
        dist.all_reduce(asked)
        return asked


def averaged(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Average tensors of equal names and shapes over the processes, to equal bits in all of them; differentiable.

    What each process makes of the averages, averaged in its turn, has the gradient of one process with the joint batch.
    """
    return {name: tensor / count() for name, tensor in summed(tensors).items()} if count() > 1 else dict(tensors)


def gathered(rows: Tensor) -> Tensor:
    """Join the rows of all processes, in the order of the joint batch; differentiable.

    An objective that compares rows of the whole batch gathers them with this, and gives a term with the divisor `batch`: every
    process then computes the same scalar, and the gradient of each row comes back to the process that has it.

    Args:
        rows: (n, ...) of this process; n may differ between processes.

    Returns:
        (sum of all n, ...), without the rows of a process that stands in for another.
    """
    if count() == 1:
        return rows
    joined: Tensor = _Gather.apply(rows[:0] if _STANDS_IN.get() else rows)
    return joined


class _Gather(torch.autograd.Function):
    """Rows of all processes; backwards, the sum of what all processes ask of a row."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        sizes = _sizes(rows)
        ctx.mine = slice(sum(sizes[: rank()]), sum(sizes[: rank() + 1]))
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        everywhere = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(everywhere, padded)
        return torch.cat([part[:size] for part, size in zip(everywhere, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed_up = gradients[0].clone(memory_format=torch.contiguous_format)  # another node may hold the very same tensor
        dist.all_reduce(summed_up)
        return summed_up[ctx.mine]


def _sizes(rows: Tensor) -> list[int]:
    sizes = torch.zeros(count(), dtype=torch.int64, device=rows.device)
    sizes[rank()] = len(rows)
    dist.all_reduce(sizes)
    return [int(size) for size in sizes.tolist()]
