"""``rtseg-compile --int8``: from a network file and a folder of pictures to a quantised file."""

import importlib.util
from pathlib import Path

import cv2
import pytest
from three_convolutions import write_three_convolutions

pytest.importorskip("onnx", reason="quantising needs onnx (extra int8)")
pytest.importorskip("onnxruntime", reason="quantising needs onnxruntime (extra int8)")
if importlib.util.find_spec("nncf") is None:
    pytest.skip("quantising needs nncf (extra int8)", allow_module_level=True)

from rtseg.cli.arguments import Parser, run, size, whole
from rtseg.cli.quantise_command import add_arguments
from rtseg.cli.quantise_command import quantise as command
from rtseg.engine.parity import rendered_frames
from rtseg.spec import read_network


@pytest.fixture
def pictures(tmp_path):
    """A folder of six pictures of a drive."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, frame in enumerate(rendered_frames(160, 80, 6)):
        cv2.imwrite(str(folder / f"{number}.png"), frame)
    return folder


def call(*arguments):
    """Run the command with the arguments that rtseg-compile has; returns the exit status."""
    p = Parser("compile", "")
    p.add_argument("network")
    p.add_argument("--out", type=Path)
    p.add_argument("--size", type=size)
    p.add_argument("--frames", type=whole(1), default=2)
    p.add_argument("--measured", type=Path)
    add_arguments(p)
    options = p.parse_args(list(map(str, arguments)))
    return run("compile", lambda: command(options, "compile"))


@pytest.fixture
def three(tmp_path):
    return write_three_convolutions(tmp_path / "three.onnx")


def test_the_command_writes_the_file_beside_the_network(three, pictures, capfd):
    assert call(three, "--int8", pictures, "--calibration-frames", 4) == 0
    made = three.with_name("three.int8.onnx")
    assert read_network(made).spec.precision == "int8"
    said = capfd.readouterr()
    agrees, wrote = said.out.splitlines()
    assert agrees.startswith("agrees with onnxruntime fp32 on 9")
    assert agrees.endswith("of the pixels of 2 pictures")
    assert wrote.startswith(f"{made}: network file of INT8, ranges of 4 pictures")
    assert all(line.startswith("compile: building") for line in said.err.splitlines())


def test_what_was_measured_is_in_the_file(three, pictures, tmp_path):
    told = tmp_path / "measured.json"
    told.write_text('{"camvid_val_miou": 0.97}')
    assert call(three, "--int8", pictures, "--measured", told) == 0
    spec = read_network(three.with_name("three.int8.onnx")).spec
    assert spec.measured == {"camvid_val_miou": 0.97}


def test_a_network_of_the_zoo_at_another_size(three, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("rtseg.engine.choose._zoo_folder", lambda: tmp_path)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert call("three", "--int8", pictures, "--size", "64x32") == 0
    spec = read_network("three.int8.onnx").spec
    assert (spec.precision, spec.width, spec.height) == ("int8", 64, 32)


def one_line(capfd):
    (line,) = [x for x in capfd.readouterr().err.splitlines() if "error:" in x]
    return line


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["best.safetensors", "--int8", "x"], 2, "best.safetensors is a checkpoint"),
        (["three.onnx", "--int8", "pictures", "--out", "x.engine"], 2, "ends in .onnx"),
        (["none.onnx", "--int8", "pictures"], 2, "none.onnx: no such network file"),
        (["three.onnx", "--int8", "nowhere"], 1, "nowhere: no pictures"),
        (["three.onnx", "--int8", "pictures", "--out", "no/x.onnx"], 1, "no/x.onnx: cannot write"),
        (["three.onnx", "--int8", "pictures", "--size", "63x64"], 1, "cannot run at 63x64"),
        (["three.onnx", "--int8", "pictures", "--measured", "no.json"], 2, "--measured no.json"),
    ],
)
def test_bad_arguments_are_one_line(
    three, pictures, tmp_path, monkeypatch, capfd, arguments, status, says
):
    monkeypatch.chdir(tmp_path)
    assert call(*arguments) == status
    assert says in one_line(capfd)
    assert not list(tmp_path.glob("*.int8.onnx"))


def test_a_damaged_picture_is_named(three, pictures, capfd):
    (pictures / "3.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    assert call(three, "--int8", pictures) == 1
    assert f"{pictures / '3.png'}" in one_line(capfd)
    assert not three.with_name("three.int8.onnx").exists()


def test_a_file_that_paints_otherwise_is_not_written(three, pictures, capfd, monkeypatch):
    monkeypatch.setattr("rtseg.engine.parity.LEAST_INT8", 1.01)
    assert call(three, "--int8", pictures) == 1
    assert "nothing written" in one_line(capfd)
    assert not three.with_name("three.int8.onnx").exists()


def test_without_the_extra(three, pictures, capfd, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "nncf" else find(name, *a)
    )
    assert call(three, "--int8", pictures) == 2
    assert "needs nncf: pip install 'rtseg[int8]'" in one_line(capfd)
