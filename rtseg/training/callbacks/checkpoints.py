"""Checkpoints that appear whole or not at all, load without unpickling code, and can be deployed."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import CheckpointIO

from rtseg.atomic import beside
from rtseg.errors import InputError, OutputError, one_line
from rtseg.training.task import state_of_network
from rtseg.training.weights import save_weights


class SafeCheckpoints(CheckpointIO):
    """Write a training's state as ``NAME.ckpt``, and its network's weights as ``NAME.safetensors``.

    Both are written beside their place and renamed, so that a process that is killed while it writes
    leaves the old ones. A state is read with ``weights_only``: tensors and plain containers, no code.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write both files; ``OutputError`` where there is no room for them, say."""
        target = Path(path)
        part = beside(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            buffer = io.BytesIO()
            torch.save(checkpoint, buffer)
            with part.open("wb") as file:
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(
                    file.fileno()
                )  # before the rename: a power cut too leaves the old or the new
            os.replace(part, target)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            raise OutputError(
                f"{target}: cannot write this checkpoint: {error.strerror}"
            ) from error
        weights = state_of_network(checkpoint["state_dict"])
        if weights:
            save_weights(weights, target.with_suffix(".safetensors"), checkpoint["rtseg"])

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = "cpu",
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Read a state; ``InputError`` where the file is not one."""
        try:
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such checkpoint") from error
        except Exception as error:  # whatever broken or foreign bytes cause
            raise InputError(f"{path}: not a readable checkpoint: {one_line(error)}") from error
        if not isinstance(loaded, dict) or "state_dict" not in loaded or "rtseg" not in loaded:
            raise InputError(f"{path}: not a checkpoint of rtseg-train")
        return loaded

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Remove both files."""
        for file in (Path(path), Path(path).with_suffix(".safetensors")):
            file.unlink(missing_ok=True)


class _InRunFolder(ModelCheckpoint):
    """A checkpoint that lies in the run's own folder."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Write into the run's folder."""
        self.dirpath = self.dirpath or str(trainer.default_root_dir)
        super().setup(trainer, pl_module, stage)


class KeepBest(_InRunFolder):
    """Keep the state whose validation was best by ``monitor``: ``best.ckpt``, ``best.safetensors``."""

    def __init__(self, monitor: str = "val_miou", mode: str = "max") -> None:
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=mode,
            save_top_k=1,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Keep the state, if it is the best; a monitor that nothing measures is told by its name."""
        if not trainer.sanity_checking and self.monitor not in trainer.callback_metrics:
            measured = ", ".join(
                sorted(m for m in trainer.callback_metrics if m.startswith("val_"))
            )
            raise InputError(f"best.monitor is {self.monitor!r}: not one of {measured}")
        super().on_validation_end(trainer, pl_module)


class KeepLast(_InRunFolder):
    """Keep the state at the end of each epoch: ``last.ckpt``, from which a training resumes."""

    def __init__(self) -> None:
        super().__init__(
            filename="last",
            save_top_k=1,
            monitor=None,
            every_n_epochs=1,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
