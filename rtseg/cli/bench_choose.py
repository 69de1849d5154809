"""``rtseg-bench choose``: which network is best on this machine at this frame rate."""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtseg import __version__
from rtseg.cli.arguments import PRECISIONS_HELP, Parser, names, number, run, size, whole
from rtseg.errors import BackendError, InputError, NetworkError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rtseg.cli.bench_choose_turns import Candidate
    from rtseg.data.labels import ClassTable
    from rtseg.evaluation.masked_video import MaskedVideo

PROG = "rtseg-bench choose"
_EPILOG = """\
Streaming mIoU: frames arrive at the frame rate, the engine takes the newest when it is free, and
every frame is scored with the newest mask that was finished when it arrived. So a network that is
slow loses accuracy, and one that is fast and poor does not win either. Latencies are measured here,
every engine in turns on the same frames; the first half second of each video is not scored.
TC, temporal consistency: mIoU between a frame's mask, warped by optical flow, and the next one's.

All networks are scored on the classes that all of them have: CamVid's eleven, or road and background.
Without --data the frames are those of rendered drives that no network was trained on.

  rtseg-bench choose --fps 30
  rtseg-bench choose road-unet road-fcn8s --fps 10,30,60 --size 512x256,768x384
  rtseg-bench choose --fps 30 --backend openvino --video my-road.mp4 --json choice.json
  rtseg-bench choose --fps 15 --data recording/ --data-fps 30 --kind folder --split all"""


def _sizes(text: str) -> list[tuple[int, int]]:
    return [size(part) for part in names(text)]


def _rates(text: str) -> list[float]:
    return sorted({number(0.1, 1000)(part) for part in names(text)})


def parser() -> Parser:
    """Build the argument parser."""
    p = Parser(PROG, "Say which network is best on this machine at a frame rate.", _EPILOG)
    p.add_argument("network", nargs="*", help="names or files (default: all of the zoo)")
    p.add_argument("--fps", type=_rates, default=[30.0], metavar="FPS,…", help="default: 30")
    p.add_argument("--backend", type=names, metavar="NAME,…", help="default: all there are")
    p.add_argument(
        "--precision", type=names, default=[None], metavar="NAME,…", help=PRECISIONS_HELP
    )
    p.add_argument("--size", type=_sizes, default=[None], metavar="WxH,…", help="default: its own")
    p.add_argument(
        "--seconds", type=number(0.1, 60), default=2.5, metavar="S", help="a drive (default: 2.5)"
    )
    p.add_argument("--drives", type=whole(1), default=3, metavar="N", help="default: 3")
    p.add_argument(
        "--capture-size", type=size, default=(960, 540), metavar="WxH",
        help="of the drives' frames (default: 960x540)",
    )  # fmt: skip
    p.add_argument("--limit", type=whole(2), metavar="N", help="frames a video, at the most")
    p.add_argument("--data", type=Path, metavar="DIR", help="a video's frames and their masks")
    p.add_argument("--data-fps", type=number(0.1, 1000), metavar="FPS", help="its frame rate")
    p.add_argument("--kind", metavar="NAME", help="of --data (default: by its layout)")
    p.add_argument("--split", default="all", metavar="NAME", help="of --data (default: all)")
    p.add_argument("--video", type=Path, metavar="FILE", help="measure TC on this, without labels")
    p.add_argument("--json", type=Path, metavar="FILE", help="what was measured, as JSON")
    return p


def _check(options: argparse.Namespace) -> None:
    """Refuse what does not fit before anything is loaded."""
    from rtseg.evaluation.masked_video import step_of

    if options.json is not None:
        from rtseg.atomic import require_writable

        require_writable(options.json)
    if (options.data is None) != (options.data_fps is None):
        raise UsageError("--data and --data-fps go together: a dataset does not tell its rate")
    if options.data is not None and not options.data.is_dir():
        raise InputError(f"{options.data}: no such folder")
    if options.video is not None and not options.video.is_file():
        raise InputError(f"{options.video}: no such file")
    for fps in options.fps:
        step_of(_video_fps(options), fps)


def _video_fps(options: argparse.Namespace) -> float:
    return float(options.data_fps or options.fps[-1])


def _load(options: argparse.Namespace, stack: ExitStack) -> list[Any]:
    from rtseg.cli.build_progress import MaybeBuilding
    from rtseg.engine import find_network, load, zoo
    from rtseg.engine.backends import BACKENDS, KNOWN, PRECISIONS, fault, installed

    log = logging.getLogger("rtseg")
    backends = options.backend or [b for b in BACKENDS if installed(KNOWN[b])]
    for precision in filter(None, options.precision):
        if precision not in PRECISIONS:
            raise UsageError(f"unknown precision {precision!r}: one of {', '.join(PRECISIONS)}")
    for network in options.network:
        find_network(network)  # a wrong name is said at once
    engines: dict[tuple[Any, ...], Any] = {}
    for network, backend, precision, wanted in itertools.product(
        options.network or zoo(), backends, options.precision, options.size
    ):
        if not options.backend and fault(KNOWN[backend], precision):
            continue  # nobody has asked for it
        try:
            with MaybeBuilding(PROG, network) as progress:
                engine = stack.enter_context(
                    load(
                        network,
                        backend=backend,
                        precision=precision,
                        size=wanted,
                        mode="latency",
                        on_progress=progress,
                    )
                )
        except (BackendError, NetworkError) as error:
            log.warning("left out: %s", error)
            continue
        spec = engine.spec
        key = (network, engine.backend, engine.precision, spec.width, spec.height)
        engines.setdefault(key, engine)
    if not engines:
        raise UsageError("nothing to choose from: this machine can run none of these networks")
    return list(engines.values())


def _videos(options: argparse.Namespace, classes: ClassTable) -> Iterator[MaskedVideo]:
    from rtseg.evaluation.masked_video import dataset_video, drive_video

    fps = _video_fps(options)
    if options.data is not None:
        from rtseg.data.layouts import detect_kind
        from rtseg.data.source import open_source

        declared = {
            "kind": options.kind or detect_kind(options.data),
            "folder": str(options.data),
            "split": options.split,
        }
        images = open_source(declared, classes, where="--data")
        yield dataset_video(images, str(options.data), fps, options.limit or 300)
        return
    count = max(2, round(options.seconds * fps))
    for index in range(options.drives):
        # Every seventh: neighbouring seeds are as different, but these are not the demo's.
        seed = (4 + 7 * index) % 100
        frames = min(count, options.limit or count)
        yield drive_video(classes, seed, fps, frames, options.capture_size)


def _consistency_on_video(options: argparse.Namespace, candidates: Sequence[Candidate]) -> None:
    """Measure temporal consistency on a video without labels."""
    import numpy as np

    from rtseg.cli.bench_choose_turns import compare_neighbours, take_turns
    from rtseg.video.capture import FileSource
    from rtseg.video.frame import LiveFrame

    source = FileSource(options.video)
    empty = np.empty((0, 0), np.uint8)
    frame = LiveFrame(empty, empty)
    pictures: list[NDArray[np.uint8]] = []
    while len(pictures) < (options.limit or 150) and source.read(frame):
        pictures.append(frame.picture.copy())
    source.close()
    if len(pictures) < 2:
        raise InputError(f"{options.video}: one frame only: consistency is between two")
    take_turns(candidates, pictures)
    compare_neighbours(candidates, pictures)


def _choose(options: argparse.Namespace, command: list[str]) -> int:
    _check(options)
    with ExitStack() as stack:
        engines = _load(options, stack)
        import cv2

        from rtseg.cli import bench_choose_turns as turns
        from rtseg.cli.bench_choose_verdict import others_line, print_choice, verdict
        from rtseg.evaluation.machine import OthersClock, machine, versions

        stack.callback(cv2.setNumThreads, cv2.getNumThreads())
        cv2.setNumThreads(1)  # the engines have the cores, as in the live loop
        classes = turns.common_classes([engine.spec for engine in engines])
        candidates = [turns.Candidate(engine, classes, options.fps) for engine in engines]
        videos: list[dict[str, Any]] = []
        for video in _videos(options, classes):
            others = OthersClock()
            turns.take_turns(candidates, video.pictures)
            videos.append(
                {
                    "name": video.name,
                    "frames": len(video.pictures),
                    "fps": video.fps,
                    "others_share": turns.number(others.lap()),
                }
            )
            for candidate in candidates:
                candidate.score_video(video)
            if options.video is None:
                turns.compare_neighbours(candidates, video.pictures)
        if options.video is not None:
            _consistency_on_video(options, candidates)
        print_choice(candidates, classes, options.fps)
        busy = others_line(max((video["others_share"] or 0.0 for video in videos), default=0.0))
        if busy:
            print(busy)
        if options.json is not None:
            from rtseg.atomic import write_atomically
            from rtseg.evaluation.result_file import shown

            values = {
                "command": shlex.join(map(shown, command)),
                "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "rtseg": __version__,
                "machine": machine(),
                "versions": versions(),
                "classes": list(classes.names),
                "videos": videos,
                "consistency_on": str(options.video or "the same frames"),
                "not_scored_s": turns.LEAD_S,
                "best": {f"{fps:g}": verdict(candidates, fps) for fps in options.fps},
                "results": [candidate.as_dict(classes) for candidate in candidates],
            }
            text = json.dumps(values, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
            write_atomically(options.json, text.encode())
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(given)
    return run(PROG, lambda: _choose(options, [*PROG.split(), *given]))


if __name__ == "__main__":
    sys.exit(main())
