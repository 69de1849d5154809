"""``rtseg-bench --peer``: other people's networks, made into network files for the same job."""

from __future__ import annotations

import importlib
import io
import logging
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from rtseg.engine import Mode
from rtseg.errors import BackendError, NetworkError, UsageError, one_line, require_extra
from rtseg.evaluation.contender import Contender
from rtseg.evaluation.workers import Progress, Worker

log = logging.getLogger("rtseg")

_LIBRARIES = {
    "smp": ("segmentation_models_pytorch", "segmentation_models.pytorch"),
    "torchvision": ("torchvision", "torchvision"),
}
_OPSET = 17


@dataclass(frozen=True)
class Made:
    """A peer as a network file: where it lies, and what is to be said of it."""

    path: str
    weights: str
    classes: bool


def require_peers(peers: Sequence[str]) -> None:
    """Check what peers need, before anything is measured; ``UsageError`` names what is missing."""
    if not peers:
        return
    require_extra("--peer", "peers", "onnx")
    for peer in peers:
        library, _, rest = peer.partition(":")
        if library in _LIBRARIES and rest:
            require_extra(f"--peer {peer}", "smp", "torch", "onnxscript", _LIBRARIES[library][0])
        elif not Path(peer).is_file():
            raise UsageError(
                f"--peer {peer}: no such file: give an ONNX file, smp:Unet/mobilenet_v2 or "
                "torchvision:lraspp_mobilenet_v3_large"
            )


class Maker:
    """Makes a peer's network file; in a process of its own, since PyTorch leaves a lot behind."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def make(
        self,
        peer: str,
        out: Path,
        size: tuple[int, int] | None,
        default: tuple[int, int],
        classes: int,
    ) -> Made:
        """Write the network file at ``out`` for frames of ``size``, or of its own or the default's.

        Networks of a library have ``classes`` of them and random weights: nothing is downloaded.
        """
        from rtseg.cli.bench_wrap import wrap

        library, _, rest = peer.partition(":")
        if library not in _LIBRARIES:
            _, known = wrap(Path(peer), out, size, default)
            return Made(str(out), "trained", known)
        plain = out.with_name("plain.onnx")
        _export(_build(peer, library, rest, classes), plain, size or default)
        wrap(plain, out, size, default)
        plain.unlink()
        return Made(str(out), "random", False)


def _build(peer: str, library: str, name: str, classes: int) -> Any:
    """Build a library's network with random weights, as a PyTorch module that gives logits."""
    module, title = _LIBRARIES[library]
    try:
        found = importlib.import_module(module)
    except (ImportError, RuntimeError) as error:  # a torchvision that was built for another torch
        raise UsageError(
            f"--peer {peer}: {title} is there but does not import ({one_line(error)}): install a "
            "torchvision that fits this torch"
        ) from error
    try:
        if library == "torchvision":
            models = found.models
            known = models.list_models(module=models.segmentation)
            if name not in known:
                raise UsageError(f"--peer {peer}: no such network: one of {', '.join(known)}")
            return models.get_model(name, weights=None, weights_backbone=None, num_classes=classes)
        architecture, _, encoder = name.partition("/")
        make: Any = getattr(found, architecture, None)
        if not isinstance(make, type):
            raise UsageError(f"--peer {peer}: {title} has no {architecture}")
        options = {"encoder_name": encoder} if encoder else {}
        construct: Any = make
        return construct(**options, encoder_weights=None, classes=classes)
    except (KeyError, ValueError, TypeError) as error:
        raise UsageError(f"--peer {peer}: cannot be built: {one_line(error)}") from error


def _export(model: Any, path: Path, size: tuple[int, int]) -> None:
    """Write a PyTorch network that takes (1, 3, H, W) as ONNX, with healthy statistics."""
    import torch

    class Logits(torch.nn.Module):
        """Gives the logits alone, where a network gives them by name beside others."""

        def __init__(self) -> None:
            super().__init__()
            self.network = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found = self.network(x)
            logits: torch.Tensor = found["out"] if isinstance(found, dict) else found
            return logits

    torch.manual_seed(0)
    width, height = size
    # Untrained batch norms would let activations fade to subnormal numbers, which are slow.
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the plain average of what is seen
    try:
        with torch.no_grad():
            model.train()(torch.randn(2, 3, height, width))
        network = Logits().eval()
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network, (torch.zeros(1, 3, height, width),), str(path), dynamo=True,
                opset_version=_OPSET, input_names=["pictures"], output_names=["logits"],
                external_data=False, verbose=False,
            )  # fmt: skip
    except Exception as error:  # the exporter's have no common base
        raise BackendError(
            f"cannot be exported at {width}x{height}: {type(error).__name__}: {one_line(error)}"
        ) from error


def make_peers(
    peers: Sequence[str],
    sizes: Sequence[tuple[int, int] | None],
    engines: Sequence[tuple[str | None, str | None, int]],
    mode: Mode,
    *,
    like: tuple[tuple[int, int], int],
    folder: Path,
) -> tuple[list[Contender], list[dict[str, Any]]]:
    """Make the contenders of all peers, sizes and engines (backend, precision, batch).

    ``like`` has the size and the number of classes of a network to be like where nothing else is
    said. Files go to ``folder``. Returns also those that could not be made, with why, each of which
    has been told in the log.
    """
    contenders: list[Contender] = []
    failed: list[dict[str, Any]] = []
    for number, (peer, size) in enumerate(product(peers, dict.fromkeys(sizes))):
        worker = Worker(Maker, folder / f"peer-{number}.log")
        title = peer if peer.partition(":")[0] in _LIBRARIES else Path(peer).stem
        made: Made | None = None
        try:
            made = worker.ask("make", peer, folder / f"peer-{number}.onnx", size, *like)
        except (BackendError, NetworkError) as error:
            log.warning("left out: %s: %s", title, error)
            what = [Contender(title, b, p, size, n, mode) for b, p, n in engines]
            failed += [{**contender.describe(), "error": str(error)} for contender in what]
        finally:
            worker.end(now=made is None)
        if made is not None:
            contenders += [
                Contender(made.path, b, p, None, n, mode, title, made.weights, made.classes)
                for b, p, n in engines
            ]
    return contenders, failed
