"""A row of figures an epoch: on the screen, as CSV, as curves; and how long it all took."""

from __future__ import annotations

import math
import statistics
import time
from pathlib import Path
from typing import Any

import lightning as L

from rtseg.training.curves import write_confusion, write_curves, write_rows_csv


class History(L.Callback):
    """Keep one row an epoch: losses, measures, learning rate, seconds, and the wait for data.

    ``cpu_seconds`` are those of this process, without the readers of data: what a training costs on
    a machine that others use, too.

    Writes ``metrics.csv`` and ``curves.png`` after each epoch, and ``confusion.png`` after each
    validation. The rows are part of every checkpoint, so that a resumed run's curves are whole.

    Args:
        curves: Draw ``curves.png`` and ``confusion.png``.
        lines: Print a line an epoch.
    """

    def __init__(self, curves: bool = True, lines: bool = True) -> None:
        self.rows: list[dict[str, float]] = []
        self._curves = curves
        self._lines = lines
        self._skipped = 0
        self._validated = False
        self._began = self._handed = time.perf_counter()
        self._cpu = time.process_time()
        self._waited = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return the rows."""
        return {"rows": [dict(row) for row in self.rows], "skipped": self._skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows back."""
        self.rows = list(state_dict["rows"])
        self._skipped = state_dict["skipped"]

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._began = self._handed = time.perf_counter()
        self._cpu = time.process_time()
        self._waited = 0.0
        self._validated = False

    def on_train_batch_start(self, *_: Any) -> None:
        """A batch is there: what passed since the last step was waiting for data."""
        self._waited += time.perf_counter() - self._handed

    def on_train_batch_end(self, *_: Any) -> None:
        """The step is done: the wait for the next batch begins."""
        self._handed = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Remember that this epoch has measures; draw the confusion matrix."""
        self._validated = not trainer.sanity_checking
        if self._validated and trainer.is_global_zero and trainer.state.fn == "fit":
            self._draw_confusion(trainer, pl_module)

    def _draw_confusion(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self._curves:
            path = Path(trainer.default_root_dir) / "confusion.png"
            write_confusion(pl_module.confusion.matrix, pl_module.table.names, path)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Add the row, write and print it."""
        seconds = time.perf_counter() - self._began
        row: dict[str, float] = {"epoch": trainer.current_epoch + 1}
        for name, value in trainer.callback_metrics.items():
            if name.startswith("train_") or (self._validated and name.startswith("val_")):
                row[name] = float(value)
        rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
        row["learning_rate"] = max(rates)
        row["seconds"] = round(seconds, 2)
        row["cpu_seconds"] = round(time.process_time() - self._cpu, 2)
        row["waited_for_data"] = round(self._waited / max(seconds, 1e-9), 4)
        new, pl_module.skipped = pl_module.skipped, []
        self._skipped += len(new)
        if new:
            row["skipped"] = len(new)
        self.rows.append(row)
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        write_rows_csv(self.rows, folder / "metrics.csv")
        if self._curves and len(self.rows) > 1:
            write_curves(self.rows, folder / "curves.png", folder.name)
        if self._lines:
            for line in sorted(set(new)):
                print(f"skipped: {line}", flush=True)
            print(self._line(trainer), flush=True)

    def _line(self, trainer: L.Trainer) -> str:
        row, epochs = self.rows[-1], trainer.max_epochs or 0
        text = f"epoch {row['epoch']:.0f}/{epochs}  loss {row['train_loss']:.4f}"
        if "val_miou" in row:
            best = max((r for r in self.rows if "val_miou" in r), key=lambda r: r["val_miou"])
            text += f"  val mIoU {row['val_miou']:.4f}"
            text += f" (best {best['val_miou']:.4f}, epoch {best['epoch']:.0f})"
        recent = statistics.median(r["seconds"] for r in self.rows[-10:])
        left = (epochs - row["epoch"]) * recent
        text += f"  {row['seconds']:.1f} s, {100 * row['waited_for_data']:.0f} % waiting for data"
        return text + (f"  {duration(left)} left" if left > 0 else "")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print how long the training took, resumptions included."""
        if not trainer.is_global_zero or not self.rows:
            return
        total = sum(row["seconds"] for row in self.rows)
        waited = sum(row["seconds"] * row["waited_for_data"] for row in self.rows)
        print(
            f"trained {len(self.rows)} epochs in {duration(total)},"
            f" {100 * waited / max(total, 1e-9):.1f} % of it waiting for data"
            + (f"; {self._skipped} unreadable samples skipped" if self._skipped else ""),
            flush=True,
        )


def duration(seconds: float) -> str:
    """Say a time as people do: ``42 s``, ``7 min 03 s``, ``2 h 05 min``.

    >>> duration(423)
    '7 min 03 s'
    """
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
