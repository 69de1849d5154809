"""Encoders, U-Net and FCN: shapes, published weights, initialisation, cost."""

import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="networks need torch (extra train)")
from torch.nn import functional as F  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from rtseg.models import (  # noqa: E402
    ARCHITECTURES,
    FCN,
    MobileNetV2,
    MobileNetV2Encoder,
    UNet,
    VGG16Encoder,
    build,
)
from rtseg.models.mobilenet_v2 import load_safetensors  # noqa: E402
from rtseg.models.registry import SegmentationModel, flops, parameters  # noqa: E402


def image(width=64, height=32, count=1):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def shapes(state):
    return {key: tuple(value.shape) for key, value in state.items()}


@pytest.fixture(scope="module")
def published(shared):
    """Torchvision's mobilenet_v2 weights, as published."""
    return load_safetensors(str(shared / "weights" / "mobilenet_v2_imagenet.safetensors"))


# MobileNetV2


def test_mobilenetv2_takes_the_published_weights_key_for_key(published):
    with torch.device("meta"):
        model = MobileNetV2()
    assert shapes(model.state_dict()) == shapes(published)


def test_mobilenetv2_has_the_published_size():
    # Torchvision's documentation of mobilenet_v2: 3504872 parameters, 0.3 G multiply-adds at 224.
    with torch.device("meta"):
        model = MobileNetV2()
        assert parameters(model) == 3504872
        assert round(flops(model, 224, 224) / 2e9, 1) == 0.3


def test_the_encoder_gives_the_classifiers_own_features(published):
    classifier, encoder = MobileNetV2().eval(), MobileNetV2Encoder(head=True).eval()
    classifier.load_state_dict(published, strict=True)
    encoder.load_classifier(published)
    with torch.no_grad():
        torch.testing.assert_close(encoder(image())[-1], classifier.features(image()))


@pytest.mark.parametrize("width", [0.35, 0.5, 1.0, 1.4])
@pytest.mark.parametrize("head", [False, True])
def test_the_encoders_maps_have_its_strides_and_channels(width, head):
    encoder = MobileNetV2Encoder(width, head).eval()
    with torch.no_grad():
        maps = encoder(image(96, 64, 2))
    assert encoder.strides == (2, 4, 8, 16, 32)
    assert [tuple(m.shape) for m in maps] == [
        (2, channels, 64 // stride, 96 // stride)
        for channels, stride in zip(encoder.channels, encoder.strides, strict=True)
    ]


def test_the_encoders_channels_are_the_papers():
    assert MobileNetV2Encoder().channels == (16, 24, 32, 96, 320)
    assert MobileNetV2Encoder(head=True).channels == (16, 24, 32, 96, 1280)


def test_the_encoder_takes_a_classifiers_weights_with_and_without_its_head():
    state = MobileNetV2(classes=7, width=0.35).state_dict()
    for head in (False, True):
        encoder = MobileNetV2Encoder(0.35, head)
        encoder.load_classifier(state)
        for key, value in encoder.state_dict().items():
            assert torch.equal(value, state[key]), key


def test_weights_that_do_not_fit_are_named():
    state = MobileNetV2(width=0.35).state_dict()
    encoder = MobileNetV2Encoder(0.35)
    missing = {k: v for k, v in state.items() if k != "features.3.conv.0.0.weight"}
    with pytest.raises(RuntimeError, match=r"features\.3\.conv\.0\.0\.weight"):
        encoder.load_classifier(missing)
    with pytest.raises(RuntimeError, match="stranger"):
        encoder.load_classifier({**state, "stranger": torch.zeros(1)})
    with pytest.raises(RuntimeError, match="size mismatch"):
        MobileNetV2Encoder(0.5).load_classifier(state)


# U-Net


@pytest.mark.parametrize(
    ("stride", "widths"),
    [
        (16, (24,)),
        (8, (32, 16)),
        (4, (32, 24, 16)),
        (2, (32, 24, 16, 8)),
        (1, (32, 24, 16, 8, 8)),
    ],
)
@pytest.mark.parametrize("classes", [2, 11])
def test_the_unets_logits_are_at_their_stride(stride, widths, classes):
    model = UNet(classes, MobileNetV2Encoder(0.35), widths, stride).eval()
    with torch.no_grad():
        assert model(image(96, 64, 2)).shape == (2, classes, 64 // stride, 96 // stride)
        # Sizes that are no multiples of 32, and odd ones inside.
        width, height = 7 * model.size_divisor, 5 * model.size_divisor
        assert model(image(width, height)).shape[2:] == (height // stride, width // stride)
    assert (model.classes, model.logits_stride) == (classes, stride)
    assert model.size_divisor == max(2, stride)
    assert isinstance(model, SegmentationModel)


@pytest.mark.parametrize(
    ("stride", "widths", "says"),
    [
        (3, (8,), "logits_stride is 3: one of 1, 2, 4, 8, 16"),
        (32, (), "logits_stride is 32"),
        (0, (), "logits_stride is 0"),
        (4, (8, 8), "takes 3 decoder widths, not 2"),
        (2, (8, 8, 8, 8, 8), "takes 4 decoder widths, not 5"),
    ],
)
def test_a_unet_that_cannot_be_built_is_named(stride, widths, says):
    with pytest.raises(ValueError, match=says):
        UNet(2, MobileNetV2Encoder(0.35), widths, stride)


def test_every_decoder_block_sees_its_skip_connection():
    model = UNet(2, MobileNetV2Encoder(0.35), (8, 8, 8, 8, 8), 1)
    model(image(64, 64)).sum().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None]
    assert idle == []


# FCN


def encoders():
    return {"mobilenetv2": MobileNetV2Encoder(0.35, head=True), "vgg16": VGG16Encoder(hidden=8)}


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("encoder", ["mobilenetv2", "vgg16"])
def test_fcns_logits_are_at_their_stride_and_start_at_zero(stride, encoder):
    model = FCN(5, encoders()[encoder], stride).eval()
    width, height = 3 * model.size_divisor, 2 * model.size_divisor
    with torch.no_grad():
        logits = model(image(width, height, 2))
    assert logits.shape == (2, 5, height // stride, width // stride)
    assert not logits.any()
    assert len(model.scores) == {32: 1, 16: 2, 8: 3}[stride]
    for score in model.scores:
        assert not score.weight.any()
        assert not score.bias.any()
    assert model.logits_stride == stride
    assert isinstance(model, SegmentationModel)


@pytest.mark.parametrize("stride", [8, 16])
def test_fcns_upsamplings_start_bilinear(stride):
    model = FCN(3, MobileNetV2Encoder(0.35), stride)
    scores = torch.rand(2, 3, 7, 9)
    for layer in model.upsample2:
        ours = layer(scores)
        expected = F.interpolate(scores, scale_factor=2.0, mode="bilinear")
        assert ours.shape == expected.shape
        inside = (..., slice(2, -2), slice(2, -2))
        torch.testing.assert_close(ours[inside], expected[inside])


def test_fcns_upsamplings_are_trained():
    model = FCN(3, MobileNetV2Encoder(0.35), 8)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(2):  # the first step moves the score layers alone: they start at zero
        optimiser.zero_grad()
        F.cross_entropy(model(image()), torch.ones(1, 4, 8, dtype=torch.long)).backward()
        optimiser.step()
    fresh = FCN(3, MobileNetV2Encoder(0.35), 8)
    for trained, start in zip(model.upsample2, fresh.upsample2, strict=True):
        assert not torch.equal(trained.weight, start.weight)


def test_expanded_maps_are_the_next_blocks_expansions():
    encoder = MobileNetV2Encoder(head=True, expanded=True).eval()
    plain = MobileNetV2Encoder(head=True).eval()
    plain.load_state_dict(encoder.state_dict(), strict=True)
    with torch.no_grad():
        maps, narrow = encoder(image(96, 64, 2)), plain(image(96, 64, 2))
    assert encoder.channels == (96, 144, 192, 576, 1280)
    for fine, coarse, stride, channels in zip(
        maps, narrow, encoder.strides, encoder.channels, strict=True
    ):
        assert fine.shape == (2, channels, 64 // stride, 96 // stride)
        assert fine.shape[2:] == coarse.shape[2:]
    torch.testing.assert_close(maps[-1], narrow[-1])
    for index, tap in ((2, 0), (4, 1), (7, 2), (14, 3)):
        with torch.no_grad():
            expected = plain.features[index].conv[0](narrow[tap])
        torch.testing.assert_close(maps[tap], expected)


@pytest.mark.parametrize("stride", [4, 64, 0])
def test_an_fcn_of_another_stride_is_an_error(stride):
    with pytest.raises(ValueError, match=f"stride is {stride}: one of 8, 16, 32"):
        FCN(2, MobileNetV2Encoder(0.35), stride)


# VGG-16


def vgg16_state(hidden, **changes):
    """Tensors of the shapes of torchvision's vgg16, with ``hidden`` for 4096."""
    channels, state, place = 3, {}, 0
    for stage in ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3):
        for outputs in stage:
            state[f"features.{place}.weight"] = torch.zeros(outputs, channels, 3, 3)
            state[f"features.{place}.bias"] = torch.zeros(outputs)
            channels, place = outputs, place + 2
        place += 1
    for name, outputs, inputs in ((0, hidden, 25088), (3, hidden, hidden), (6, 1000, hidden)):
        state[f"classifier.{name}.weight"] = torch.randn(outputs, inputs)
        state[f"classifier.{name}.bias"] = torch.randn(outputs)
    return {**state, **changes}


def test_vgg16_takes_torchvisions_weights_reshaped():
    state, encoder = vgg16_state(16), VGG16Encoder(hidden=16).eval()
    encoder.load_classifier(state)
    # On a 7x7 map the middle of fc6's output is what the fully connected layer gives.
    deepest = torch.rand(1, 512, 7, 7)
    with torch.no_grad():
        ours = encoder.head[0](deepest)[0, :, 3, 3]
    expected = F.linear(deepest.flatten(), state["classifier.0.weight"], state["classifier.0.bias"])
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-3)
    hidden = torch.rand(1, 16, 1, 1)
    expected = F.linear(hidden.flatten(), state["classifier.3.weight"], state["classifier.3.bias"])
    torch.testing.assert_close(encoder.head[3](hidden).flatten(), expected)


def test_vgg16_weights_that_do_not_fit_are_named():
    encoder = VGG16Encoder(hidden=8)
    state = vgg16_state(8)
    del state["features.28.bias"]
    with pytest.raises(RuntimeError, match=r"features\.28\.bias"):
        encoder.load_classifier(state)
    with pytest.raises(RuntimeError, match="stranger"):
        encoder.load_classifier(vgg16_state(8, stranger=torch.zeros(1)))
    with pytest.raises(RuntimeError, match=r"size mismatch for head\.0\.weight"):
        encoder.load_classifier(vgg16_state(16))


def test_vgg16s_maps_have_its_strides_and_channels():
    encoder = VGG16Encoder(hidden=8).eval()
    with torch.no_grad():
        maps = encoder(image(64, 32, 1))
    assert [tuple(m.shape) for m in maps] == [
        (1, channels, 32 // stride, 64 // stride)
        for channels, stride in zip((64, 128, 256, 512, 8), encoder.strides, strict=True)
    ]
    assert encoder.channels == (64, 128, 256, 512, 8)


def test_vgg16_has_the_published_size():
    # Torchvision's vgg16 has 138357544 parameters, 4097000 of them in its last layer.
    with torch.device("meta"):
        assert parameters(VGG16Encoder()) == 138357544 - 4097000


# All of them


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("classes", [2, 11])
def test_parameters_and_flops_are_torchs_own(name, classes):
    with torch.device("meta"):
        model = build(name, classes).eval()
        assert isinstance(model, SegmentationModel)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            logits = model(torch.zeros(1, 3, 96, 160))
        assert flops(model, 160, 96) == counter.get_total_flops()
    assert logits.shape[:2] == (1, classes)
    own = {id(p): p.numel() for p in model.parameters()}
    assert parameters(model) == sum(own.values())


def test_counting_leaves_the_model_as_it_was():
    model = build("unet-mobilenetv2", 2, width=0.35).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    flops(model, 64, 64)
    assert model.training
    assert not any(m._forward_hooks for m in model.modules())
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_an_unknown_architecture_names_those_that_are():
    with pytest.raises(ValueError, match="unknown architecture 'segnet'") as caught:
        build("segnet", 2)
    for name in ARCHITECTURES:
        assert name in str(caught.value)


def run_models(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "rtseg.models", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "100"},
    )


def test_the_command_prints_a_row_an_architecture():
    done = run_models()
    assert (done.returncode, done.stderr) == (0, "")
    for name in ARCHITECTURES:
        assert done.stdout.count(name) == 1
    row = next(line for line in done.stdout.splitlines() if "fcn8s-vgg16" in line)
    with torch.device("meta"):
        model = build("fcn8s-vgg16", 2)
        assert f"{parameters(model) / 1e6:.2f}" in row
        assert f"{flops(model, 512, 256) / 1e9:.2f}" in row


def test_the_command_takes_names_a_size_and_classes():
    done = run_models("unet-mobilenetv2", "--size", "64x96", "--classes", "5")
    assert done.returncode == 0
    assert "64×96, 5 classes" in done.stdout
    assert "fcn" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["segnet"], "unknown architecture 'segnet'"),
        (["--size", "big"], "--size big"),
        (["--size", "100x64"], "multiples of 32"),
        (["--size", "0x64"], "multiples of 32"),
        (["--classes", "0"], "at least 1"),
        (["--classes", "many"], "invalid int value: 'many'"),
        (["--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_the_commands_errors_are_one_line_with_status_2(capsys, arguments, says):
    from rtseg.models.__main__ import main

    with pytest.raises(SystemExit) as caught:
        main(arguments)
    out, error = capsys.readouterr()
    assert caught.value.code == 2
    assert out == ""
    assert error.count("\n") == 1
    assert says in error
