"""What is trained: a network, its losses, its optimizer, and how it is scored."""

from __future__ import annotations

import math
from typing import Any, Literal, cast

import cv2
import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rtseg.data.labels import VOID, class_table
from rtseg.errors import InputError, UsageError, one_line
from rtseg.evaluation import BoundaryF1, ConfusionMatrix
from rtseg.models import build
from rtseg.models.normalisation import normalise
from rtseg.training.chance import chance
from rtseg.training.distillation import Teacher
from rtseg.training.losses import build_loss
from rtseg.training.optimisation import build_optimizer, build_schedule
from rtseg.training.samples import Batch, Scored
from rtseg.training.weights import load_encoder, load_start, require_same_network

Frozen = Literal["encoder", "batch-norm"]


class SegmentationTask(L.LightningModule):
    """Everything a recipe's ``model`` key says.

    Args:
        architecture: A name that ``python -m rtseg.models`` lists.
        options: Options of the architecture, such as ``{dropout: 0.1}``.
        encoder_weights: ImageNet weights of the encoder (safetensors or .pth), or null.
        start: A trained network to begin from: a zoo network's name or a safetensors file.
        loss: Terms that are added up, each ``{name: ..., factor: ...}`` with the term's options.
        learning_rate: The peak, for everything but the encoder.
        encoder_factor: The encoder's share of the learning rate.
        weight_decay: Of weights; biases and normalisation are not decayed.
        optimizer: ``{name: adamw}`` or ``{name: sgd, momentum: 0.9}``.
        schedule: ``{name: one-cycle | poly | plateau | constant}`` with its options.
        freeze: ``encoder`` (its weights stay) and ``batch-norm`` (its statistics stay).
        freeze_epochs: For how many epochs the encoder is frozen at first.
        teacher: ``{checkpoint: FILE, factor: 1.0, temperature: 1.0}`` for distillation.
        classes: Set by ``data.classes``.
        size: Set by ``data.size``.
    """

    def __init__(
        self,
        architecture: str,
        loss: list[dict[str, Any]],
        learning_rate: float,
        options: dict[str, Any] | None = None,
        encoder_weights: str | None = None,
        start: str | None = None,
        encoder_factor: float = 1.0,
        weight_decay: float = 0.01,
        optimizer: dict[str, Any] | None = None,
        schedule: dict[str, Any] | None = None,
        freeze: list[Frozen] | None = None,
        freeze_epochs: int = 0,
        teacher: dict[str, Any] | None = None,
        classes: str = "road",
        size: tuple[int, int] = (512, 256),
        seed: int = 0,
    ) -> None:
        super().__init__()
        for key, value in (
            ("learning_rate", learning_rate),
            ("encoder_factor", encoder_factor),
            ("weight_decay", weight_decay),
            ("freeze_epochs", freeze_epochs),
        ):
            if value < 0:
                raise UsageError(f"model.{key} is {value}: 0 or more")
        self.table = class_table(classes)
        self.size = (size[0], size[1])
        options = options or {}
        try:
            network: Any = build(architecture, len(self.table.names), **options)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"model.architecture and model.options do not fit: {one_line(error)}"
            ) from error
        if encoder_weights:
            load_encoder(network, encoder_weights)
        if start:
            load_start(network, start)
        self.network: nn.Module = network.to(memory_format=torch.channels_last)
        self.description = {
            "architecture": architecture,
            "options": options,
            "classes": list(self.table.names),
            "palette": [list(colour) for colour in self.table.colours],
            "size": list(self.size),
        }
        self._freeze = set(freeze or ())
        self._freeze_epochs = freeze_epochs
        if "encoder" in self._freeze:
            network.encoder.requires_grad_(False)
        self._declared_loss = loss
        count = len(self.table.names)  # equal shares until the data are there: see setup
        self._loss = build_loss(loss, count, [1 / count] * count)
        self._optimizer = optimizer or {"name": "adamw"}
        self._schedule = schedule or {"name": "constant"}
        self._rates = (learning_rate, encoder_factor, weight_decay)
        self._seed = seed
        self._teacher = Teacher(teacher, self.table) if teacher else None
        self.confusion = ConfusionMatrix(len(self.table.names))
        self._boundary: BoundaryF1 | None = None
        self._val_loss = [0.0, 0.0]
        self.skipped: list[str] = []

    def forward(self, pictures: Tensor) -> Tensor:
        """Map (N, 3, H, W) uint8 RGB to logits (N, classes, H / stride, W / stride)."""
        normalised = normalise(pictures).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.network(normalised)
        return logits

    def setup(self, stage: str) -> None:
        """Build what needs the data: class weights."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if self._loss.needs_frequencies and stage == "fit" and data is not None:
            self._loss = build_loss(self._declared_loss, len(self.table.names), data.frequencies())

    def configure_optimizers(self) -> Any:
        """Return the optimizer, and its schedule where there is one."""
        optimizer = build_optimizer(self.network, self._optimizer, *self._rates)
        every = self.trainer.check_val_every_n_epoch or 1
        schedule = build_schedule(optimizer, self._schedule, self._steps(), every=every)
        return {"optimizer": optimizer, "lr_scheduler": schedule} if schedule else optimizer

    def _steps(self) -> int:
        """Count the optimizer steps of the whole training.

        ``trainer.estimated_stepping_batches`` would begin the first epoch's samples for it, before a
        resumed training knows which epoch it is.
        """
        trainer, data = self.trainer, cast(Any, self.trainer).datamodule
        batches: int = data.samples_an_epoch() // (data.batch * trainer.world_size)
        limit = trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * (limit or 1))
        steps = max(trainer.max_epochs or 1, 1) * math.ceil(
            batches / trainer.accumulate_grad_batches
        )
        return min(steps, trainer.max_steps) if trainer.max_steps > 0 else steps

    def on_train_epoch_start(self) -> None:
        """Give the epoch its own random numbers, and leave frozen layers as they are."""
        torch.manual_seed(chance(self._seed, "epoch", self.current_epoch, self.global_rank))
        if self._teacher is not None:
            self._teacher.to(self.device)
        network: Any = self.network
        self.network.train()
        if self._encoder_rests():
            network.encoder.eval()
        if "batch-norm" in self._freeze:
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _encoder_rests(self) -> bool:
        return "encoder" in self._freeze or self.current_epoch < self._freeze_epochs

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the loss of one batch."""
        self.skipped.extend(batch.skipped)
        if batch.failure:
            raise InputError(batch.failure)
        pictures = normalise(batch.pictures).contiguous(memory_format=torch.channels_last)
        logits = self.network(pictures)
        loss, parts = self._loss(logits, batch.targets)
        if self._teacher is not None:
            taught = self._teacher.loss(pictures, logits)
            loss, parts = loss + taught, {**parts, "distillation": taught.detach()}
        count = len(batch.pictures)
        self.log("train_loss", loss.detach(), on_step=False, on_epoch=True, batch_size=count)
        if len(parts) > 1:
            for name, part in parts.items():
                self.log(f"train_loss/{name}", part, on_epoch=True, on_step=False, batch_size=count)
        result: Tensor = loss
        return result

    def on_before_optimizer_step(self, _: torch.optim.Optimizer) -> None:
        """Take the gradients from an encoder that is frozen for now: no step, no decay."""
        if self.current_epoch < self._freeze_epochs:
            network: Any = self.network
            for parameter in network.encoder.parameters():
                parameter.grad = None

    def predict_mask(self, scored: Scored) -> tuple[Tensor, NDArray[np.uint8]]:
        """Return the logits at the network's size, and the mask at the picture's own."""
        if scored.failure:
            raise InputError(scored.failure)
        logits = F.interpolate(
            self(scored.picture).float(), self.size[::-1], mode="bilinear", align_corners=False
        )
        small = logits.argmax(1)[0].to(torch.uint8).cpu().numpy()
        height, width = scored.frame.shape[:2]
        mask = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        return logits, mask.astype(np.uint8, copy=False)

    def _score(self, scored: Scored) -> NDArray[np.uint8]:
        logits, mask = self.predict_mask(scored)
        self.confusion.add(scored.truth, mask)
        truth = cv2.resize(scored.truth, self.size, interpolation=cv2.INTER_NEAREST_EXACT)
        if (truth != VOID).any():
            target = torch.from_numpy(truth).long()[None].to(logits.device)
            self._val_loss[0] += float(F.cross_entropy(logits, target, ignore_index=VOID))
            self._val_loss[1] += 1
        return mask

    def _reset(self) -> None:
        self.confusion = ConfusionMatrix(len(self.table.names))
        self._val_loss = [0.0, 0.0]

    def _gather(self, stage: str) -> None:
        """Sum the counts over all ranks, then log what follows from them."""
        counts = torch.from_numpy(self.confusion.counts.copy()).to(self.device)
        losses = torch.tensor(self._val_loss, dtype=torch.float64).to(self.device)
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(counts)
            torch.distributed.all_reduce(losses)
        self.confusion = ConfusionMatrix.of(counts.cpu().numpy())
        rows = {
            f"{stage}_loss": float(losses[0] / losses[1].clamp(min=1)),
            f"{stage}_miou": self.confusion.miou,
            f"{stage}_pixel_accuracy": self.confusion.pixel_accuracy,
            f"{stage}_dice": self.confusion.mean_dice,
        }
        names = [name.lower() for name in self.table.names]
        rows |= {
            f"{stage}_iou/{name}": float(iou)
            for name, iou in zip(names, self.confusion.iou, strict=True)
        }
        self.log_dict(rows, rank_zero_only=False)

    def on_validation_epoch_start(self) -> None:
        """Begin a new count."""
        self._reset()

    def validation_step(self, scored: Scored, index: int) -> Any:
        """Score one picture; returns its mask."""
        return self._score(scored)

    def on_validation_epoch_end(self) -> None:
        """Log the measures of the whole set."""
        self._gather("val")

    def on_test_epoch_start(self) -> None:
        """Begin a new count."""
        self._reset()
        self._boundary = BoundaryF1(len(self.table.names))

    def test_step(self, scored: Scored, index: int) -> Any:
        """Score one picture, its boundaries too; returns its mask."""
        mask = self._score(scored)
        assert self._boundary is not None
        self._boundary.add(scored.truth, mask)
        return mask

    def on_test_epoch_end(self) -> None:
        """Log the measures of the whole set."""
        self._gather("test")
        assert self._boundary is not None
        sums = torch.from_numpy(self._boundary.sums.copy()).to(self.device)
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(sums)
        self._boundary = BoundaryF1.of(sums.cpu().numpy())
        self.log("test_boundary_f1", self._boundary.mean, rank_zero_only=False)

    def predict_step(self, scored: Scored, _: int) -> NDArray[np.uint8]:
        """Return the picture's mask, at its own size."""
        return self.predict_mask(scored)[1]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say which network the weights belong to."""
        checkpoint["rtseg"] = dict(self.description)
        checkpoint["planned_steps"] = self._planned_steps()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another network, or of a schedule of another length."""
        require_same_network(checkpoint.get("rtseg"), self.description)
        now = self._planned_steps()
        planned = checkpoint.get("planned_steps", now)
        if self.trainer.state.fn == "fit" and planned != now:
            raise UsageError(
                f"the training to resume was planned for {planned} steps, now {now}: a"
                f" {self._schedule['name']} schedule cannot be stretched; begin another training with"
                " model.start: FILE.safetensors"
            )

    def _planned_steps(self) -> int | None:
        """Return the steps over which the schedule is laid out, or None where it has no end."""
        laid_out = self._schedule.get("name") in ("one-cycle", "poly")
        return self._steps() if laid_out and self.trainer.state.fn == "fit" else None


def state_of_network(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the network's own tensors of a checkpoint's ``state_dict``."""
    return {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
