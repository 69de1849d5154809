"""``rtseg-eval`` on pictures and videos without labels, and what it refuses."""

import cv2
import footage
import numpy as np
import pytest
from dataset_files import write
from evaluated import mask_of, noisy, result_of, road_folder, run_eval


@pytest.fixture
def evaluate(capfd, tiny_network, tmp_path):
    """Run the command with the tests' network; gives status and error lines."""

    def run(source, *arguments, network=tiny_network):
        return run_eval(capfd, network, source, "--out", tmp_path / "out", *arguments)

    return run


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_masks_of_pictures_have_their_size_and_names(evaluate, tmp_path):
    sizes = [(96, 64), (150, 111), (31, 47)]
    for i, size in enumerate(sizes):
        write(tmp_path / "p" / f"{i + 9}.png", noisy(i, *size))
    assert evaluate(tmp_path / "p", "--masks") == (0, [])
    for i, size in enumerate(sizes):
        mask = read(tmp_path / "out" / "masks" / f"{i + 9}.png")
        np.testing.assert_array_equal(mask, mask_of(noisy(i, *size)))
    result = result_of(tmp_path / "out")
    assert result["counts"]["written"] == 3
    assert result["scores"] is None
    assert result["confusion"] is None
    assert not (tmp_path / "out" / "classes.csv").exists()
    assert not (tmp_path / "out" / "painted").exists()


def test_painted_copies_are_painted_where_the_mask_is(evaluate, tmp_path):
    picture = np.full((64, 96, 3), 40, np.uint8)
    picture[:, :48, 0] = 200
    write(tmp_path / "p" / "a.png", picture)
    assert evaluate(tmp_path / "p", "--painted") == (0, [])
    painted = read(tmp_path / "out" / "painted" / "a.jpg").astype(int)
    assert painted.shape == picture.shape
    assert painted[:, :40, 1].mean() > 100  # the road's green
    assert abs(painted[:, 56:] - 40).max() < 10


def test_pictures_of_one_name_have_masks_of_two(evaluate, tmp_path):
    write(tmp_path / "p" / "a.png", noisy(0))
    write(tmp_path / "p" / "a.bmp", noisy(1))
    write(tmp_path / "q" / "a.png", noisy(2))
    assert evaluate(tmp_path / "*" / "a.*", "--masks") == (0, [])
    masks = tmp_path / "out" / "masks"
    np.testing.assert_array_equal(read(masks / "p" / "a.png.png"), mask_of(noisy(0)))
    np.testing.assert_array_equal(read(masks / "p" / "a.bmp.png"), mask_of(noisy(1)))
    np.testing.assert_array_equal(read(masks / "q" / "a.png"), mask_of(noisy(2)))


def test_a_picture_that_cannot_be_read_is_skipped_and_said(evaluate, tmp_path):
    for i in range(3):
        write(tmp_path / "p" / f"{i}.png", noisy(i))
    (tmp_path / "p" / "1.png").write_bytes((tmp_path / "p" / "1.png").read_bytes()[:200])
    status, lines = evaluate(tmp_path / "p", "--masks")
    assert status == 0
    assert len(lines) == 1
    assert "1 of 3 frames skipped (1 unreadable)" in lines[0]
    assert result_of(tmp_path / "out")["skipped"][0]["name"] == "1.png"
    masks = sorted(path.name for path in (tmp_path / "out" / "masks").iterdir())
    assert masks == ["0.png", "2.png"]


@pytest.mark.parametrize("devices", ["CPU", "CPU,CPU"])
def test_a_video_gives_its_masks_in_order_and_a_painted_copy(evaluate, tmp_path, devices):
    video = footage.write_video(tmp_path / "v.mp4", 12)
    assert evaluate(video, "--masks", "--painted", "--devices", devices) == (0, [])
    out = tmp_path / "out"
    bars = [footage.read_bar(read(out / "masks" / f"{i:06d}.png")) for i in range(12)]
    assert bars == [footage.bar(i) for i in range(12)]
    painted = footage.frames_of(out / "painted.mp4")
    assert len(painted) == 12
    assert footage.rate_of(out / "painted.mp4") == 25
    for i, frame in enumerate(painted):
        # The bar is blue, and green over that; the rest is as it was.
        bar = footage.bar(i)
        assert frame[40, : max(1, bar - 8), 1].mean() > 100
        assert abs(frame[40, bar + 8 :].mean(0) - (20, 60, 90)).max() < 20
    assert result_of(out)["counts"] == {
        "frames": 12, "scored": 0, "written": 12, "skipped": 0, "reasons": {},
    }  # fmt: skip


def test_a_video_goes_on_where_a_limit_ended(evaluate, tmp_path):
    video = footage.write_video(tmp_path / "v.mp4", 10)
    assert evaluate(video, "--painted", "--limit", 4) == (0, [])
    out = tmp_path / "out"
    assert len(footage.frames_of(out / "painted.mp4")) == 4
    assert evaluate(video, "--painted") == (0, [])
    assert result_of(out)["speed"]["frames"] == 6
    assert len(footage.frames_of(out / "painted.mp4")) == 10
    assert evaluate(video, "--painted") == (0, [])
    assert result_of(out)["speed"]["frames"] == 0
    assert result_of(out)["counts"]["written"] == 10
    assert evaluate(video, "--painted", "--limit", 7) == (0, [])
    assert len(footage.frames_of(out / "painted.mp4")) == 7


def test_a_video_that_is_cut_short_is_listed(evaluate, tmp_path):
    video = footage.write_video(tmp_path / "v.mkv", 40, gop=5)
    content = video.read_bytes()
    video.write_bytes(content[: len(content) * 2 // 3])
    status, lines = evaluate(video, "--masks")
    assert status == 0
    assert len(lines) == 1
    result = result_of(tmp_path / "out")
    assert 0 < result["counts"]["written"] < 40
    assert result["skipped"][0]["name"] == "v.mkv"
    assert result["skipped"][0]["reason"] == "unreadable"
    masks = len(list((tmp_path / "out" / "masks").glob("*.png")))
    assert masks == result["counts"]["written"]
    assert evaluate(video, "--masks", "--strict")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing", "p", "--out", "o", "--masks"], "no network of the zoo"),
        (["NET", "missing", "--out", "o"], "missing: no such file or folder"),
        (["NET", "p", "--out", "o"], "give --masks, --painted or both"),
        (["NET", "p", "--out", "o", "--masks", "--split", "val"], "--split"),
        (["NET", "p", "--out", "o", "--masks", "--boundary"], "no labels"),
        (["NET", "p", "--out", "o", "--kind", "cityscapes"], "--kind cityscapes: one of camvid"),
        (["NET", "p", "--out", "o", "--kind", "camvid"], "not laid out as camvid"),
        (["NET", "data", "--out", "o", "--split", "test"], "has no folders for its parts"),
        (["NET", "data", "--out", "o", "--space", "bev"], "--space"),
        (["NET", "data", "--out", "o", "--space", "sideways"], "perspective, bev"),
        (["NET", "data", "--out", "o", "--size", "97x64"], "--size"),
        (["NET", "data", "--out", "o", "--backend", "caffe"], "unknown backend"),
        (["NET", "data", "--out", "o", "--devices", "TPU"], "unknown device 'TPU'"),
        (["NET", "data", "--out", "o", "--devices", ","], "--devices"),
        (["NET", "data", "--out", "o", "--batch", "0"], "--batch"),
        (["NET", "data", "--out", "o", "--limit", "0"], "--limit"),
        (["NET", "data", "--out", "o", "--classes-file", "none.txt"], "none.txt"),
        (["NET", "drive", "--out", "o", "--split", "train"], "held-out"),
        (["NET", "data", "--out", "p"], "holds a.png, and no evaluation"),
        (["NET", "data", "--out", "classes.txt"], "cannot make this folder"),
        (["NET", "data"], "--out"),
        (["NET", "empty", "--out", "o"], "laid out as no known kind"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_one_line(capfd, tiny_network, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    road_folder(tmp_path / "data", 2)
    write(tmp_path / "p" / "a.png", noisy(0))
    (tmp_path / "empty").mkdir()
    (tmp_path / "classes.txt").write_text("x")
    given = [str(tiny_network) if word == "NET" else word for word in arguments]
    status, lines = run_eval(capfd, *given)
    assert status in (1, 2)
    assert len(lines) == 1, lines
    assert words in lines[0]
    assert not (tmp_path / "o" / "result.json").exists()
