"""The spec in a network file, and the reader of ONNX heads, against the onnx package."""

import contextlib
import hashlib
import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtseg.errors import NetworkError
from rtseg.onnx_header import read_header
from rtseg.spec import KEY, Spec, describe, read_network

UINT8, FLOAT = 2, 1  # TensorProto.DataType

VALUES = {
    "name": "tiny",
    "width": 96,
    "height": 64,
    "classes": ["background", "road"],
    "palette": [[0, 0, 0], [0, 200, 90]],
}


def text_of(**changes):
    values = {"format": 1, **VALUES, **changes}
    return json.dumps({k: v for k, v in values.items() if v is not ...})


printable = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=12)
names = printable.filter(lambda t: not set("/\\") & set(t))
channels = st.integers(0, 255)


@st.composite
def specs(draw):
    stride = draw(st.sampled_from([1, 2, 4, 8]))
    divisor = stride * draw(st.integers(1, 8))
    classes = draw(st.lists(printable, min_size=2, max_size=6, unique=True))
    return Spec(
        name=draw(names),
        width=divisor * draw(st.integers(1, 20)),
        height=divisor * draw(st.integers(1, 20)),
        classes=tuple(classes),
        palette=tuple(draw(st.tuples(channels, channels, channels)) for _ in classes),
        mask_stride=stride,
        size_divisor=divisor,
        fixed_size=draw(st.booleans()),
        precision=draw(st.sampled_from(["fp32", "fp16", "int8"])),
        training_data=draw(printable),
        measured=draw(st.dictionaries(printable, st.floats(0, 1), max_size=3)),
        versions=draw(st.dictionaries(printable, printable, max_size=3)),
    )


@given(specs())
def test_a_spec_comes_back_from_its_text(spec):
    assert Spec.from_json(spec.to_json()) == spec


@given(specs())
def test_a_description_is_plain_json_with_every_field(spec):
    values = describe(spec)
    assert json.loads(json.dumps(values)) == values
    assert set(values) == {"format", *asdict(spec)}


def test_masks_are_smaller_by_the_stride():
    spec = Spec.from_json(text_of(mask_stride=4))
    assert (spec.mask_width, spec.mask_height) == (24, 16)


def test_keys_of_a_newer_rtseg_are_left_out():
    assert Spec.from_json(text_of(sparkle=[1, 2])) == Spec.from_json(text_of())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": 2}, "format is 2, this rtseg reads 1"),
        ({"format": ...}, "format is None"),
        ({"width": ...}, "width"),
        ({"classes": ...}, "classes"),
        ({"classes": "ab"}, "classes is not a list"),
        ({"palette": [[0, 0, 0], [0, 200]]}, "wrong kind"),
        ({"palette": 5}, "wrong kind"),
        ({"palette": [[0, 0, 0], [float("inf"), 0, 0]]}, "wrong kind"),
        ({"palette": [[0, 0, 0]]}, "one colour a class"),
        ({"palette": [[0, 0, 0], [0, 256, 0]]}, "0 to 255"),
        ({"palette": [[0, 0, 0], [0, -1, 0]]}, "0 to 255"),
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"name": "../../bin/sh"}, "path separator"),
        ({"name": "a\\b"}, "path separator"),
        ({"width": 0}, "positive whole"),
        ({"height": -64}, "positive whole"),
        ({"width": "96"}, "positive whole"),
        ({"width": 96.0}, "positive whole"),
        ({"width": True}, "positive whole"),
        ({"mask_stride": 0}, "positive whole"),
        ({"size_divisor": 0}, "positive whole"),
        ({"width": 1 << 20, "height": 1 << 20}, "too large"),
        ({"width": 100}, "size_divisor"),
        ({"mask_stride": 5}, "mask_stride"),
        ({"mask_stride": 3, "height": 96}, "mask_stride does not divide size_divisor"),
        ({"classes": ["road", "road"]}, "distinct"),
        ({"classes": ["road"], "palette": [[0, 0, 0]]}, "2 to 255"),
        ({"classes": ["", "road"]}, "class names"),
        ({"classes": [1, 2]}, "class names"),
        ({"precision": "int3"}, "int3"),
    ],
)
def test_an_invalid_spec_is_named(changes, says):
    with pytest.raises(ValueError, match=says):
        Spec.from_json(text_of(**changes))


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '"text"', "[" * 100_000])
def test_a_text_that_is_no_json_object_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"\S"):
        Spec.from_json(text)


def test_255_classes_are_allowed_and_256_are_not():
    def text(count):
        return text_of(classes=[f"c{i}" for i in range(count)], palette=[[0, 0, 0]] * count)

    assert len(Spec.from_json(text(255)).classes) == 255
    with pytest.raises(ValueError, match="2 to 255"):
        Spec.from_json(text(256))


# Another size


def test_another_size_is_taken_when_the_divisor_divides_it():
    spec = Spec.from_json(text_of())
    other = spec.resized(640, 352)
    assert (other.width, other.height) == (640, 352)
    assert (other.name, other.classes) == (spec.name, spec.classes)
    assert (spec.width, spec.height) == (96, 64)


@given(specs(), st.integers(-5, 3000), st.integers(-5, 3000))
def test_a_size_fits_or_the_error_names_one_that_does(spec, width, height):
    if width > 0 and height > 0 and (width, height) == (spec.width, spec.height):
        assert spec.resized(width, height) == spec
        return
    d = spec.size_divisor
    if not spec.fixed_size and width >= d <= height and width % d == height % d == 0:
        other = spec.resized(width, height)
        assert (other.width, other.height) == (width, height)
        assert Spec.from_json(other.to_json()) == other
        return
    with pytest.raises(NetworkError) as caught:
        spec.resized(width, height)
    if not spec.fixed_size:
        near = [int(side) for side in str(caught.value).rpartition("such as ")[2].split("x")]
        assert spec.resized(*near).width == near[0]


def test_a_fixed_size_says_which():
    spec = Spec.from_json(text_of(fixed_size=True))
    assert spec.resized(96, 64) == spec
    with pytest.raises(NetworkError, match="96x64 only"):
        spec.resized(128, 64)


def test_a_size_beyond_memory_is_refused():
    with pytest.raises(NetworkError, match="million pixels"):
        Spec.from_json(text_of()).resized(32 << 10, 32 << 10)


# The head of an ONNX file, read without the onnx package


def model_of(inputs, outputs, *, weights=(), metadata=None, opset=17, weights_as_inputs=False):
    """Serialise a model; an input or output is (name, element type, dims)."""
    onnx = pytest.importorskip("onnx", reason="the oracle of these tests (extra test)")
    from onnx import helper

    inputs = [helper.make_tensor_value_info(*value) for value in inputs]
    if weights_as_inputs:
        inputs += [helper.make_tensor_value_info(name, FLOAT, [2]) for name in weights]
    graph = helper.make_graph(
        [],
        "g",
        inputs,
        [helper.make_tensor_value_info(*value) for value in outputs],
        [helper.make_tensor(name, FLOAT, [2], [0.5, 1.5]) for name in weights],
    )
    imports = [helper.make_opsetid("com.example", 3), helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=imports)
    assert isinstance(model, onnx.ModelProto)
    helper.set_model_props(model, metadata or {})
    return model.SerializeToString()


def as_onnx_reads_it(content):
    onnx = pytest.importorskip("onnx", reason="the oracle of these tests (extra test)")
    model = onnx.load_model_from_string(content)

    def value(info):
        dims = tuple(
            getattr(d, d.WhichOneof("value")) if d.WhichOneof("value") else "?"
            for d in info.type.tensor_type.shape.dim
        )
        return info.name, info.type.tensor_type.elem_type, dims

    weights = {w.name for w in model.graph.initializer}
    return (
        next(o.version for o in model.opset_import if o.domain == ""),
        [value(v) for v in model.graph.input if v.name not in weights],
        [value(v) for v in model.graph.output],
        {p.key: p.value for p in model.metadata_props},
    )


def as_we_read_it(content):
    header = read_header(content)
    return (
        header.opset,
        [(v.name, v.elem_type, v.dims) for v in header.inputs],
        [(v.name, v.elem_type, v.dims) for v in header.outputs],
        header.metadata,
    )


dims = st.lists(
    st.one_of(
        st.integers(-(1 << 63), (1 << 63) - 1), st.sampled_from(["batch", "höhe"]), st.none()
    ),
    max_size=5,
)
values = st.tuples(printable, st.sampled_from([1, 2, 7, 9, 10, 16]), dims)


@given(
    inputs=st.lists(values, max_size=3),
    outputs=st.lists(values, max_size=3),
    weights=st.lists(st.sampled_from(["w1", "w2", "w3"]), unique=True),
    metadata=st.dictionaries(printable, st.text(max_size=300), max_size=3),
    opset=st.integers(1, 1 << 40),
    weights_as_inputs=st.booleans(),
)
def test_the_head_is_read_as_onnx_reads_it(**model):
    content = model_of(**model)
    assert as_we_read_it(content) == as_onnx_reads_it(content)


def test_the_head_of_the_tests_network_is_read_as_onnx_reads_it(tiny_network):
    content = tiny_network.read_bytes()
    assert as_we_read_it(content) == as_onnx_reads_it(content)
    assert [v.type_name for v in read_header(content).inputs] == ["uint8"]


@given(data=st.data())
def test_damaged_bytes_give_a_header_or_a_value_error(tiny_network, data):
    content = bytearray(tiny_network.read_bytes())
    del content[data.draw(st.integers(0, len(content)), label="cut") :]
    places = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8)
    for place, byte in data.draw(places, label="changed"):
        if content:
            content[place % len(content)] = byte
    with contextlib.suppress(ValueError):
        read_header(bytes(content))


@given(st.binary(max_size=200))
def test_any_bytes_give_a_header_or_a_value_error(content):
    with contextlib.suppress(ValueError):
        read_header(content)


# Network files


def test_a_network_file_tells_its_spec_and_its_sum(tiny_network):
    network = read_network(tiny_network)
    assert network.path == tiny_network
    assert (network.spec.name, network.spec.width, network.spec.height) == ("tiny", 96, 64)
    assert network.sha256 == hashlib.sha256(tiny_network.read_bytes()).hexdigest()


FRAMES = ("frames", UINT8, ["batch", "height", "width", 3])
MASKS = ("masks", UINT8, ["batch", "height", "width"])


@pytest.mark.parametrize(
    ("inputs", "outputs", "changes", "says"),
    [
        ([FRAMES, ("more", UINT8, [1])], [MASKS], {}, "2 inputs and 1 outputs"),
        ([FRAMES], [MASKS, ("more", UINT8, [1])], {}, "1 inputs and 2 outputs"),
        ([], [MASKS], {}, "0 inputs"),
        (
            [("frames", FLOAT, FRAMES[2])],
            [MASKS],
            {},
            r"frames float32 \(batch, height, width, 3\), not uint8",
        ),
        ([FRAMES], [("masks", FLOAT, MASKS[2])], {}, "masks float32"),
        ([("frames", UINT8, ["batch", "height", "width"])], [MASKS], {}, r"\(N, H, W, 3\)"),
        ([("frames", UINT8, [1, 3, 64, 96])], [MASKS], {}, r"\(N, H, W, 3\)"),
        ([FRAMES], [("masks", UINT8, ["batch", 1, "height", "width"])], {}, r"\(N, h, w\)"),
        (
            [("frames", UINT8, [1, 64, 128, 3])],
            [("masks", UINT8, [1, 64, 128])],
            {"fixed_size": True},
            "96x64",
        ),
        (
            [("frames", UINT8, [1, 64, 96, 3])],
            [("masks", UINT8, [1, 64, 96])],
            {"fixed_size": True, "mask_stride": 2},
            "masks 48x32",
        ),
        (
            [("frames", UINT8, [1, 64, 96, 3])],
            [("masks", UINT8, [1, 64, 96])],
            {},
            "free, but the graph fixes it",
        ),
    ],
)
def test_a_network_that_breaks_the_contract_is_named(tmp_path, inputs, outputs, changes, says):
    path = tmp_path / "bad.onnx"
    path.write_bytes(model_of(inputs, outputs, metadata={KEY: text_of(**changes)}))
    with pytest.raises(NetworkError, match=says) as caught:
        read_network(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_fixed_network_that_fits_its_spec_is_read(tmp_path):
    path = tmp_path / "fixed.onnx"
    content = model_of(
        [("frames", UINT8, [1, 64, 96, 3])],
        [("masks", UINT8, [1, 32, 48])],
        metadata={KEY: text_of(fixed_size=True, mask_stride=2)},
    )
    path.write_bytes(content)
    assert read_network(path).spec.fixed_size


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"", "not a whole ONNX model"),
        (b"this is not a network, it is a text\n" * 20, "not a whole ONNX model"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "not a whole ONNX model"),
    ],
)
def test_a_file_that_is_no_network_is_named(tmp_path, content, says):
    path = tmp_path / "file.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NetworkError, match=says) as caught:
        read_network(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_network(tmp_path):
    with pytest.raises(NetworkError, match="Is a directory"):
        read_network(tmp_path)


def test_a_model_without_a_spec_says_how_to_get_one(tmp_path):
    path = tmp_path / "plain.onnx"
    path.write_bytes(model_of([FRAMES], [MASKS]))
    with pytest.raises(NetworkError, match="rtseg-compile"):
        read_network(path)


def test_a_model_with_a_broken_spec_says_what_is_broken(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(model_of([FRAMES], [MASKS], metadata={KEY: text_of(width="wide")}))
    with pytest.raises(NetworkError, match=r"its spec cannot be read: .*whole numbers"):
        read_network(path)


def test_a_file_cut_anywhere_in_its_graph_is_no_network(tiny_network, tmp_path):
    content = tiny_network.read_bytes()
    path = tmp_path / "cut.onnx"
    for size in range(0, len(content), 37):
        path.write_bytes(content[:size])
        with pytest.raises(NetworkError):
            read_network(path)
