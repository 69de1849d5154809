"""The double of TensorRT's builder: what it refuses, its progress, and the plan that it gives."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import numpy as np
import onnxruntime as ort

from doubles.configuration import Build, Config, Profile
from doubles.interrupts import Interrupts
from doubles.network import NUMPY, Network
from doubles.plans import Plan

STEPS = 8
QUANTISED = ("QuantizeLinear", "DequantizeLinear")


class Builder:
    """Play of ``Builder``."""

    def __init__(self, world: Any, logger: Any) -> None:
        world.register(self, logger, "createInferBuilder")
        self._world = world
        self.logger = logger
        self.platform_has_fast_fp16 = self.platform_has_fast_int8 = self.platform_has_tf32 = True
        self.max_threads, self.max_batch_size, self.num_DLA_cores = 1, 1, 0
        self.error_recorder = self.gpu_allocator = None

    def create_network(self, flags: int = 0) -> Any:
        return self._world.wrap("INetworkDefinition", Network(self._world, flags))

    def create_builder_config(self) -> Any:
        return self._world.wrap("IBuilderConfig", Config(self._world))

    def create_optimization_profile(self) -> Any:
        return self._world.wrap("IOptimizationProfile", Profile(self._world))

    def is_network_supported(self, network: Any, config: Any) -> bool:
        return not self._refusal(network._play, config._play)

    def reset(self) -> None:
        pass

    def build_serialized_network(self, network: Any, config: Any, kernel_text: Any = None) -> Any:
        world, definition, setting = self._world, network._play, config._play
        with Interrupts() as interrupts:
            ended, steps, content = "built", 0, b""
            fault = world.gpu.faults.build_fails
            refusal = self._refusal(definition, setting) or (
                fault
                and f"IBuilder::buildSerializedNetwork: Error Code 10: Internal Error ({fault})"
            )
            cache = setting._cache._play if setting._cache is not None else None
            key = hashlib.sha256(
                definition.model.SerializeToString() if definition.model is not None else b""
            )
            hits = int(cache is not None and key.hexdigest().encode() in cache.known)
            if not refusal:
                if world.gpu.driver is not None:
                    world.gpu.runtime_current()
                steps = self._progress(setting.progress_monitor, interrupts)
                if steps < STEPS:
                    ended = "cancelled"
                else:
                    try:
                        content = self._plan(definition, setting).write()
                    except Exception as error:  # what ONNX Runtime refuses, whatever it be
                        refusal = f"Error Code 10: Internal Error ({' '.join(str(error).split())})"
            if refusal:
                ended = refusal
                world.log("ERROR", refusal)
            elif cache is not None and content:
                cache.known.add(key.hexdigest().encode())
            world.gpu.builds.append(self._record(definition, setting, hits, steps, ended))
        return world.host_memory(content) if content else None

    def _record(self, network: Any, config: Any, hits: int, steps: int, ended: str) -> Build:
        return Build(
            flags=config.named("BuilderFlag", config.flags),
            network_flags=network.flag_bits,
            strongly_typed=network.strongly_typed,
            pools=dict(config.pools),
            optimisation_level=config.builder_optimization_level,
            tactic_sources=config.named("TacticSource", config._sources),
            hardware=config.hardware_compatibility_level.name,
            inputs={tensor.name: list(tensor.shape) for tensor in network.inputs},
            profiles=len(config.profiles),
            cache_hits=hits,
            steps=steps,
            ended=ended,
        )

    def _refusal(self, network: Any, config: Any) -> str:
        """Return why TensorRT would not build this, in its words; empty where it would."""
        flags = config.named("BuilderFlag", config.flags)
        if network.model is None or not network.outputs:
            return "Error Code 4: API Usage Error (Network must have at least one output)"
        if config.builder_optimization_level not in range(6):
            return "Error Code 3: API Usage Error (the optimization level is 0 to 5)"
        forbidden = flags & {"FP16", "BF16", "INT8", "FP8", "INT4", "OBEY_PRECISION_CONSTRAINTS"}
        if network.strongly_typed and forbidden:
            return (
                "Error Code 3: API Usage Error (a strongly typed network takes no precision flag: "
                f"{', '.join(sorted(forbidden))})"
            )
        quantised = any(layer[1] in QUANTISED for layer in network.layers)
        if quantised and not network.strongly_typed and "INT8" not in flags:
            return (
                "Error Code 4: API Usage Error (Q/DQ layers require the INT8 builder flag: "
                "network has Q/DQ, but INT8 mode is not enabled)"
            )
        open_inputs = [t.name for t in network.inputs if -1 in list(t.shape)]
        if not open_inputs:
            return ""
        if not config.profiles:
            return (
                "Error Code 4: API Usage Error (Network has dynamic or shape inputs, but no "
                "optimization profile has been defined.)"
            )
        missing = set(open_inputs) - set(config.profiles[0]._play.shapes)
        return f"Error Code 4: API Usage Error (no profile for {missing})" if missing else ""

    def _progress(self, monitor: Any, interrupts: Interrupts) -> int:
        """Go through the phases; return how many steps were made before a cancellation."""
        faults = self._world.gpu.faults
        told = self._world.shells.get("IProgressMonitor")
        phases = (("Building Engine", None, 2), ("Compute Node Timings", "Building Engine", STEPS))
        opened = []
        if monitor is not None and told is not None:
            for phase in phases:
                interrupts.callback(monitor.phase_start, *phase)
                opened.append(phase[0])
        done = 0
        for step in range(STEPS):
            time.sleep(faults.build_seconds / STEPS)
            if faults.on_build_step is not None:
                with interrupts.allowed():
                    faults.on_build_step(step)
            if opened and not interrupts.callback(monitor.step_complete, opened[-1], step):
                break
            done += 1
        for phase_name in reversed(opened):
            interrupts.callback(monitor.phase_finish, phase_name)
        return done

    def _plan(self, network: Any, config: Any) -> Plan:
        world = self._world
        profile = config.profiles[0]._play.shapes if config.profiles else {}
        inputs = {t.name: list(t.shape) for t in network.inputs}
        dtypes = {t.name: t.dtype.name for t in (*network.inputs, *network.outputs)}
        content = network.model.SerializeToString()
        session = session_of(content)
        best = {name: profile[name][1] if -1 in shape else shape for name, shape in inputs.items()}
        zeros = {name: np.zeros(shape, NUMPY[dtypes[name]]) for name, shape in best.items()}
        results = session.run(None, zeros)
        outputs = {}
        for tensor, result in zip(network.outputs, results, strict=True):
            known = list(tensor.shape)
            open_sides = known if profile and len(known) == result.ndim else result.shape
            outputs[tensor.name] = [int(side) for side in open_sides]
        return Plan(
            version=world.version, gpu=world.gpu.name,
            compute_capability=world.gpu.compute_capability,
            inputs=inputs, outputs=outputs, dtypes=dtypes,
            flags=sorted(config.named("BuilderFlag", config.flags)), profile=dict(profile),
            hardware=config.hardware_compatibility_level.name, layers=network.layers,
            detailed=config.profiling_verbosity.name == "DETAILED", onnx=content,
        )  # fmt: skip


def session_of(content: bytes) -> ort.InferenceSession:
    """Return ONNX Runtime's session of a network, single-threaded and silent."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
