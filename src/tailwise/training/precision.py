"""Precision: a network that computes in bfloat16, while weights, statistics, loss and updates stay in float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tailwise.objective import Out

FLOAT32, BFLOAT16 = "float32", "bfloat16"


def compute_in(precision: str, net: nn.Module, device: torch.device) -> None:
    """Let a network compute in the precision that numerics name; what it returns is float32 whatever that is.

    Only the call of the whole network is meant: what a method takes of it apart, such as its head alone, is computed in float32.

    Args:
        precision: `float32`, which changes nothing, or `bfloat16`.
        net: called on images.
        device: where it is.
    """
    if precision != BFLOAT16:
        return
    entered: list[torch.autocast] = []

    def enter(module: nn.Module, inputs: Any) -> None:
        entered.append(torch.autocast(device.type, torch.bfloat16))
        entered[-1].__enter__()

    def leave(module: nn.Module, inputs: Any, out: Out | None) -> Out | None:
        entered.pop().__exit__(None, None, None)
        return None if out is None else Out(out.logits.float(), out.features.float())

    net.register_forward_pre_hook(enter)
    net.register_forward_hook(leave, always_call=True)  # an error must not leave the caller in bfloat16
