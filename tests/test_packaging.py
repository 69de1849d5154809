"""The lower bounds in setup.cfg are the versions that ``make test-lowest`` runs."""

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def _bounds(text: str) -> dict[str, tuple[int, ...]]:
    found = re.findall(r"^([\w-]+)[>=]=([\d.]+)", text, re.MULTILINE)
    return {name: tuple(int(part) for part in version.split(".")) for name, version in found}


def test_the_lowest_versions_are_those_that_are_tested() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    declared = _bounds(config["options"]["install_requires"].replace("\n    ", "\n"))
    declared |= _bounds(config["options.extras_require"]["onnxruntime"])
    tested = _bounds((ROOT / "tests" / "lowest.txt").read_text(encoding="utf-8"))
    assert {"numpy", "opencv-python", "openvino", "av", "rich", "onnxruntime"} <= declared.keys()
    for name, bound in declared.items():
        assert tested[name][: len(bound)] == bound, name
        assert not any(tested[name][len(bound) : 2]), f"{name}: a later version than its bound"


@pytest.mark.parametrize(
    "arguments",
    [
        ["rtseg.models"],
        ["rtseg.cli.train", "fit", "--config", "road-unet"],
        ["rtseg.cli.compile", "x.safetensors"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_without_its_extra_names_it_in_one_line(arguments, tmp_path) -> None:
    # A finder that knows no torch, as where only the base is installed.
    script = (
        "import importlib.util, runpy, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda n, p=None: None if n == 'torch' else find(n, p)\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert run.returncode == 2
    assert len(run.stderr.splitlines()) == 1
    assert "needs torch: pip install 'rtseg[train]'" in run.stderr


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_reader_that_goes_early_makes_no_traceback() -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "rtseg.cli.compile", "road-unet", "--spec"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    run.stdout.close()
    assert run.stderr.read() == ""
    assert run.wait() in (0, 141)  # all was said before, or not
