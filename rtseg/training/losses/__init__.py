"""Losses for segmentation; every one leaves VOID pixels out.

A loss takes the log-softmax, so that a sum of several computes it once, and in a distributed
training gives the gradients of one process with all ranks' samples (OHEM and Lovász say how far).
"""

from rtseg.training.losses.build import LOSSES, build_loss
from rtseg.training.losses.lovasz import LovaszSoftmax
from rtseg.training.losses.overlap import Dice, FocalTversky, Tversky
from rtseg.training.losses.pixelwise import CrossEntropy, Focal, OhemCrossEntropy
from rtseg.training.losses.total import Loss, LossSum
from rtseg.training.losses.weights import enet_weights, median_frequency_weights

__all__ = [
    "LOSSES",
    "CrossEntropy",
    "Dice",
    "Focal",
    "FocalTversky",
    "Loss",
    "LossSum",
    "LovaszSoftmax",
    "OhemCrossEntropy",
    "Tversky",
    "build_loss",
    "enet_weights",
    "median_frequency_weights",
]
