"""Tables of ``rtseg-bench`` and ``rtseg-bench choose``, and of what many hours of video cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.result_words import read, sized, source

FRAMES = 1000 * 3600 * 30
"""Of 1,000 hours, at 30 a second."""

BENCHES = {
    "bench-road": "**Speed and accuracy together**, road or not; `smp-unet` is "
    "segmentation_models.pytorch's U-Net on the same encoder, for its speed alone:",
    "bench-street": "**Speed and accuracy together**, CamVid's eleven classes:",
}
"""Results of ``rtseg-bench``, each with a plot of its name in ``docs``."""


def bench(name: str, plots: str = "") -> Callable[[Path], list[str]]:
    """Return what makes the table of a result of ``rtseg-bench``; ``plots`` leads to the plot."""

    def table(folder: Path) -> list[str]:
        from rtseg.cli.bench_table import as_markdown

        text = as_markdown(read(folder, name)).strip()
        return [BENCHES[name], "", text, "", f"![Frames a second against mIoU]({plots}{name}.png)"]

    return table


def choice(folder: Path) -> list[str]:
    """Streaming mIoU at each frame rate, and who is best there."""
    result = read(folder, "choose")
    rows = result["results"]
    rates = list(rows[0]["streaming"])
    columns = ("network", "size", "a mask in, p50", "mIoU", *(f"at {r} FPS" for r in rates), "TC")
    lines = [
        f"**At a camera's frame rate**, {' and '.join(result['classes'])}, on rendered drives: streaming "
        "mIoU (every frame against the newest mask that was done by then), and the masks' temporal "
        "consistency (TC):",
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
    ]
    for row in sorted(rows, key=lambda r: (r["network"], r["size"])):
        streaming = [f"{row['streaming'][rate]['miou']:.4f}" for rate in rates]
        lines.append(
            f"| `{row['network']}` | {sized(row['size'])} | {row['latency_ms']['p50']:.1f} ms "
            f"| {row['offline']['miou']:.4f} | {' | '.join(streaming)} "
            f"| {row['temporal_consistency']['tc']:.4f} |"
        )
    best = [f"- {text}" for text in result["best"].values()]
    return [*lines, "", *best, "", source(result)]


def scale(folder: Path) -> list[str]:
    """What 1,000 hours of video cost on CPUs, by the live loop's CPU time a frame."""
    result = read(folder, "live")
    settings, figures = result["settings"], result["figures"]
    width, height = settings["picture"]
    cpu = figures["cpu_ms_per_frame"]
    decoding = figures["stages_ms"]["live.decode_ms"]
    hours = FRAMES / 1000 / 3600  # for each millisecond a frame
    steps = {
        "decoding": decoding,
        "the engine": cpu["bare"],
        "decode, shrink, segment, paint": cpu["live"],
    }
    whole = cpu["live"] * hours
    rate = 3.6e6 / (whole / 32 * 3600)
    return [
        f"On CPUs, with {settings['network']} {sized(settings['size'])} in "
        f"{settings['precision'].upper()} on OpenVINO, and H.264 of {width}×{height}:",
        "",
        "| step | CPU time a frame | 1,000 hours |",
        "|---|---|---|",
        *(
            f"| {step} | {milliseconds:.1f} ms | {milliseconds * hours:.0f} core-hours |"
            for step, milliseconds in steps.items()
        ),
        "",
        f"That is {whole / 2:.0f} hours on two cores, {whole / 32:.0f} on 32, {whole / 128:.1f} on 128 "
        "(eight machines of 16 cores). **The engine is the bottleneck.** Decoding is "
        f"{decoding / cpu['live']:.0%} of the whole; the network never is: 3.6 TB in "
        f"{whole / 32:.0f} hours are {rate:.0f} MB/s.",
        "",
        "On GPUs the engine does *g* frames a second (`rtseg-bench road-unet --backend tensorrt`; none "
        "has been measured yet) and 1,000 hours take 30,000 ÷ *g* GPU-hours. **Then decoding is the "
        f"bottleneck**: one core decodes {1000 / decoding:.0f} such frames a second, so a GPU needs *g* ÷ "
        f"{1000 / decoding:.0f} cores to feed it, and more for larger pictures. `rtseg-bench live CLIP` "
        "measures it, step by step, for a clip of yours.",
        "",
        source(result),
    ]


def kept(folder: Path) -> list[str]:
    """What an evaluation keeps of its engine's throughput."""
    result = read(folder, "eval-street-unet-camvid")
    measured, engine, machine = result["speed"]["measured"], result["engine"], result["machine"]
    quiet = sum(row["others_share"] < 0.05 for row in measured["rounds"])
    rounds = len(measured["rounds"])
    return [
        f"**What an evaluation keeps of its engine**: {engine['backend']} {engine['precision']} alone "
        f"does {measured['engine_fps']:.0f} frames a second; with decoded pictures, shrunk and scored, "
        f"it keeps {measured['efficiency']:.2f} of that, with PNG files read on the same cores "
        f"{measured['read_efficiency']:.2f} (medians of {rounds} rounds in turns, {quiet} of them "
        "quiet).",
        "",
        f"`{result['command']}`, {result['date'][:10]}, {machine['usable_cores']} cores of "
        f"{machine['processor']}, rtseg {result['rtseg']}, openvino "
        f"{result['versions']['openvino']}.",
    ]
