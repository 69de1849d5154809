"""The trainings of the comparison: one run of ``rtseg-train`` an architecture, each in its folder.

A run's folder has a ``run.json`` beside what ``rtseg-train`` leaves: with which settings and on which
machine it was trained, and whether it is finished. A finished run is not trained again, an
interrupted one goes on where it was.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import machine, versions
from rtseg.atomic import write_atomically
from rtseg.errors import InputError, OutputError, UsageError

RECIPE = "comparison"

LABELS = {
    "unet-mobilenetv2": "U-Net, light decoder",
    "fcn8s-mobilenetv2": "FCN-8s",
    "fcn16s-mobilenetv2": "FCN-16s",
    "fcn32s-mobilenetv2": "FCN-32s",
    "smp-unet": "U-Net (SMP)",
    "smp-unetplusplus": "U-Net++ (SMP)",
    "smp-linknet": "LinkNet (SMP)",
    "smp-pspnet": "PSPNet (SMP)",
    "smp-deeplabv3plus": "DeepLabV3+ (SMP)",
}
"""What is compared, and how tables and plots call it."""

_STATUS_OF_SIGTERM = 143
_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
}
"""With these glibc keeps the memory that each step allocates anew: up to half of a step's time."""


def chosen(names: Sequence[str] | None) -> list[str]:
    """Check the architectures of ``--only``; all without it. ``UsageError`` names those there are."""
    for name in names or ():
        if name not in LABELS:
            raise UsageError(f"unknown architecture {name!r}: one of {', '.join(LABELS)}")
    return [name for name in LABELS if names is None or name in names]


def read_run(folder: Path) -> dict[str, Any] | None:
    """Read a folder's ``run.json``; None where there is none, ``InputError`` where it is broken."""
    path = folder / "run.json"
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        return {key: run[key] for key in ("settings", "machine", "versions", "finished")}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot read it: {error}") from error


def _write_run(folder: Path, run: dict[str, Any]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot make this folder: {error.strerror}") from error
    write_atomically(folder / "run.json", (json.dumps(run, indent=1) + "\n").encode())


def _epochs(count: int) -> list[str]:
    """Train for ``count`` epochs; validate every fifth, or more often, so that the last is."""
    every = max(n for n in range(1, 6) if count % n == 0)
    return [f"--trainer.max_epochs={count}", f"--trainer.check_val_every_n_epoch={every}"]


def train(
    names: Sequence[str],
    out: Path,
    *,
    data: Path,
    encoder: Path | None = None,
    epochs: int | None = None,
    more: Sequence[str] = (),
) -> None:
    """Train what is not finished yet, one after the other, into ``out/NAME``.

    ``data`` is the folder that CamVid's lies in, ``encoder`` the file of ImageNet weights (default:
    the recipe's), ``epochs`` their number (default: the recipe's), ``more`` further arguments of
    ``rtseg-train``. ``UsageError`` for a run that was begun with other settings, or where
    segmentation_models.pytorch is needed and missing; ``InputError`` when a training fails.
    """
    library = importlib.util.find_spec("segmentation_models_pytorch")
    for name in names:
        if name.startswith("smp-") and library is None:
            raise UsageError(
                f"{name} needs segmentation_models.pytorch: pip install 'rtseg[smp]', or name the"
                " others with --only"
            )
    settings = {
        "epochs": epochs,
        "encoder": encoder.name if encoder else None,
        "more": list(more),
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }
    for name in names:
        folder = out / name
        run = read_run(folder)
        if run is not None and run["settings"] != settings:
            raise UsageError(
                f"{folder} was trained with other settings ({json.dumps(run['settings'])}): give the"
                " same, or another --runs"
            )
        if run is not None and run["finished"]:
            print(f"{name}: finished, see {folder}", flush=True)
            continue
        run = {"settings": settings, "machine": machine(), "versions": versions()}
        _write_run(folder, {**run, "finished": False})
        print(f"{name}: training, see {folder}", flush=True)
        _fit(name, folder, data, encoder, [*(_epochs(epochs) if epochs else ()), *more])
        _write_run(folder, {**run, "finished": True})


def _fit(name: str, folder: Path, data: Path, encoder: Path | None, more: Sequence[str]) -> None:
    # By way of a module that does nothing where torchvision imports or is not installed. Where it is
    # installed torchmetrics imports it, too, so all go that way.
    command = [
        sys.executable, "-m", "benchmarks.torchvision_on_cpu",
        "rtseg.cli.train", "fit", "--config", RECIPE, "--config", f"{RECIPE}/{name}",
        f"--data.root={data}", f"--trainer.default_root_dir={folder}", "--ckpt_path=last",
    ]  # fmt: skip
    if encoder is not None:
        command.append(f"--model.encoder_weights={encoder}")
    status = subprocess.run([*command, *more], env={**_MALLOC, **os.environ}).returncode
    if status < 0 or status == _STATUS_OF_SIGTERM:
        raise InputError(f"{name}: the training was ended: the same command goes on with it")
    if status == 130:
        raise KeyboardInterrupt
    if status:
        raise InputError(f"{name}: the training failed with exit status {status}")
