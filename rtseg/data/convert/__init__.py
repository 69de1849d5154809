"""Polygon annotations made into folders of pictures and masks.

A reader (:func:`read_labelme`, :func:`read_coco`, :func:`read_cvat`) gives :class:`Annotations`,
:func:`choose_classes` the classes, and :func:`convert` writes the folder.
"""

from rtseg.data.convert.annotation import Annotated, Annotations, Bad
from rtseg.data.convert.classes import Classes, choose_classes
from rtseg.data.convert.coco import read_coco
from rtseg.data.convert.cvat import read_cvat
from rtseg.data.convert.labelme import read_labelme
from rtseg.data.convert.write import Summary, convert, require_absent

__all__ = [
    "Annotated",
    "Annotations",
    "Bad",
    "Classes",
    "Summary",
    "choose_classes",
    "convert",
    "read_coco",
    "read_cvat",
    "read_labelme",
    "require_absent",
]
