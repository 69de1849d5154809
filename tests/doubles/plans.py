"""What the simulated TensorRT writes for an engine, and how it finds that it cannot read one."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import asdict, dataclass, field

MAGIC = b"ftrt"
HEAD = struct.Struct("<4sIIIII")  # magic, version (three numbers), length of the facts, of it all


@dataclass(frozen=True)
class Plan:
    """A built engine: how it was built, for what, and the network itself."""

    version: tuple[int, int, int]
    gpu: str
    compute_capability: tuple[int, int]
    inputs: dict[str, list[int]]
    """Shape of each input; -1 where a profile leaves it open."""
    outputs: dict[str, list[int]]
    dtypes: dict[str, str]
    flags: list[str]
    profile: dict[str, list[list[int]]] = field(default_factory=dict)
    hardware: str = "NONE"
    layers: list[list[str]] = field(default_factory=list)
    """Name, operator and output data type of each layer."""
    detailed: bool = False
    onnx: bytes = b""

    def write(self) -> bytes:
        """Return the plan's bytes."""
        facts = asdict(self)
        del facts["onnx"]
        text = json.dumps(facts).encode()
        whole = HEAD.size + len(text) + len(self.onnx) + 32
        body = HEAD.pack(MAGIC, *self.version, len(text), whole) + text + self.onnx
        return body + hashlib.sha256(body).digest()


class Unreadable(Exception):  # noqa: N818 - TensorRT calls it no error of ours
    """Why TensorRT gives None for a plan, in its own words."""


def read(content: bytes, version: tuple[int, int, int], capability: tuple[int, int],
         host_code_allowed: bool) -> Plan:  # fmt: skip
    """Read a plan as the runtime of ``version`` on a GPU does; :class:`Unreadable` says why not."""
    if len(content) < HEAD.size or not content.startswith(MAGIC):
        raise Unreadable(
            "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion "
            "magicTagRead == kMAGIC_TAG failed.Magic tag does not match)"
        )
    _, *written, length, whole = HEAD.unpack_from(content)
    built = (written[0], written[1], written[2])
    text, rest = content[HEAD.size : HEAD.size + length], content[HEAD.size + length :]
    body, digest = content[:-32], content[-32:]
    if hashlib.sha256(body).digest() != digest:
        raise Unreadable(
            "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion "
            + ("checksum == expected failed.Engine is corrupt)" if len(content) == whole else
               "sizeRead == static_cast<uint64_t>(mEngineStream->size()) failed.Size specified in "
               "header does not match archive size)")
        )  # fmt: skip
    facts = json.loads(text)
    plan = Plan(
        **{
            **facts,
            "version": built,
            "compute_capability": tuple(facts["compute_capability"]),
            "onnx": rest[:-32],
        }
    )
    compatible = "VERSION_COMPATIBLE" in plan.flags
    if built != version and not (compatible and readable_across(built, version)):
        raise Unreadable(
            "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion "
            "stdVersionRead == kSERIALIZATION_VERSION failed.Version tag does not match. Note: "
            f"Current Version: {version[0] * 29}, Serialized Engine Version: {built[0] * 29})"
        )
    if compatible and not host_code_allowed:
        raise Unreadable(
            "IRuntime::deserializeCudaEngine: Error Code 3: API Usage Error (Plan contains host "
            "code, but host code was not allowed: set IRuntime::setEngineHostCodeAllowed(true))"
        )
    ampere = plan.hardware == "AMPERE_PLUS" and capability >= (8, 0)
    if plan.compute_capability != capability and not ampere:
        expected, got = (".".join(map(str, cc)) for cc in (plan.compute_capability, capability))
        raise Unreadable(
            "IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error (The engine plan file "
            f"is generated on an incompatible device, expecting compute {expected} got compute "
            f"{got}, please rebuild.)"
        )
    return plan


def readable_across(built: tuple[int, int, int], version: tuple[int, int, int]) -> bool:
    """Whether a version-compatible plan of ``built`` runs on ``version``: 8 to 10, 10 to 11."""
    return built[0] == version[0] or (built[0], version[0]) in ((8, 10), (10, 11))
