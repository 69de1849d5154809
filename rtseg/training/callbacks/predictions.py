"""Masks on disk: what ``rtseg-train predict`` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import lightning as L
import numpy as np
from numpy.typing import NDArray

from rtseg.atomic import write_atomically
from rtseg.training.samples import Scored


class WritePredictions(L.Callback):
    """Write ``predictions/masks/NAME.png`` (class indices) and ``predictions/painted/NAME.jpg``."""

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: Any,
        outputs: NDArray[np.uint8],
        batch: Scored,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write one picture's two files."""
        folder = Path(trainer.default_root_dir) / "predictions"
        stem = Path(batch.name).stem
        palette = np.array(pl_module.table.colours, np.uint8)[:, ::-1]
        painted = cv2.addWeighted(batch.frame, 0.5, palette[outputs], 0.5, 0)
        for kind, name, picture in (
            ("masks", f"{stem}.png", outputs),
            ("painted", f"{stem}.jpg", painted),
        ):
            path = folder / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, cv2.imencode(path.suffix, picture)[1].tobytes())

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say where they are."""
        if trainer.is_global_zero:
            print(f"masks written to {Path(trainer.default_root_dir) / 'predictions'}")
