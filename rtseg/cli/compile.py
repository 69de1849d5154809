"""``rtseg-compile``: checkpoint → network file → engine, with the parity check; and the cache."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rtseg.atomic import require_writable, write_atomically
from rtseg.cli.arguments import BACKENDS_HELP, PRECISIONS_HELP, Parser, run, size, whole
from rtseg.cli.quantise_command import add_arguments, quantise
from rtseg.errors import UsageError

if TYPE_CHECKING:
    from rtseg.engine import Engine
    from rtseg.engine.cache import EngineCache
    from rtseg.engine.tensorrt.options import BuildOptions
    from rtseg.spec import NetworkFile

PROG = "rtseg-compile"
_EPILOG = """\
A checkpoint (.safetensors, from training) is first exported as a network file, which needs the
train extra. A network file or a network of the zoo is compiled into this machine's engine cache,
and its masks are compared with an FP32 reference: below 99 % agreement it is refused.

  rtseg-compile road-unet
  rtseg-compile road-unet --backend onnxruntime --size 1024x512
  rtseg-compile road-unet --backend tensorrt --precision fp16 --out road-unet.engine
  rtseg-compile runs/road-unet/best.safetensors --out road-unet.onnx --name road-unet
  rtseg-compile road-unet.onnx --int8 frames/train
  rtseg-compile --list"""

_FOR_TENSORRT = (
    "workspace", "optimisation_level", "timing_cache", "version_compatible", "ampere_plus",
)  # fmt: skip


def parser() -> Parser:
    """Build the argument parser."""
    p = Parser(PROG, "Make a network file of a checkpoint, and an engine of a network.", _EPILOG)
    p.add_argument(
        "network", nargs="?", help="a network of the zoo, a network file, or a checkpoint"
    )
    p.add_argument("--spec", action="store_true", help="print the network's spec as JSON, and stop")

    engine = p.add_argument_group("engine")
    engine.add_argument("--backend", metavar="NAME", help=BACKENDS_HELP)
    engine.add_argument("--precision", metavar="NAME", help=PRECISIONS_HELP)
    engine.add_argument("--size", type=size, metavar="WxH", help="the network's input size")
    engine.add_argument(
        "--batch", type=whole(1), default=1, metavar="N", help="frames taken at once (default: 1)"
    )
    engine.add_argument(
        "--frames", type=whole(1), default=20, metavar="N", help="of the parity check (default: 20)"
    )
    engine.add_argument(
        "--rebuild", action="store_true", help="build anew what is in the cache already"
    )

    tensorrt = p.add_argument_group("engine, with --backend tensorrt")
    tensorrt.add_argument(
        "--workspace", type=whole(1), metavar="MIB", help="the most a layer may use besides"
    )
    tensorrt.add_argument(
        "--optimisation-level", type=whole(0), metavar="N", help="0 to 5: higher builds longer"
    )
    tensorrt.add_argument(
        "--timing-cache", type=Path, metavar="FILE", help="default: in the engine cache"
    )
    tensorrt.add_argument(
        "--version-compatible", action="store_true", help="runs on later TensorRT versions too"
    )
    tensorrt.add_argument(
        "--ampere-plus", action="store_true", help="runs on every GPU from Ampere on"
    )

    add_arguments(p)

    cache = p.add_argument_group("engine cache (of one network, if NETWORK is its name)")
    cache.add_argument("--list", action="store_true", help="list what is in it, with its validity")
    cache.add_argument("--json", action="store_true", help="with --list: as JSON")
    cache.add_argument("--clear", action="store_true", help="empty it")

    file = p.add_argument_group("files")
    file.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="FILE.onnx: the network file of a checkpoint (default: beside it); FILE.engine: "
        "TensorRT's plan for other programs, and FILE.engine.json, what it is for",
    )
    file.add_argument("--half", action="store_true", help="FP16 weights and arithmetic")
    file.add_argument(
        "--mask-at-stride", action="store_true", help="masks at the logits' stride, not full size"
    )
    file.add_argument("--name", help="the network's name (default: the file's)")
    file.add_argument("--training-data", default="", metavar="TEXT")
    file.add_argument("--recipe", default="", metavar="TEXT")
    file.add_argument("--licence", default="", metavar="TEXT")
    file.add_argument(
        "--measured", type=Path, metavar="FILE.json", help="measured accuracy: names and numbers"
    )
    return p


def _command(options: argparse.Namespace) -> int:
    if options.list and options.clear:
        raise UsageError("--list and --clear: one at a time")
    if options.json and not options.list:
        raise UsageError("--json goes with --list")
    if options.list or options.clear:
        from rtseg.cli.compile_cache import clear_cache, list_cache

        if options.clear:
            return clear_cache(options.network)
        return list_cache(options.network, as_json=options.json)
    if options.network is None:
        raise UsageError("which network? Give a name of the zoo, a network file or a checkpoint")
    if options.int8 is not None:
        return quantise(options, PROG)
    return _compile(options)


def _compile(options: argparse.Namespace) -> int:
    from rtseg.spec import describe

    _check(options)
    name: str | Path = options.network
    if Path(options.network).suffix == ".safetensors":
        from rtseg.cli.compile_export import export_checkpoint

        name = export_checkpoint(options)
    from rtseg.engine import find_network
    from rtseg.engine.cache import EngineCache
    from rtseg.engine.parity import check

    network = find_network(name)
    if options.spec:
        spec = find_network(name, options.precision).spec
        print(json.dumps(describe(spec), indent=1, ensure_ascii=False))
        return 0
    cache = EngineCache(fresh=options.rebuild)
    start = time.perf_counter()
    with _engine(options, name, network, cache) as engine:
        seconds = time.perf_counter() - start
        spec = engine.spec
        how = "compiled" if engine.built else "taken from the cache"
        batch = f" × {options.batch}" if options.batch > 1 else ""
        print(
            f"{spec.name} {spec.width}x{spec.height}{batch}: {engine.backend} {engine.precision} on "
            f"{engine.device}, {how} in {seconds:.2f} s",
            flush=True,
        )
        parity = check(engine, network, cache, frames=options.frames)
    print(
        f"parity with {parity.reference}: {parity.share:.4%} of the pixels of {parity.frames} frames"
    )
    if parity.unchecked:
        print(f"logits: not checked for overflow: {parity.unchecked}")
    elif parity.not_finite == 0:
        print("logits: all finite in FP16")
    if (path := cache.stored()) is not None:
        print(f"engine: {path}, {path.stat().st_size / 1e6:.1f} MB")
    parity.require(spec.name)
    if options.out is not None and options.out.suffix.lower() == ".engine":
        _write_plan(options.out, cache)
    return 0


def _check(options: argparse.Namespace) -> None:
    """``UsageError`` for arguments that do not go together, before any work."""
    if options.backend != "tensorrt":
        for name in _FOR_TENSORRT:
            if getattr(options, name) not in (None, False):
                raise UsageError(f"--{name.replace('_', '-')} goes with --backend tensorrt")
    if options.timing_cache is not None:
        require_writable(options.timing_cache)
    if options.out is None:
        return
    if options.out.suffix.lower() == ".engine":
        if options.backend != "tensorrt":
            raise UsageError(f"--out {options.out}: an engine's file goes with --backend tensorrt")
        require_writable(options.out)
        require_writable(_sidecar(options.out))
    elif Path(options.network).suffix != ".safetensors":
        raise UsageError(f"--out {options.out}: of a network only FILE.engine can be written")


def _engine(
    options: argparse.Namespace, name: str | Path, network: NetworkFile, cache: EngineCache
) -> Engine:
    from rtseg.cli.compile_progress import BuildProgress
    from rtseg.engine import load

    with BuildProgress(PROG, network.spec.name) as progress:
        if options.backend == "tensorrt":
            from rtseg.engine.tensorrt.engine import TensorRTEngine

            build = _build_options(options, network)
            if options.size is not None:
                spec = network.spec.resized(*options.size)
                network = replace(network, spec=spec)
            return TensorRTEngine(
                network, build.precision, "throughput", cache, build.batch,
                options=build, on_progress=progress,
            )  # fmt: skip
        return load(
            name,
            backend=options.backend,
            precision=options.precision,
            size=options.size,
            batch=options.batch,
            cache=cache,
            on_progress=progress,
            check=False,  # it follows
        )


def _build_options(options: argparse.Namespace, network: NetworkFile) -> BuildOptions:
    from rtseg.engine.tensorrt.engine import default_precision
    from rtseg.engine.tensorrt.options import BuildOptions

    build = BuildOptions(
        precision=options.precision or default_precision(network),
        batch=options.batch,
        workspace_bytes=None if options.workspace is None else options.workspace << 20,
        optimisation_level=options.optimisation_level,
        version_compatible=options.version_compatible,
        ampere_plus=options.ampere_plus,
        timing_cache=options.timing_cache,
    )
    build.check()
    return build


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _write_plan(path: Path, cache: EngineCache) -> None:
    """Write the engine's plan as TensorRT made it, and beside it what it is for."""
    found = cache.last()
    assert found is not None  # the engine has just come from there
    plan, head = found
    write_atomically(path, plan)
    text = json.dumps(head, indent=1, ensure_ascii=False) + "\n"
    write_atomically(_sidecar(path), text.encode())
    print(f"{path}: TensorRT plan, {len(plan) / 1e6:.1f} MB, described in {_sidecar(path).name}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parser().parse_args(arguments)
    status = run(PROG, lambda: _command(options))
    if status == 130 and arguments is None:
        from rtseg.engine.tensorrt.cancelling import still_building

        if still_building():
            # TensorRT would crash under the interpreter's end, and cannot be made to stop.
            sys.stdout.flush()
            os._exit(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
