"""Knowledge distillation: a larger network's opinion of every pixel is a target too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rtseg.data.labels import ClassTable, merge_table
from rtseg.engine.export import load_checkpoint
from rtseg.errors import UsageError
from rtseg.training.weights import find_weights


class Teacher:
    """A trained network and how much its opinion counts (Hinton et al. 2015, arXiv:1503.02531).

    Declared in a recipe as ``teacher: {checkpoint: FILE, factor: 1.0, temperature: 1.0}``. It may
    know more classes than the student: their probabilities are added up where the student has one
    class for several, by name, and ``background`` for all that it does not name.

    It is no ``nn.Module``, so that it is neither trained, nor averaged, nor saved with the student.
    """

    def __init__(self, declared: Mapping[str, Any], classes: ClassTable) -> None:
        known = {"checkpoint": "", "factor": 1.0, "temperature": 1.0}
        for key in declared:
            if key not in known:
                raise UsageError(f"model.teacher.{key}: unknown key: one of {', '.join(known)}")
        values = {**known, **declared}
        if not values["checkpoint"] or not isinstance(values["checkpoint"], str):
            raise UsageError("model.teacher.checkpoint is missing: give a safetensors file")
        for key in ("factor", "temperature"):
            value = values[key]
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                raise UsageError(f"model.teacher.{key} is {value!r}: a number above 0")
        self.factor = float(values["factor"])
        self.temperature = float(values["temperature"])
        network, spec = load_checkpoint(find_weights(values["checkpoint"]))
        own = ClassTable(spec.classes, spec.palette)
        table = merge_table(own, classes, None)[: len(own.names)].tolist()
        if sorted(set(table)) != list(range(len(classes.names))):
            raise UsageError(
                f"model.teacher.checkpoint: {values['checkpoint']} knows the classes"
                f" {', '.join(own.names)}; the recipe's are {', '.join(classes.names)}"
            )
        self._parts = [[i for i, c in enumerate(table) if c == k] for k in range(max(table) + 1)]
        self.network: Any = network.requires_grad_(False)

    def __deepcopy__(self, _: object) -> Teacher:
        return self  # the weights' average copies the task, and needs no teacher of its own

    def to(self, device: torch.device) -> None:
        """Move the network to ``device``."""
        self.network.to(device)

    def _merged(self, log_probabilities: Tensor) -> Tensor:
        """Add the probabilities of the classes up to the student's."""
        if all(len(part) == 1 for part in self._parts):
            return log_probabilities[:, [part[0] for part in self._parts]]
        parts = [log_probabilities[:, part].logsumexp(1) for part in self._parts]
        return torch.stack(parts, 1)

    def loss(self, pictures: Tensor, logits: Tensor) -> Tensor:
        """Return ``factor`` × T² × KL(teacher ‖ student), averaged over pixels.

        ``pictures`` (N, 3, H, W) normalised; ``logits`` the student's, at whose stride the opinions
        are compared.
        """
        with torch.no_grad():
            opinion = self.network(pictures).float()
        if opinion.shape[-2:] != logits.shape[-2:]:
            opinion = F.interpolate(
                opinion, logits.shape[-2:], mode="bilinear", align_corners=False
            )
        student = (logits.float() / self.temperature).log_softmax(1)
        teacher = self._merged((opinion / self.temperature).log_softmax(1))
        divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(1).mean()
        return self.factor * self.temperature**2 * divergence
