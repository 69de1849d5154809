"""The mean of several trainings of one network."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("safetensors", reason="needs the train extra")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from rtseg.cli.soup import main  # noqa: E402


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """Three files of one network's shape."""
    files = []
    for i in range(3):
        file = tmp_path / f"{i}.safetensors"
        tensors = {"w": torch.full((2, 3), float(i + 1)), "seen": torch.tensor(10 + i)}
        save_file(tensors, file, {"architecture": f"made {i}"})
        files.append(file)
    return files


def test_the_mean_is_weighted_and_tells_what_it_is_of(parts: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    shares = (0.2, 0.5, 0.3)
    given = [f"{file}={share}" for file, share in zip(parts, shares, strict=True)]
    assert main(["--out", str(out), *given]) == 0
    found = load_file(out)
    assert torch.allclose(found["w"], torch.full((2, 3), 0.2 + 2 * 0.5 + 3 * 0.3))
    assert found["seen"] == 10
    with safe_open(out, framework="pt") as file:
        assert file.metadata() == {"architecture": "made 0"}


@pytest.mark.parametrize(
    ("shares", "status", "says"),
    [
        (("0.5", "0.6"), 2, "whose sum is 1"),
        (("-0.5", "1.5"), 2, "from 0 up"),
        (("0.5", "half"), 2, "FILE=SHARE"),
    ],
)
def test_shares_that_are_none_are_one_line(
    parts: list[Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    shares: tuple[str, str],
    status: int,
    says: str,
) -> None:
    given = [f"{file}={share}" for file, share in zip(parts, shares, strict=False)]
    assert main(["--out", str(tmp_path / "out.safetensors"), *given]) == status
    err = capfd.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out.safetensors").exists()


def test_networks_of_other_shapes_are_not_mixed(
    parts: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_file({"w": torch.zeros(2, 4), "seen": torch.tensor(0)}, parts[1])
    given = [f"{file}=0.5" for file in parts[:2]]
    assert main(["--out", str(tmp_path / "out.safetensors"), *given]) == 1
    assert "not of the same network" in capfd.readouterr().err
