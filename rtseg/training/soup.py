"""The weighted mean of several trainings of one network.

Trainings that began from the same weights lie in one basin, and their mean is often as accurate as the
best of them and holds up better elsewhere: model soups (Wortsman et al. 2022, arXiv:2203.05482), and
with the weights that they began from among them, WiSE-FT (Wortsman et al. 2022, arXiv:2109.01903).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from rtseg.errors import InputError
from rtseg.models.mobilenet_v2 import load_safetensors


def mean(files: Sequence[Path], shares: Sequence[float]) -> dict[str, Tensor]:
    """Return the mean of the files' tensors, weighted by ``shares``; counters are the first file's.

    ``InputError`` where a file's tensors are not the first one's, by name and shape.
    """
    states = [load_safetensors(str(file)) for file in files]
    first = states[0]
    for file, state in zip(files, states, strict=True):
        for name in first.keys() | state.keys():
            if name not in state or name not in first or state[name].shape != first[name].shape:
                raise InputError(f"{file}: not of the same network as {files[0]}: {name} differs")
    return {
        name: torch.stack(
            [share * state[name].float() for state, share in zip(states, shares, strict=True)]
        ).sum(0)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in first.items()
    }
