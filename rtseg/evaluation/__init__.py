"""Measures of accuracy, in NumPy."""

from rtseg.evaluation.boundary import BoundaryF1
from rtseg.evaluation.confusion import ConfusionMatrix

__all__ = ["BoundaryF1", "ConfusionMatrix"]
