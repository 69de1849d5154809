"""Which of several are not beaten: the Pareto front of speed and accuracy."""

from __future__ import annotations

from collections.abc import Mapping


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the names that no other beats, by the first value, the slowest first.

    ``points`` has two values for each name, more being better, such as (FPS, mIoU). One beats another
    when it is at least as good in both and better in one. Of equals all are kept.
    """

    def beaten(name: str) -> bool:
        first, second = points[name]
        return any(
            other[0] >= first and other[1] >= second and other != (first, second)
            for other in points.values()
        )

    return sorted((name for name in points if not beaten(name)), key=lambda name: points[name])
