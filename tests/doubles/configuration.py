"""The double of TensorRT's build configuration: flags, limits, profiles, the timing cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Build:
    """One build, as a test asks about it: how it was configured and how it ended."""

    flags: frozenset[str]
    network_flags: int
    strongly_typed: bool
    pools: dict[str, int]
    optimisation_level: int
    tactic_sources: frozenset[str]
    hardware: str
    inputs: dict[str, list[int]]
    profiles: int
    cache_hits: int
    steps: int
    ended: str
    """``built``, ``cancelled``, or the reason in the log."""


class Profile:
    """Play of ``IOptimizationProfile``."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self.shapes: dict[str, list[list[int]]] = {}
        self.extra_memory_target = 1.0

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        self.shapes[input] = [[int(side) for side in shape] for shape in (min, opt, max)]

    def get_shape(self, input: str) -> list[Any]:
        return [self._world.dims(shape) for shape in self.shapes[input]]


class TimingCache:
    """Play of ``ITimingCache``: the hashes of networks whose tactics are known."""

    def __init__(self, world: Any, content: bytes) -> None:
        self._world = world
        self._head = f"timing {world.version} {world.gpu.compute_capability}\n".encode()
        self.valid = not content or content.startswith(self._head)
        self.known = {bytes(line) for line in content[len(self._head) :].split(b"\n") if line}

    def serialize(self) -> Any:
        return self._world.host_memory(self._head + b"\n".join(sorted(self.known)))

    def combine(self, input_cache: Any, ignore_mismatch: bool) -> bool:
        self.known |= input_cache._play.known
        return True

    def reset(self) -> bool:
        self.known.clear()
        return True


class Config:
    """Play of ``IBuilderConfig``."""

    def __init__(self, world: Any) -> None:
        self._world = world
        members = world.enums["BuilderFlag"].__members__
        self.flags = 1 << int(members["TF32"])
        self.pools = {"WORKSPACE": world.gpu.memory.total}
        self.builder_optimization_level = 3
        self.max_aux_streams = -1
        self.profiling_verbosity = world.enum("ProfilingVerbosity", "LAYER_NAMES_ONLY")
        self.hardware_compatibility_level = world.enum("HardwareCompatibilityLevel", "NONE")
        self.engine_capability = world.enum("EngineCapability", "STANDARD")
        self.default_device_type = world.enum("DeviceType", "GPU")
        self.avg_timing_iterations, self.min_timing_iterations = 1, 2
        self.profile_stream, self.DLA_core = 0, -1
        self.max_workspace_size = 0
        self.int8_calibrator = self.progress_monitor = self.algorithm_selector = None
        self.profiles: list[Any] = []
        self._cache: Any = None
        sources = world.enums["TacticSource"].__members__
        self._sources = sum(1 << int(member) for member in sources.values())
        self._previews: dict[str, bool] = {}

    num_optimization_profiles = property(lambda self: len(self.profiles))

    def named(self, enum: str, bits: int) -> frozenset[str]:
        """Return the names of the members whose bits are set."""
        members = self._world.enums[enum].__members__
        return frozenset(name for name, member in members.items() if bits >> int(member) & 1)

    def set_flag(self, flag: Any) -> None:
        self.flags |= 1 << int(flag)

    def clear_flag(self, flag: Any) -> None:
        self.flags &= ~(1 << int(flag))

    def get_flag(self, flag: Any) -> bool:
        return bool(self.flags >> int(flag) & 1)

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        if int(pool_size) > self._world.gpu.memory.total and pool.name == "WORKSPACE":
            self._world.log(
                "ERROR", "IBuilderConfig::setMemoryPoolLimit: Error Code 3: API Usage Error "
                "(Parameter check failed, condition: size <= total device memory)")  # fmt: skip
            return
        self.pools[pool.name] = int(pool_size)

    def get_memory_pool_limit(self, pool: Any) -> int:
        return self.pools.get(pool.name, 0)

    def set_tactic_sources(self, tactic_sources: int) -> bool:
        self._sources = int(tactic_sources)
        return True

    def get_tactic_sources(self) -> int:
        return self._sources

    def set_preview_feature(self, feature: Any, enable: bool) -> None:
        self._previews[feature.name] = enable

    def get_preview_feature(self, feature: Any) -> bool:
        return self._previews.get(feature.name, False)

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: Any) -> Any:
        play = TimingCache(self._world, bytes(serialized_timing_cache))
        return self._world.wrap("ITimingCache", play)

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        if not cache._play.valid and not ignore_mismatch:
            self._world.log("ERROR", "IBuilderConfig::setTimingCache: Error Code 1: Serialization "
                            "(the timing cache was made for another device or TensorRT)")  # fmt: skip
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self._cache

    def reset(self) -> None:
        self.__init__(self._world)  # type: ignore[misc]
