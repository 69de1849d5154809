"""Pictures of the net learning: a sheet of samples every few epochs, and an animation of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from numpy.typing import NDArray

from rtseg.training.animation import write_animation
from rtseg.training.pictures import write_pictures
from rtseg.training.samples import Scored


class LearningPictures(L.Callback):
    """Write ``pictures/epoch-0010.png`` and such after validations, and ``learning.gif`` at the end.

    Args:
        every: After how many epochs at least; 0 for no pictures.
        count: How many pictures of the validation set, spread evenly over it.
    """

    def __init__(self, every: int = 10, count: int = 3) -> None:
        self._every = every
        self._count = count
        self._last = -1
        self._kept: list[tuple[Scored, NDArray[np.uint8]]] = []

    def state_dict(self) -> dict[str, Any]:
        """Return when pictures were last written."""
        return {"last": self._last}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        self._last = state_dict["last"]

    def _due(self, trainer: L.Trainer) -> bool:
        epoch = trainer.current_epoch + 1
        final = trainer.max_epochs is not None and epoch >= trainer.max_epochs
        ready = self._last < 0 or epoch - self._last >= self._every or final
        return (
            bool(self._every)
            and ready
            and trainer.is_global_zero
            and trainer.state.fn == "fit"
            and not trainer.sanity_checking
        )

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget the pictures of last time."""
        self._kept = []

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Scored,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the pictures that are shown, and their masks."""
        counts: Any = trainer.num_val_batches
        total = int(sum(counts) if isinstance(counts, list) else counts)
        wanted = {round((i + 0.5) * total / self._count - 0.5) for i in range(self._count)}
        if self._due(trainer) and batch_idx in wanted:
            self._kept.append((batch, outputs))

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Write the sheet."""
        if not self._due(trainer) or not self._kept:
            return
        epoch = trainer.current_epoch + 1
        self._last = epoch
        path = Path(trainer.default_root_dir) / "pictures" / f"epoch-{epoch:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_pictures(
            [scored.frame for scored, _ in self._kept],
            [scored.truth for scored, _ in self._kept],
            [mask for _, mask in self._kept],
            pl_module.table,
            path,
            caption=f"epoch {epoch}, val mIoU {pl_module.confusion.miou:.3f}",
        )
        self._kept = []

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Assemble the animation, of this run's epochs and those before its resumption."""
        if not trainer.is_global_zero or not self._every:
            return
        folder = Path(trainer.default_root_dir)
        stills = sorted((folder / "pictures").glob("epoch-*.png"))
        if len(stills) > 1:
            write_animation(stills, folder / "learning.gif", fps=2)
