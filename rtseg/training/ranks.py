"""Sums over the processes of a distributed training."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


class _AllReduceSum(torch.autograd.Function):
    """The sum over ranks; every rank's loss has a gradient in every rank's share of it."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sum a tensor of one shape and dtype over all ranks; differentiable once.

    Without ``torch.distributed``, or with one process, it is the tensor itself. All ranks must call
    it equally often and in the same order, or they wait for each other for ever.

    With sums s_r on R ranks and the same loss f(S), S = Σ s_r, on each of them, the backward pass
    sums R equal gradients: rank r gets R · f'(S) · ds_r. ``DistributedDataParallel`` then takes the
    mean over ranks, f'(S) · Σ ds_r: the gradient that one process has for all ranks' samples. So a
    loss that is a function of such sums needs no factor, whatever the ranks' shares are.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return tensor
    total: Tensor = _AllReduceSum.apply(tensor)  # type: ignore[no-untyped-call]
    return total
