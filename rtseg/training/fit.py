"""The training loop: one cycle of AdamW, bf16 autocast, averaged weights, the best one kept."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader

from rtseg.data.camvid import CamVid
from rtseg.data.drive import HELD_OUT_FRAMES, Drive
from rtseg.data.labels import ClassTable, drive_table
from rtseg.errors import InputError, UsageError
from rtseg.evaluation import ConfusionMatrix
from rtseg.models import build
from rtseg.models.mobilenet_v2 import load_safetensors
from rtseg.models.normalisation import normalise
from rtseg.training.losses import segmentation_loss
from rtseg.training.recipe import Recipe
from rtseg.training.samples import TrainingSamples


@torch.no_grad()
def validate(
    model: nn.Module, frames: Iterator[tuple[Any, Any]], size: tuple[int, int], classes: int
) -> ConfusionMatrix:
    """Score at the truth's own size: resize in, argmax at the network's size, nearest out."""
    device = next(model.parameters()).device
    matrix = ConfusionMatrix(classes)
    model.eval()
    for frame, truth in frames:
        rgb = cv2.cvtColor(cv2.resize(frame, size), cv2.COLOR_BGR2RGB)
        picture = torch.from_numpy(rgb.transpose(2, 0, 1)[None]).to(device)
        logits = model(normalise(picture))
        logits = nn.functional.interpolate(logits, size[::-1], mode="bilinear")
        mask = logits.argmax(1)[0].to(torch.uint8).cpu().numpy()
        mask = cv2.resize(mask, truth.shape[::-1], interpolation=cv2.INTER_NEAREST)
        matrix.add(truth, mask.astype(np.uint8, copy=False))
    return matrix


def _save(model: nn.Module, path: Path, recipe: Recipe, row: dict[str, Any]) -> None:
    tensors = {k: v.contiguous() for k, v in model.state_dict().items()}
    beside = path.with_suffix(".tmp")
    metadata = {
        "architecture": recipe.architecture,
        "options": json.dumps(recipe.options),
        "classes": json.dumps(recipe.classes),
        "palette": json.dumps(recipe.palette),
        "size": json.dumps(recipe.size),
        "epoch": json.dumps(row),
    }
    save_file(tensors, beside, metadata)
    os.replace(beside, path)


def fit(recipe: Recipe, camvid: Path, encoder: Path, out: Path) -> Iterator[dict[str, Any]]:
    """Train by ``recipe``, yielding a row of figures after every epoch.

    ``UsageError`` names the recipe's key that does not fit; ``InputError`` the data or the encoder
    weights that cannot be read.
    """
    torch.manual_seed(recipe.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = (recipe.size[0], recipe.size[1])
    table = ClassTable(tuple(recipe.classes), tuple((r, g, b) for r, g, b in recipe.palette))
    pictures_of_camvid = CamVid(camvid, "train", table)
    try:
        samples = TrainingSamples(pictures_of_camvid, table, size, **recipe.data)
    except TypeError as error:
        raise UsageError(f"the recipe's key 'data' does not fit: {error}") from error
    if len(samples) < recipe.batch:
        raise UsageError(
            f"the recipe's key 'batch' is {recipe.batch}, but an epoch has {len(samples)} samples"
        )
    loader = DataLoader(
        samples, recipe.batch, shuffle=True, drop_last=True, num_workers=2, persistent_workers=True
    )
    val = CamVid(camvid, "val", table)
    to_classes = drive_table(table)

    try:
        model: Any = build(recipe.architecture, len(recipe.classes), **recipe.options)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the recipe's keys 'architecture' and 'options' do not fit: {error}"
        ) from error
    try:
        model.encoder.load_classifier(load_safetensors(str(encoder)))
    except (OSError, SafetensorError, RuntimeError) as error:
        what = " ".join(str(error).split())
        raise InputError(f"{encoder}: not this encoder's weights: {what[:300]}") from error
    model = model.to(device, memory_format=torch.channels_last)
    average = copy.deepcopy(model).requires_grad_(False)
    encoder_weights = list(model.encoder.parameters())
    own = {id(p) for p in encoder_weights}
    rate = recipe.learning_rate
    optimiser = torch.optim.AdamW(
        [
            {"params": encoder_weights, "lr": rate * recipe.encoder_factor},
            {"params": [p for p in model.parameters() if id(p) not in own], "lr": rate},
        ],
        weight_decay=recipe.weight_decay,
    )
    steps = recipe.epochs * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [g["lr"] for g in optimiser.param_groups], steps, pct_start=0.15
    )
    best, step = -math.inf, 0
    for epoch in range(1, recipe.epochs + 1):
        start, total = time.perf_counter(), 0.0
        model.train()
        for pictures, target in loader:
            pictures, target = pictures.to(device), target.to(device)
            with torch.autocast(device.type, torch.bfloat16):
                logits = model(normalise(pictures).contiguous(memory_format=torch.channels_last))
            loss = segmentation_loss(logits, target, recipe.dice_weight)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
            step += 1
            # A young average forgets faster, so that it does not remember the random start.
            keep = min(recipe.ema, (1 + step) / (10 + step))
            with torch.no_grad():
                for a, b in zip(
                    average.state_dict().values(), model.state_dict().values(), strict=True
                ):
                    if a.is_floating_point():
                        a.lerp_(b, 1 - keep)
                    else:
                        a.copy_(b)
        row: dict[str, Any] = {"epoch": epoch, "loss": round(total / len(loader), 4)}
        if epoch % 3 == 0 or epoch == recipe.epochs:
            scores = validate(average, (val[i] for i in range(len(val))), size, len(table.names))
            row["camvid_val_iou"] = [round(float(v), 4) for v in scores.iou]
            row["camvid_val_miou"] = round(scores.miou, 4)
            drives = (Drive(960, 540, seed=s).frame(i) for s, i in HELD_OUT_FRAMES)
            drive = validate(
                average, ((f, to_classes[m]) for f, m in drives), size, len(table.names)
            )
            row["drive_iou"] = [round(float(v), 4) for v in drive.iou]
            if scores.miou > best:
                best = scores.miou
                _save(average, out / "best.safetensors", recipe, row)
        row["seconds"] = round(time.perf_counter() - start, 1)
        _save(average, out / "last.safetensors", recipe, row)
        yield row
