"""OpenVINO: the default where there is no GPU."""

from __future__ import annotations

import functools
import io

from rtseg.engine.base import Engine, Frame, Mask, Mode
from rtseg.engine.cache import EngineCache
from rtseg.engine.machine import usable_cores
from rtseg.engine.probability import OUTPUT, with_probability
from rtseg.engine.untracked import ov
from rtseg.errors import BackendError
from rtseg.spec import NetworkFile

PRECISIONS = ("bf16", "fp16", "fp32", "int8")

_HINTS = {"bf16": ov.Type.bf16, "fp16": ov.Type.f16, "fp32": ov.Type.f32}
_NAMES = {hint.get_type_name(): name for name, hint in _HINTS.items()}


@functools.cache
def the_core() -> ov.Core:
    """The one OpenVINO core of this process, kept to its end.

    Its CPU plugin sets an alternate signal stack, and when it goes it puts the one before back,
    which may be that of a core that has gone already: the next signal, a Ctrl-C, would crash.
    """
    return ov.Core()


class OpenVINOEngine(Engine):
    """A network compiled by OpenVINO for the CPU.

    In ``throughput`` mode every core is a stream of its own, with one frame in flight each: a
    network split over cores waits on the slower one, a frame a core does not. In ``latency`` mode
    one frame at a time uses all cores.
    """

    backend = "openvino"

    def __init__(
        self,
        network: NetworkFile,
        precision: str | None,
        mode: Mode,
        cache: EngineCache,
        batch: int = 1,
        *,
        probability: bool = False,
    ) -> None:
        spec = network.spec
        core = the_core()
        device = str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip()
        cores = usable_cores()
        streams = cores if mode == "throughput" else 1
        # One frame more than streams: it waits for the first stream that is free, so that none idles
        # while this process wakes up to submit the next.
        depth = streams + 1 if mode == "throughput" else 1
        settings = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": cores}
        if precision in _HINTS:
            settings["INFERENCE_PRECISION_HINT"] = _HINTS[precision]
        version = ov.get_version()
        key = {
            "backend": "openvino",
            "version": version,
            "device": device,
            "capabilities": ",".join(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
            "network": network.sha256,
            "size": f"{batch}x{spec.width}x{spec.height}",
            "precision": precision or "default",
            "threads": f"{streams}/{cores}",
        }
        if probability:
            key["outputs"] = f"masks, {OUTPUT}"
        compiled = None
        payload = cache.read(spec.name, key)
        if payload is not None:
            try:
                compiled = core.import_model(payload, "CPU", settings)
            except RuntimeError:  # not ours to read: as good as no entry
                compiled = None
        built = compiled is None
        if compiled is None:
            source = with_probability(network) if probability else network.path
            try:
                model = core.read_model(source)
                model.reshape([batch, spec.height, spec.width, 3])
                compiled = core.compile_model(model, "CPU", settings)
            except RuntimeError as error:
                raise BackendError(
                    f"{network.path}: OpenVINO cannot compile this network: {_last_line(error)}"
                ) from error
            stream = io.BytesIO()
            compiled.export_model(stream)
            cache.write(spec.name, key, stream.getvalue())
        hint = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        rest = _NAMES.get(hint, hint)
        # The hint is that of the layers which are not quantised.
        quantised = spec.precision == "int8" and _runs_int8(compiled)
        in_force = "int8" if quantised else rest
        if precision is not None and in_force != precision:
            raise BackendError(
                f"precision {precision}: OpenVINO on this CPU ({device}) would run {in_force} "
                f"instead: ask for --precision {in_force} or leave it out"
            )
        super().__init__(
            spec,
            precision=in_force,
            device=device,
            depth=depth,
            mode=mode,
            built=built,
            versions={"openvino": version},
            batch=batch,
            probability=probability,
        )
        self.rest = rest if quantised else ""
        self._input_shape = (batch, spec.height, spec.width, 3)
        self._requests = [compiled.create_infer_request() for _ in range(depth)]
        # Views of the requests' own output buffers: they stay where they are.
        masks = [request.get_output_tensor(0).data for request in self._requests]
        expected = (batch, spec.mask_height, spec.mask_width)
        if masks[0].shape != expected:
            raise BackendError(
                f"{network.path}: gives masks of {masks[0].shape}, its spec says {expected}"
            )
        self._masks = [mask.reshape(self._mask_shape) for mask in masks]
        self._probabilities = [
            request.get_output_tensor(1).data.reshape(self._mask_shape)
            for request in (self._requests if probability else ())
        ]

    def _start(self, slot: int, frame: Frame) -> None:
        request = self._requests[slot]
        request.set_input_tensor(ov.Tensor(frame.reshape(self._input_shape), shared_memory=True))
        request.start_async()

    def _finish(self, slot: int) -> Mask:
        try:
            self._requests[slot].wait()
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed on a frame: {_last_line(error)}") from error
        mask: Mask = self._masks[slot]
        return mask

    def _probability(self, slot: int) -> Mask:
        probability: Mask = self._probabilities[slot]
        return probability


def _runs_int8(compiled: ov.CompiledModel) -> bool:
    """Whether convolutions run as INT8, which a file of INT8 does not make them do on every CPU."""
    for operation in compiled.get_runtime_model().get_ops():
        told = operation.get_rt_info()
        layer, precision = (str(told[key].value) for key in ("layerType", "runtimePrecision"))
        if layer in ("Convolution", "Deconvolution") and precision in ("u8", "i8"):
            return True
    return False


def _last_line(error: Exception) -> str:
    """The line of OpenVINO's several that says what is wrong: the last that is not a source place."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
