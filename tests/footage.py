"""Footage whose masks are known: the tests' network calls a pixel road where its blue is high."""

from fractions import Fraction

import av
import cv2
import numpy as np

WIDTH, HEIGHT = 192, 128
"""Twice the network's size, so that shrinking for it is exact."""


def picture(index, width=WIDTH, height=HEIGHT):
    """Picture ``index``: road is a bar on the left, which is wider in every frame."""
    image = np.full((height, width, 3), (20, 60, 90), np.uint8)
    image[:, : bar(index, width)] = (230, 60, 20)
    return image


def bar(index, width=WIDTH):
    """The bar's width: 16 pixels and 4 more in every frame, and round again."""
    return (16 + 4 * index) % max(8, width - 16) // 4 * 4


def true_mask(index, width=WIDTH, height=HEIGHT):
    """The mask of picture ``index``."""
    return (picture(index, width, height)[..., 0] > 127).astype(np.uint8)


def read_bar(image):
    """The width of the bar in a mask or a blue channel, to the nearest of its steps."""
    wide = np.count_nonzero(image[image.shape[0] // 2] > 0)
    return round(wide / 4) * 4


def write_folder(folder, count, width=WIDTH, height=HEIGHT):
    """Write pictures as PNG; returns the folder."""
    folder.mkdir(parents=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index}.png"), picture(index, width, height))
    return folder


def write_video(path, count, width=WIDTH, height=HEIGHT, fps=25, gop=10, **options):
    """Write pictures as H.264 that is as good as lossless; returns the path."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "4", "preset": "ultrafast", "g": str(gop)}
        for index in range(count):
            image = np.ascontiguousarray(picture(index, width, height))
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def frames_of(path):
    """Return every picture of a video. With PyAV: OpenCV's FFmpeg is quiet only if it begins so."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def count_before_damage(path):
    """How many pictures of a video come before the first that cannot be decoded."""
    count = 0
    with av.open(str(path)) as container:
        try:
            for _ in container.decode(video=0):
                count += 1
        except av.error.InvalidDataError:
            pass
    return count


def rate_of(path):
    """The frames a second that a video's container tells."""
    with av.open(str(path)) as container:
        return float(container.streams.video[0].average_rate)
