"""Measures of accuracy, in NumPy."""

from rtseg.evaluation.confusion import ConfusionMatrix

__all__ = ["ConfusionMatrix"]
