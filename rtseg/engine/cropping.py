"""Crops to the size of a skip connection, in a traced graph: of any size, instead of the traced one."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

CROP = "crop_to_skip"
"""What the names of the nodes begin with that :func:`crop_to_skips` makes."""


def crop_to_skips(graph: onnx.GraphProto) -> None:
    """Let every crop that meets a skip connection take its size from there.

    A decoder writes ``torch.cat((x[..., :h, :w], skip), 1)`` or adds the two, with (h, w) the skip's
    size. A trace at one size holds that size as numbers; here they become ``Shape(skip)``. The trace
    must have been made at a size at which every crop crops, or it is not in the graph.
    """
    producers = {name: node for node in graph.node for name in node.output}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type in ("Concat", "Add") and len(node.input) == 2:
            for place, name in enumerate(node.input):
                source = name
                while source in producers and producers[source].op_type == "Slice":
                    source = producers[source].input[0]
                if source != name:
                    nodes += _crop(source, node.input[1 - place], node.output[0])
                    node.input[place] = nodes[-1].output[0]
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    while idle := [n for n in nodes if n.op_type == "Slice" and n.output[0] not in used]:
        nodes = [n for n in nodes if n not in idle]
        used = {name for node in nodes for name in node.input}
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    for what, values in (("starts", (0, 0)), ("axes", (2, 3))):
        tensor = numpy_helper.from_array(np.array(values, np.int64), f"{CROP}_{what}")
        graph.initializer.append(tensor)
    for tensor in [t for t in graph.initializer if t.name not in used]:  # the traced sizes
        graph.initializer.remove(tensor)


def _crop(source: str, skip: str, label: str) -> list[onnx.NodeProto]:
    """Return the nodes that cut ``source`` (N, C, H, W) to the height and width of ``skip``."""
    name = f"{CROP}_{label}"
    return [
        helper.make_node("Shape", [skip], [f"{name}_size"], f"{name}_shape", start=2, end=4),
        helper.make_node(
            "Slice",
            [source, f"{CROP}_starts", f"{name}_size", f"{CROP}_axes"],
            [f"{name}_cropped"],
            f"{name}_slice",
        ),
    ]
