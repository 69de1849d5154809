"""The lower bounds in setup.cfg are the versions that ``make test-lowest`` runs."""

import configparser
import re
from pathlib import Path

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
