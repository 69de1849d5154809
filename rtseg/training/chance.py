"""Random numbers that depend on names alone: the seed, the epoch, the sample; never on who asks."""

from __future__ import annotations

import hashlib


def chance(*names: int | str) -> int:
    """Mix whole numbers and strings to one number of 63 bits, the same on every machine.

    So a sample of an epoch looks the same whichever worker makes it, and after a resumption.
    """
    text = "\0".join(f"{type(name).__name__}:{name}" for name in names)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
