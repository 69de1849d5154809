"""What torch-tensorrt makes of a checkpoint: a program with TensorRT engines in it, checked."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import tempfile
from pathlib import Path
from typing import Any

from rtseg.errors import BackendError
from rtseg.spec import NetworkFile


def gpu(torch: Any) -> Any:
    """The device that everything of this backend is on."""
    return torch.device("cuda", 0)


def _checkpoint(network: NetworkFile) -> Path:
    """The checkpoint that a network file was exported from: ``X.safetensors`` beside ``X.onnx``."""
    path = network.path.with_name(network.path.name.split(".")[0] + ".safetensors")
    if network.path.with_suffix(".safetensors").exists():
        path = network.path.with_suffix(".safetensors")
    if not path.exists():
        raise BackendError(
            f"{network.path}: torch-tensorrt builds from the checkpoint, and {path} is not there: "
            "put it there, or take another --backend"
        )
    return path


def _export(torch: Any, network: NetworkFile, precision: str, batch: int) -> tuple[Any, Any]:
    """The contract's graph of the checkpoint as torch exports it, and an example of its input."""
    from rtseg.engine.export import Contract, load_checkpoint

    path = _checkpoint(network)
    spec = network.spec
    model, found = load_checkpoint(path)
    if found.classes != spec.classes:
        raise BackendError(
            f"{path}: has {len(found.classes)} classes, {network.path} {len(spec.classes)}: "
            "it is another network's checkpoint"
        )
    contract = Contract(model, full_size=spec.mask_stride == 1).eval()
    if precision == "fp16":
        contract = contract.half()
    contract = contract.to(gpu(torch))
    example = torch.zeros((batch, spec.height, spec.width, 3), dtype=torch.uint8, device=gpu(torch))
    with torch.no_grad():
        program = torch.export.export(contract, (example,))
    _require_dtypes(
        torch, program.state_dict.values(), precision, f"{path}: torch exported weights of"
    )
    return program, example


def build(
    torch: Any, torch_tensorrt: Any, network: NetworkFile, precision: str, batch: int
) -> bytes:
    """Compile, check the precision, and return the saved program."""
    program, example = _export(torch, network, precision, batch)
    compile_ = torch_tensorrt.dynamo.compile
    settings: dict[str, Any] = {"min_block_size": 1, "disable_tf32": True}
    # The casts from and to uint8 are left to torch where TensorRT has no place for them: that is
    # torch-tensorrt's own partition. Types are those of the graph: from 2.13 on always, from 2.6 on
    # if asked to. ``enabled_precisions`` was the way before; 2.13 takes it without heeding it.
    known = inspect.signature(compile_).parameters
    typed = "use_explicit_typing" in known or "enabled_precisions" not in known
    if "use_explicit_typing" in known:
        settings["use_explicit_typing"] = True
    elif not typed and precision == "fp16":
        settings["enabled_precisions"] = {torch.float16}
    said = io.StringIO()
    with contextlib.redirect_stdout(said), torch.no_grad():
        module = compile_(program, inputs=[example], **settings)
    require_precision(torch, module, precision, typed=typed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.pt2"
        with contextlib.redirect_stdout(said):
            torch_tensorrt.save(
                module, str(path), output_format="exported_program", inputs=[example]
            )
        return path.read_bytes()


def _require_dtypes(torch: Any, values: Any, precision: str, what: str) -> None:
    wanted = torch.float16 if precision == "fp16" else torch.float32
    tensors = (v for v in values if isinstance(v, torch.Tensor) and v.is_floating_point())
    others = {str(v.dtype) for v in tensors if v.dtype != wanted}
    if others:
        raise BackendError(f"{what} {', '.join(sorted(others))}, not {wanted}")


def require_precision(torch: Any, module: Any, precision: str, *, typed: bool) -> None:
    """Check what torch-tensorrt has built; ``BackendError`` if it is of another precision.

    Looked at: whether there is a TensorRT engine at all, the weights left to torch, and the types
    of every convolution where the engine tells them, else those that go in and out of it. Where
    nothing tells it, ``typed`` has to do: an engine that is built to keep the graph's types, whose
    weights have been looked at before.
    """
    engines = {
        name: part
        for name, part in module.named_modules()
        if type(part).__name__.endswith("TorchTensorRTModule")
    }
    if not engines:
        raise BackendError("torch-tensorrt put nothing of this network into TensorRT")
    _require_dtypes(
        torch, module.state_dict().values(), precision, "torch-tensorrt left weights of"
    )
    if precision != "fp16":
        return
    for name, engine in engines.items():
        types = _layer_types(engine) or _node_types(module, name)
        if any(word in t for t in types for word in ("FP32", "Float", "torch.float32")):
            raise BackendError(
                f"torch-tensorrt built {name} in FP32, though FP16 was asked for: take "
                "--backend tensorrt, or ask for --precision fp32"
            )
        kept = typed and getattr(getattr(engine, "settings", None), "use_explicit_typing", True)
        if not types and not kept:
            raise BackendError(
                f"torch-tensorrt does not tell in which precision it built {name}: take "
                "--backend tensorrt"
            )


def _layer_types(engine: Any) -> set[str]:
    """The types of what a TensorRT engine's convolutions give, where it tells them."""
    try:
        layers = json.loads(engine.get_layer_info())["Layers"]
    except Exception:  # not every release has it, or tells more than names
        return set()
    found = set()
    for layer in layers:
        if isinstance(layer, dict) and "onv" in f"{layer.get('LayerType')}{layer.get('Name')}":
            for output in layer.get("Outputs", ()):
                found.add(str(output.get("Datatype") or output.get("Format/Datatype", "")))
    return found - {""}


def _node_types(module: Any, name: str) -> set[str]:
    """The floating types of what goes into an engine and comes out of it, as the graph tells."""
    found = set()
    graph = getattr(module, "graph", None)
    for node in () if graph is None else graph.nodes:
        if node.op == "call_module" and str(node.target) == name:
            for one in (node, *node.all_input_nodes):
                value = one.meta.get("val")
                for tensor in value if isinstance(value, (tuple, list)) else (value,):
                    if tensor is not None and tensor.is_floating_point():
                        found.add(str(tensor.dtype))
    return found
