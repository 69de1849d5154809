"""Architectures compared: the adapters, the recipes, and the benchmark from training to plot."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks need torch (extra train)")
yaml = pytest.importorskip("yaml", reason="recipes need pyyaml (extra train)")
pytest.importorskip("matplotlib", reason="the plot needs matplotlib (extra train)")

from benchmarks import measuring, table  # noqa: E402
from benchmarks.architectures import figures, front  # noqa: E402
from benchmarks.architectures_plot import draw  # noqa: E402
from benchmarks.comparison_runs import LABELS, read_run, train  # noqa: E402
from rtseg.data.labels import CAMVID11  # noqa: E402
from rtseg.engine import load  # noqa: E402
from rtseg.engine.cache import EngineCache  # noqa: E402
from rtseg.errors import InputError, UsageError  # noqa: E402
from rtseg.models import MobileNetV2, build  # noqa: E402
from rtseg.models.registry import WITH_EXTRAS, SegmentationModel, flops, parameters  # noqa: E402
from rtseg.models.smp import SMP_ARCHITECTURES  # noqa: E402
from rtseg.spec import Spec  # noqa: E402
from rtseg.training.recipes import find_recipe, published  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent

# Stride of the logits, the library's own class and last upsampling.
EXPECTED = {
    "smp-unet": (1, "Unet", 1),
    "smp-unetplusplus": (1, "UnetPlusPlus", 1),
    "smp-linknet": (1, "Linknet", 1),
    "smp-pspnet": (8, "PSPNet", 8),
    "smp-deeplabv3plus": (4, "DeepLabV3Plus", 4),
}


@pytest.fixture(scope="module")
def smp() -> Any:
    """The library, where it imports."""
    from benchmarks.torchvision_on_cpu import make_importable

    make_importable()
    try:
        return importlib.import_module("segmentation_models_pytorch")
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"segmentation_models.pytorch does not import (extra smp): {error}")


def picture(width: int = 96, height: int = 64, count: int = 2) -> Any:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


# Adapters


@pytest.mark.parametrize("name", EXPECTED)
def test_the_network_is_the_librarys_own_up_to_its_last_upsampling(name: str, smp: Any) -> None:
    stride, title, upsampling = EXPECTED[name]
    model: Any = build(name, 11).eval()
    assert (model.classes, model.logits_stride, model.size_divisor) == (11, stride, 32)
    torch.manual_seed(3)
    whole = getattr(smp, title)("mobilenet_v2", encoder_weights=None, classes=11).eval()
    state = model.encoder.trunk.state_dict().keys()
    model.encoder.load_classifier(whole.encoder.state_dict())
    assert state <= whole.encoder.state_dict().keys()
    model.decoder.load_state_dict(whole.decoder.state_dict(), strict=True)
    model.head.load_state_dict(whole.segmentation_head.state_dict(), strict=True)
    with torch.no_grad():
        logits = model(picture())
        assert logits.shape == (2, 11, 64 // stride, 96 // stride)
        if upsampling > 1:
            logits = torch.nn.functional.interpolate(
                logits, scale_factor=upsampling, mode="bilinear", align_corners=True
            )
        torch.testing.assert_close(logits, whole(picture()))
    assert isinstance(model, SegmentationModel)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_encoder_takes_the_classifiers_weights_strictly(name: str, smp: Any) -> None:
    # The keys of our MobileNetV2 are torchvision's: test_models holds them to the published file.
    state = MobileNetV2().state_dict()
    model: Any = build(name, 2)
    encoder = model.encoder
    encoder.load_classifier(state)
    taken = encoder.trunk.state_dict()
    assert taken
    for key, value in taken.items():
        assert torch.equal(value, state[key]), key
    missing = {k: v for k, v in state.items() if k != "features.3.conv.0.0.weight"}
    with pytest.raises(RuntimeError, match=r"features\.3\.conv\.0\.0\.weight"):
        encoder.load_classifier(missing)
    with pytest.raises(RuntimeError, match="stranger"):
        encoder.load_classifier({**state, "stranger": torch.zeros(1)})


@pytest.mark.parametrize("name", EXPECTED)
def test_every_parameter_is_used(name: str, smp: Any) -> None:
    model = build(name, 2).train()
    model(picture(96, 96)).sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.slow
def test_the_deployed_engine_gives_the_contracts_masks(name: str, smp: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="export needs onnxscript (extra train)")
    from rtseg.engine.export import Contract, export

    torch.manual_seed(1)
    model: Any = build(name, 11)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # healthy statistics: the plain average of what is seen
    with torch.no_grad():
        model.train()(torch.randn(2, 3, 96, 160))
    path = tmp_path / f"{name}.onnx"
    # At stride 8 the map is 20 wide, which PSPNet's grid of 6 does not divide.
    spec = Spec(name, 160, 96, CAMVID11.names, CAMVID11.colours, size_divisor=model.size_divisor)
    export(model.eval(), spec, path)
    small = np.random.default_rng(0).integers(0, 255, (3, 12, 20, 3), np.uint8)
    frames = small.repeat(8, 1).repeat(8, 2)
    with torch.inference_mode():
        expected = Contract(model)(torch.from_numpy(frames)).numpy()
    assert len(np.unique(expected)) > 1
    with load(path, precision="fp32", cache=EngineCache(tmp_path)) as engine:
        assert (engine.infer(frames) == expected).mean() > 0.999


def test_an_option_that_the_library_lacks_or_rtseg_decides_is_named(smp: Any) -> None:
    for key in ("sparkle", "encoder_weights", "upsampling"):
        with pytest.raises(ValueError, match=f"no option '{key}': one of decoder_"):
            build("smp-unet", 2, **{key: "imagenet"})
    narrow = build("smp-unet", 2, decoder_channels=[32, 16, 8, 8, 8])
    assert parameters(narrow) < parameters(build("smp-unet", 2))


@pytest.mark.parametrize("name", SMP_ARCHITECTURES)
def test_without_the_extra_it_is_named_in_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda n, p=None: None if n.startswith("segmentation_models") else find(n, p),
    )
    with pytest.raises(UsageError) as caught:
        build(name, 2)
    assert str(caught.value) == (
        f"{name} needs segmentation_models.pytorch: pip install 'rtseg[smp]'"
    )
    with pytest.raises(UsageError, match=r"rtseg\[smp\].*--only"):
        train([name], Path("nowhere"), data=Path("nowhere"))


def test_a_library_that_does_not_import_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "segmentation_models_pytorch.py").write_text(
        "raise RuntimeError('operator torchvision::nms\\ndoes not exist')"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "segmentation_models_pytorch", raising=False)
    with pytest.raises(UsageError, match="torchvision::nms does not exist") as caught:
        build("smp-unet", 2)
    assert "\n" not in str(caught.value)


# Recipes


def test_each_architecture_has_a_recipe_that_says_no_more_than_which_it_is() -> None:
    names = {name.removeprefix("comparison/") for name in published() if "comparison/" in name}
    assert names == set(LABELS) <= set(WITH_EXTRAS)
    for name in names:
        path = find_recipe(f"comparison/{name}")
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert recipe.keys() == {"model"}
        assert recipe["model"].keys() == {"architecture", "options"}
        assert recipe["model"]["architecture"] == path.stem == name
        if name not in SMP_ARCHITECTURES:
            build(name, 11, **recipe["model"]["options"])


def test_a_recipe_that_is_not_there_names_those_in_folders_too() -> None:
    with pytest.raises(UsageError, match="comparison/smp-unet"):
        find_recipe("comparison/segnet")


# Figures, plot and table


def results(count: int = len(LABELS), seed: int = 0) -> dict[str, Any]:
    """Figures as the benchmark derives them, from samples that are made up."""
    chance = np.random.default_rng(seed)
    names = list(LABELS)[:count]
    trained = {
        name: {
            "parameters": int(chance.integers(100_000, 7_000_000)),
            "flop": 2_000_000_000,
            "logits_stride": 2,
            "epochs": 20,
            "training_seconds": 600.0,
            "training_cpu_seconds": 540.0,
            "trained_on": "2 cores of a processor",
            "miou": float(chance.uniform(0.5, 0.7)),
            "pixel_accuracy": 0.9,
            "iou": {},
        }
        for name in names
    }
    samples = {name: list(chance.uniform(5, 60) + chance.uniform(0, 1, 5)) for name in names}
    return figures({**samples, "others_share": [0.0] * 5}, trained)


def test_speed_is_the_ratio_of_median_times() -> None:
    trained = {name: {"miou": 0.5, "parameters": 1} for name in ("unet-mobilenetv2", "smp-unet")}
    samples = {"unet-mobilenetv2": [10.0, 9.0, 20.0], "smp-unet": [40.0, 39.0, 50.0]}
    found = figures({**samples, "others_share": [0.0, 0.0, 0.5]}, trained)
    rows = found["architectures"]
    assert found["reference"] == "unet-mobilenetv2"
    assert rows["unet-mobilenetv2"]["fps"] == pytest.approx(100)
    assert rows["smp-unet"]["fps"] == pytest.approx(25)
    assert rows["smp-unet"]["fps_to_reference"]["of_medians"] == pytest.approx(0.25)
    assert found["front"] == ["unet-mobilenetv2"]
    assert found["quiet"]["quiet_rounds"] == 2


def test_the_front_has_those_that_nothing_beats() -> None:
    points = {
        name: {"fps": fps, "miou": miou}
        for name, fps, miou in (
            ("fast", 100, 0.5), ("best", 10, 0.7), ("both", 50, 0.65), ("beaten", 40, 0.6),
            ("equal speed", 50, 0.6), ("equal accuracy", 40, 0.65), ("twin", 100, 0.5),
        )
    }  # fmt: skip
    assert front(points) == ["best", "both", "fast", "twin"]


@pytest.mark.parametrize("crowd", [1.0, 0.05, 0.0])
def test_no_label_of_the_plot_covers_another_or_a_point(crowd: float) -> None:
    found = results(seed=round(100 * crowd))
    points = found["architectures"]
    for point in points.values():
        point["fps"] = 60 + crowd * (point["fps"] - 60)
        point["miou"] = 0.6 + crowd * (point["miou"] - 0.6)
    figure = draw(points, found["front"])
    figure.canvas.draw()
    axes = figure.axes[0]
    assert {text.get_text() for text in axes.texts} == set(LABELS.values())
    boxes = [text.get_window_extent() for text in axes.texts]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert axes.bbox.x0 <= box.x0 < box.x1 <= axes.bbox.x1
        assert axes.bbox.y0 <= box.y0 < box.y1 <= axes.bbox.y1
        for point in points.values():
            assert not box.contains(*axes.transData.transform((point["fps"], point["miou"])))


def test_areas_in_the_plot_are_in_proportion_to_parameters() -> None:
    found = results(4)
    figure = draw(found["architectures"], found["front"])
    points: Any = figure.axes[0].collections[0]
    own = [p["parameters"] for p in found["architectures"].values()]
    assert points.get_sizes() / points.get_sizes()[0] == pytest.approx(np.array(own) / own[0])


def test_the_document_gets_its_table_only_from_a_result(tmp_path: Path) -> None:
    document = Path("docs/architectures.md")
    text = f"a\n{table.BEGIN}\n{table.END}\nb\n"
    assert "Not measured yet" in table.with_tables(text, document, tmp_path)
    settings = {
        "size": [480, 352], "classes": ["road"] * 11, "camvid_val_frames": 101,
        "engine": {"backend": "openvino"},
    }  # fmt: skip
    found = results()
    measuring.write_result(
        tmp_path, "architectures", ["measure"], settings=settings, samples={}, figures=found
    )
    made = table.with_tables(text, document, tmp_path)
    assert "Not measured" not in made
    rows = [
        line
        for line in made.splitlines()
        if line.startswith(tuple(f"| {v} |" for v in LABELS.values()))
    ]
    assert len(rows) == len(LABELS)
    scores = [float(row.split("|")[2]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert "](architectures.png)" in made


# From training to plot


def call(step: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.architectures", step, *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


@pytest.fixture(scope="module")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small frames of the rendered drive in CamVid's layout."""
    from rtseg.data.drive import Drive

    folder = tmp_path_factory.mktemp("data") / "camvid"
    for split, count in (("train", 8), ("val", 2)):
        for part in (split, f"{split}annot"):
            (folder / part).mkdir(parents=True)
        drive = Drive(96, 72, fps=1.0, seed=len(split))
        for index in range(count):
            frame, mask = drive.frame(index)
            cv2.imwrite(str(folder / split / f"{index}.png"), frame)
            cv2.imwrite(str(folder / f"{split}annot" / f"{index}.png"), mask)
    return folder


OURS = "unet-mobilenetv2,fcn32s-mobilenetv2"
TINY = (
    "--epochs", "1", "--",
    "--model.encoder_weights=null", "--trainer.precision=32-true", "--trainer.accelerator=cpu",
    "--data.size=[96,64]", "--data.samples=4", "--data.batch=2", "--data.workers=0",
    '--data.augmentation=[{"RandomResizedCrop": {"size": [64, 64]}}]', "--pictures.every=0",
    '--model.options={"width": 0.25}',
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("lightning", reason="training needs lightning (extra train)")
    folder = tmp_path_factory.mktemp("runs")
    done = call("train", "--data", camvid.parent, "--runs", folder, "--only", OURS, *TINY)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_training_leaves_finished_runs_and_does_not_repeat_them(runs: Path, camvid: Path) -> None:
    before = {}
    for name in OURS.split(","):
        run = read_run(runs / name)
        assert run is not None
        assert run["finished"]
        assert run["settings"]["epochs"] == 1
        before[name] = (runs / name / "best.safetensors").stat().st_mtime_ns
    done = call("train", "--data", camvid.parent, "--runs", runs, "--only", OURS, *TINY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished") == 2
    for name, then in before.items():
        assert (runs / name / "best.safetensors").stat().st_mtime_ns == then
    done = call("train", "--data", camvid.parent, "--runs", runs, "--only", OURS, "--epochs", "2")
    assert done.returncode == 2
    assert "trained with other settings" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_measuring_writes_the_result_and_the_plot(runs: Path, camvid: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="export needs onnxscript (extra train)")
    plot = tmp_path / "plot.png"
    done = call(
        "measure", "--camvid", camvid, "--runs", runs, "--out", tmp_path / "results",
        "--plot", plot, "--rounds", 2, "--frames", 2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "smp-unet: left out" in done.stdout
    text = (tmp_path / "results" / "architectures.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert str(runs) not in text
    result = json.loads(text)
    found, samples = result["figures"]["architectures"], result["samples"]
    assert list(found) == OURS.split(",")
    model = build("unet-mobilenetv2", 11, width=0.25)
    row = found["unet-mobilenetv2"]
    assert row["parameters"] == parameters(model)
    assert row["flop"] == pytest.approx(flops(model, 96, 64), rel=1e-4)
    assert row["fps"] == pytest.approx(1e3 / np.median(samples["unet-mobilenetv2"]), rel=1e-3)
    for row in found.values():
        assert 0 <= row["miou"] <= row["pixel_accuracy"] <= 1
        assert row["epochs"] == 1
        assert row["training_seconds"] > 0
        assert row["training_cpu_seconds"] > 0
    assert result["settings"]["training"]["epochs"] == 1
    picture = cv2.imread(str(plot))
    assert picture is not None
    assert picture.std() > 1
    made = table.with_tables(
        f"{table.BEGIN}{table.END}", Path("docs/architectures.md"), tmp_path / "results"
    )
    assert LABELS["fcn32s-mobilenetv2"] in made
    plot.unlink()
    done = call("plot", "--result", tmp_path / "results" / "architectures.json", "--plot", plot)
    assert done.returncode == 0, done.stderr
    assert plot.is_file()


def test_an_interrupted_run_is_taken_up_and_a_finished_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # That rtseg-train goes on with its last checkpoint is what test_train tests.
    status = {"unet-mobilenetv2": 0, "fcn8s-mobilenetv2": -9}
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> Any:
        commands.append(command)
        name = next(n for n in status if f"comparison/{n}" in command)
        return subprocess.CompletedProcess(command, status[name])

    monkeypatch.setattr("benchmarks.comparison_runs.subprocess.run", run)
    names = list(status)
    with pytest.raises(InputError, match="fcn8s-mobilenetv2: the training was ended"):
        train(names, tmp_path, data=tmp_path, epochs=10, more=["--data.batch=2"])
    done = {name: (read_run(tmp_path / name) or {})["finished"] for name in names}
    assert done == {"unet-mobilenetv2": True, "fcn8s-mobilenetv2": False}
    status["fcn8s-mobilenetv2"] = 0
    train(names, tmp_path, data=tmp_path, epochs=10, more=["--data.batch=2"])
    assert [c[c.index("comparison") + 2] for c in commands] == [
        "comparison/unet-mobilenetv2", "comparison/fcn8s-mobilenetv2",
        "comparison/fcn8s-mobilenetv2",
    ]  # fmt: skip
    for command in commands:
        for argument in ("--ckpt_path=last", "--trainer.max_epochs=10", "--data.batch=2"):
            assert argument in command
        assert "--trainer.check_val_every_n_epoch=5" in command
    with pytest.raises(UsageError, match="trained with other settings"):
        train(names, tmp_path, data=tmp_path, epochs=20)


def test_what_is_wrong_is_told_in_one_line(tmp_path: Path) -> None:
    from benchmarks.architectures import main

    given = ["measure", "--camvid", str(tmp_path), "--runs", str(tmp_path)]
    assert main([*given, "--only", "segnet"]) == 2
    assert main(given) == 1
    assert main([*given, "--only", "unet-mobilenetv2"]) == 1
    assert main(["plot", "--result", str(tmp_path / "none.json")]) == 1
    (tmp_path / "unet-mobilenetv2").mkdir()
    (tmp_path / "unet-mobilenetv2" / "run.json").write_text("[")
    with pytest.raises(InputError, match=r"run\.json"):
        read_run(tmp_path / "unet-mobilenetv2")
    with pytest.raises(SystemExit, match="2"):
        main(["plot", "--", "--data.samples=4"])
