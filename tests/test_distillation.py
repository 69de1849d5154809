"""A teacher that knows more classes than its pupil."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("safetensors", reason="needs the train extra")

from rtseg.data.labels import CAMVID11, ROAD, ClassTable  # noqa: E402
from rtseg.errors import UsageError  # noqa: E402
from rtseg.models import build  # noqa: E402
from rtseg.training.distillation import Teacher  # noqa: E402
from rtseg.training.weights import save_weights  # noqa: E402

OPTIONS = {"width": 0.25, "widths": [8, 8, 8, 8]}


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """A network of CamVid's classes, untrained."""
    torch.manual_seed(0)
    model = build("unet-mobilenetv2", 11, **OPTIONS)
    described = {
        "architecture": "unet-mobilenetv2", "options": OPTIONS, "size": [96, 64],
        "classes": list(CAMVID11.names), "palette": [list(c) for c in CAMVID11.colours],
    }  # fmt: skip
    save_weights(model.state_dict(), tmp_path / "street.safetensors", described)
    return tmp_path / "street.safetensors"


def test_its_probabilities_are_added_up_by_name(street: Path) -> None:
    teacher = Teacher({"checkpoint": str(street), "factor": 2.0}, ROAD)
    pictures = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        known = teacher.network(pictures).softmax(1).double().numpy()
    road = known[:, CAMVID11.names.index("Road")]
    opinion = np.stack((1 - road, road), 1)
    logits = torch.randn(2, 2, 32, 48)
    pupil = logits.double().softmax(1).numpy()
    expected = 2.0 * (opinion * (np.log(opinion) - np.log(pupil))).sum(1).mean()
    assert float(teacher.loss(pictures, logits)) == pytest.approx(expected, rel=1e-4)


def test_temperature_softens_both_as_in_the_paper(street: Path) -> None:
    teacher = Teacher({"checkpoint": str(street), "temperature": 3.0}, CAMVID11)
    pictures, logits = torch.randn(1, 3, 64, 96), torch.randn(1, 11, 32, 48)
    with torch.no_grad():
        opinion = (teacher.network(pictures) / 3).softmax(1)
    pupil = (logits / 3).softmax(1)
    expected = 9 * (opinion * (opinion.log() - pupil.log())).sum(1).mean()
    assert float(teacher.loss(pictures, logits)) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ({"checkpiont": "x"}, r"model\.teacher\.checkpiont: unknown key"),
        ({"factor": 1.0}, r"model\.teacher\.checkpoint is missing"),
        ({"checkpoint": "street", "factor": 0}, r"model\.teacher\.factor is 0"),
    ],
)
def test_a_teacher_that_is_not_declared_right_is_named(declared: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Teacher(declared, CAMVID11)


def test_a_teacher_that_lacks_a_class_is_refused(street: Path) -> None:
    pupil = ClassTable(("background", "road", "tram"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
    with pytest.raises(UsageError, match="the recipe's are background, road, tram"):
        Teacher({"checkpoint": str(street)}, pupil)
