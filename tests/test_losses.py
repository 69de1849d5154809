"""Every loss against torch's own, its plain formula, or a worked example; and the sum of them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")
from torch.nn import functional as F  # noqa: E402

from rtseg.data.labels import VOID  # noqa: E402
from rtseg.errors import UsageError  # noqa: E402
from rtseg.training.losses import (  # noqa: E402
    LOSSES,
    CrossEntropy,
    Dice,
    Focal,
    FocalTversky,
    LovaszSoftmax,
    OhemCrossEntropy,
    Tversky,
    build_loss,
    enet_weights,
    median_frequency_weights,
)

EVERY = pytest.mark.parametrize("name", LOSSES)


def sample(seed=0, shape=(2, 4, 6, 5), void=0.2, dtype=torch.float64, spread=2.0):
    """Logits (N, C, H, W), and a target (N, H, W) with a share of void."""
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, spread, shape)).to(dtype)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    target[rng.random(target.shape) < void] = VOID
    return logits, torch.from_numpy(target)


@st.composite
def samples(draw):
    shape = (draw(st.integers(1, 3)), draw(st.integers(2, 5)))
    shape += (draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    void = draw(st.sampled_from([0, 0.3, 0.9]))
    return sample(draw(st.integers(0, 1 << 30)), shape, void)


def known_pixels(logits, target):
    """Probabilities (P, C) and classes (P,) of the pixels that are not void, in NumPy."""
    known = (target != VOID).numpy()
    return logits.softmax(1).permute(0, 2, 3, 1).numpy()[known], target.numpy()[known]


def one(name, classes=4, **options):
    """The term ``name`` by itself, as a recipe declares it."""
    return build_loss([{"name": name, **options}], classes, None).terms[name]


# Cross-entropy


@settings(max_examples=40)
@given(samples(), st.booleans(), st.sampled_from([0.0, 0.1, 0.7]))
def test_cross_entropy_is_torchs(pair, weighted, smoothing):
    logits, target = pair
    weights = np.linspace(0.25, 2, logits.shape[1]) if weighted else None
    torchs = None if weights is None else torch.from_numpy(weights)
    logits.requires_grad_()
    loss = CrossEntropy(weights, smoothing)(logits.log_softmax(1), target)
    (gradient,) = torch.autograd.grad(loss, logits)
    if (target == VOID).all():  # torch divides 0 by 0
        assert loss == 0
        assert not gradient.any()
        return
    expected = F.cross_entropy(logits, target, torchs, ignore_index=VOID, label_smoothing=smoothing)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0])


@settings(max_examples=40)
@given(samples())
def test_ohem_is_the_mean_of_hard_pixels(pair):
    logits, target = pair
    probabilities, classes = known_pixels(logits, target)
    true = np.sort(probabilities[np.arange(len(classes)), classes])
    hard = true[true <= 0.4]
    enough = math.ceil(0.25 * len(true))
    if len(hard) < enough:
        hard = true[:enough]
    expected = -np.log(hard).mean() if len(hard) else 0
    loss = OhemCrossEntropy(0.4, 0.25)(logits.log_softmax(1), target)
    assert float(loss) == pytest.approx(expected)


@pytest.mark.parametrize("options", [{"threshold": 1.0}, {"threshold": 1e-9, "min_kept": 1.0}])
def test_ohem_of_all_pixels_is_cross_entropy(options):
    logits, target = sample()
    logits[0, 0, 0] = 1000  # a pixel that costs nothing is one of them
    expected = F.cross_entropy(logits, target, ignore_index=VOID)
    loss = OhemCrossEntropy(**options)(logits.log_softmax(1), target)
    torch.testing.assert_close(loss, expected)


def test_ohem_has_no_gradient_where_it_is_easy():
    logits = torch.tensor([[2.0, 0.1], [0.0, 0.0]]).view(1, 2, 1, 2).requires_grad_()
    target = torch.zeros(1, 1, 2, dtype=torch.int64)
    OhemCrossEntropy(0.7, 0)(logits.log_softmax(1), target).backward()
    assert not logits.grad[..., 0].any()
    assert logits.grad[..., 1].all()


# Focal loss


@settings(max_examples=40)
@given(samples(), st.sampled_from([0.5, 1.0, 2.0, 5.0]))
def test_focal_is_its_plain_formula(pair, gamma):
    logits, target = pair
    weights = np.linspace(0.25, 2, logits.shape[1])
    probabilities, classes = known_pixels(logits, target)
    true, weight = probabilities[np.arange(len(classes)), classes], weights[classes]
    terms = -weight * (1 - true) ** gamma * np.log(true)
    loss = Focal(gamma, weights)(logits.log_softmax(1), target)
    assert float(loss) == pytest.approx(terms.sum() / weight.sum() if len(terms) else 0)


def test_focal_of_gamma_0_is_cross_entropy():
    logits, target = sample()
    expected = F.cross_entropy(logits, target, ignore_index=VOID)
    torch.testing.assert_close(Focal(0)(logits.log_softmax(1), target), expected)


def test_focal_has_a_slope_where_a_pixel_is_certain():
    logits = torch.tensor([100.0, 0.0]).view(1, 2, 1, 1).requires_grad_()
    target = torch.zeros(1, 1, 1, dtype=torch.int64)
    Focal(0.5)(logits.log_softmax(1), target).backward()
    assert torch.isfinite(logits.grad).all()


# Dice and Tversky


@settings(max_examples=40)
@given(samples(), st.sampled_from([(0.5, 0.5), (0.3, 0.7), (1, 0)]))
def test_tversky_is_its_plain_formula_over_the_classes_present(pair, shares):
    logits, target = pair
    alpha, beta = shares
    probabilities, classes = known_pixels(logits, target)
    indices = []
    for c in np.unique(classes):
        p, t = probabilities[:, c], classes == c
        tp, fp, fn = (p * t).sum(), (p * ~t).sum(), ((1 - p) * t).sum()
        indices.append((tp + 2) / (tp + alpha * fp + beta * fn + 2))
    expected = 1 - np.mean(indices) if indices else 0
    plain = Tversky(alpha, beta, smooth=2)(logits.log_softmax(1), target)
    assert float(plain) == pytest.approx(expected)
    focal = FocalTversky(alpha, beta, gamma=2, smooth=2)(logits.log_softmax(1), target)
    expected = np.mean([max(1 - i, 1e-6) ** 0.5 for i in indices]) if indices else 0
    assert float(focal) == pytest.approx(expected)


def test_dice_on_a_worked_example():
    # Two classes, four pixels, one of them void; the probability of class 1 is 3/4, 1/2, 1/4.
    odds = torch.tensor([3.0, 1.0, 1 / 3, 5.0]).log().view(1, 1, 1, 4)
    logits = torch.cat([torch.zeros_like(odds), odds], 1)
    target = torch.tensor([[[1, 1, 0, VOID]]])
    # Class 0: overlap 3/4, sums 3/2 and 1; class 1: overlap 5/4, sums 3/2 and 2.
    expected = 1 - ((1.5 + 1) / (2.5 + 1) + (2.5 + 1) / (3.5 + 1)) / 2
    assert float(Dice(1)(logits.log_softmax(1), target)) == pytest.approx(expected)


def test_dice_is_torchmetrics_where_probabilities_are_hard():
    metrics = pytest.importorskip("torchmetrics.classification")
    logits, target = sample(shape=(2, 5, 20, 20))
    answer = logits.argmax(1)
    hard = (F.one_hot(answer, 5).permute(0, 3, 1, 2) * 1e4).log_softmax(1)
    f1 = metrics.MulticlassF1Score(5, average="macro", ignore_index=VOID)(answer, target)
    assert float(Dice(1e-6)(hard, target)) == pytest.approx(1 - float(f1), abs=1e-6)


def test_tversky_of_halves_is_dice_and_focal_tversky_of_gamma_1_is_tversky():
    logits, target = sample()
    p = logits.log_softmax(1)
    torch.testing.assert_close(Tversky(0.5, 0.5, 0.5)(p, target), Dice(1)(p, target))
    torch.testing.assert_close(FocalTversky(gamma=1)(p, target), Tversky()(p, target))


def test_alpha_is_the_price_of_false_positives():
    target = torch.zeros(1, 2, 8, dtype=torch.int64)
    target[:, 1] = 1
    greedy = torch.zeros(1, 2, 2, 8)
    greedy[:, 1] = 20  # all is said to be class 1
    # Class 1 has 8 true and 8 false positives, class 0 has 8 false negatives.
    loss = Tversky(alpha=0.25, beta=1, smooth=1e-6)(greedy.log_softmax(1), target)
    assert float(loss) == pytest.approx((1 + (1 - 8 / (8 + 0.25 * 8))) / 2, abs=1e-5)


# Lovász


def test_lovasz_of_hard_answers_is_one_minus_the_mean_iou():
    for seed in range(20):
        logits, target = sample(seed, (2, 5, 9, 7), void=0.3)
        answer = logits.argmax(1)
        target[target == seed % 5] = VOID  # a class that only the answer has
        hard = (F.one_hot(answer, 5).permute(0, 3, 1, 2) * 1e4).double().log_softmax(1)
        known = target != VOID
        ious = []
        for c in target[known].unique():
            mine, true = (answer == c) & known, target == c
            ious.append(float((mine & true).sum() / (mine | true).sum()))
        assert float(LovaszSoftmax()(hard, target)) == pytest.approx(1 - np.mean(ious), abs=1e-6)


@settings(max_examples=40)
@given(samples())
def test_lovasz_is_the_extension_of_the_jaccard_loss(pair):
    # By the definition: errors in descending order, each times what the loss of the set grows by.
    logits, target = pair
    probabilities, classes = known_pixels(logits, target)
    terms = []
    for c in np.unique(classes):
        true = classes == c
        errors = np.abs(true - probabilities[:, c])
        wrong, before, term = np.zeros(len(true), bool), 0.0, 0.0
        for i in np.argsort(-errors):
            wrong[i] = True
            union = (true | wrong).sum()
            now = 1 - (true & ~wrong).sum() / union
            term += errors[i] * (now - before)
            before = now
        terms.append(term)
    loss = LovaszSoftmax()(logits.log_softmax(1), target)
    assert float(loss) == pytest.approx(np.mean(terms) if terms else 0, abs=1e-6)


def test_lovasz_on_a_worked_example():
    # Class 1 is true of the first of three pixels; its probabilities are 1/2, 3/4, 1/4.
    odds = torch.tensor([1.0, 3.0, 1 / 3]).log().view(1, 1, 1, 3)
    logits = torch.cat([torch.zeros_like(odds), odds], 1)
    target = torch.tensor([[[1, 0, 0]]])
    # Class 1: errors 3/4 (false), 1/2 (true), 1/4 (false); the Jaccard loss goes 0, 1/2, 1, 1.
    # Class 0: the same errors; of two true pixels the first is lost: 0, 1/2, 2/3, 1.
    one, zero = 3 / 4 / 2 + 1 / 2 / 2, 3 / 4 / 2 + 1 / 2 / 6 + 1 / 4 / 3
    loss = LovaszSoftmax()(logits.log_softmax(1), target)
    assert float(loss) == pytest.approx((one + zero) / 2)


def test_lovasz_with_a_stride_is_lovasz_of_those_pixels():
    logits, target = sample(shape=(2, 3, 11, 10))
    p = logits.log_softmax(1)
    expected = LovaszSoftmax()(p[:, :, 1::3, 1::3], target[:, 1::3, 1::3])
    torch.testing.assert_close(LovaszSoftmax(3)(p, target), expected)
    assert torch.isfinite(LovaszSoftmax(64)(p, target))


# What holds for all


@EVERY
def test_the_gradient_is_that_of_the_loss(name):
    logits, target = sample(3, (1, 3, 3, 4))
    options = {"label_smoothing": 0.1, "weights": [1, 2, 3]} if name == "cross-entropy" else {}
    term = one(name, 3, **options)
    logits.requires_grad_()
    # The weights are float32.
    assert torch.autograd.gradcheck(
        lambda x: term(x.log_softmax(1), target), logits, atol=1e-5, rtol=1e-4
    )


@EVERY
def test_void_pixels_change_nothing(name):
    logits, target = sample()
    term = one(name)
    other = torch.where((target == VOID).unsqueeze(1), torch.randn_like(logits) * 9, logits)
    torch.testing.assert_close(
        term(logits.log_softmax(1), target), term(other.log_softmax(1), target)
    )
    logits.requires_grad_()
    term(logits.log_softmax(1), target).backward()
    assert not logits.grad.permute(0, 2, 3, 1)[target == VOID].any()
    assert logits.grad.any()


@EVERY
def test_a_batch_of_void_costs_nothing(name):
    logits = torch.randn(2, 4, 5, 6, requires_grad=True)
    total, parts = build_loss([{"name": name}], 4, None)(logits, torch.full((2, 5, 6), VOID))
    total.backward()
    assert float(total.detach()) == float(parts[name]) == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@EVERY
@pytest.mark.parametrize("right", [True, False])
def test_certainty_is_finite_in_float32(name, right):
    target = torch.randint(0, 3, (1, 16, 16))
    logits = F.one_hot(target if right else (target + 1) % 3, 3).permute(0, 3, 1, 2) * 1e4
    logits = logits.float().requires_grad_()
    total, _ = build_loss([{"name": name}], 3, None)(logits, target)
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(logits.grad).all()
    value = float(total.detach())
    assert value < 1e-3 if right else value > 0.9


@pytest.mark.parametrize(
    ("name", "expected"),
    [("cross-entropy", -math.log(0.6)), ("focal", -0.16 * math.log(0.6)), ("dice", 0.25)],
)
def test_millions_of_pixels_are_summed_without_loss(name, expected):
    # One float32 cannot hold two million and a 0.6 of a pixel.
    p = torch.tensor([0.6, 0.4]).log().view(1, 2, 1, 1).expand(1, 2, 2048, 2048)
    loss = one(name, 2)(p, torch.zeros(1, 2048, 2048, dtype=torch.int64))
    assert float(loss) == pytest.approx(expected, rel=2e-4)


@EVERY
def test_a_step_down_the_gradient_lowers_the_loss(name):
    logits, target = sample(5)
    term = one(name)
    logits.requires_grad_()
    before = term(logits.log_softmax(1), target)
    (gradient,) = torch.autograd.grad(before, logits)
    after = term((logits - 0.1 * gradient / gradient.norm()).log_softmax(1), target)
    assert float(after.detach()) < float(before.detach())


@EVERY
@settings(max_examples=10)
@given(data=st.data())
def test_float32_is_close_to_float64(name, data):
    logits, target = data.draw(samples())
    term = one(name, logits.shape[1])
    p = logits.log_softmax(1)
    assert float(term(p.float(), target)) == pytest.approx(float(term(p, target)), abs=1e-5)


# The sum


def test_the_total_is_the_sum_of_factors_times_terms():
    logits, target = sample(dtype=torch.float32)
    loss = build_loss([{"name": "cross-entropy"}, {"name": "dice", "factor": 0.5}], 4, None)
    total, parts = loss(logits.requires_grad_(), target)
    p = logits.log_softmax(1)
    torch.testing.assert_close(parts["cross-entropy"], CrossEntropy()(p, target).detach())
    torch.testing.assert_close(parts["dice"], Dice()(p, target).detach())
    assert float(total.detach()) == pytest.approx(
        float(parts["cross-entropy"] + 0.5 * parts["dice"])
    )
    assert total.requires_grad
    assert not any(part.requires_grad for part in parts.values())


def test_small_logits_are_upsampled_as_the_deployed_graph_does_it():
    logits, target = sample(shape=(2, 3, 5, 4), dtype=torch.float32)
    target = target.repeat_interleave(4, 1).repeat_interleave(4, 2)
    loss = build_loss([{"name": "cross-entropy"}], 3, None)
    upsampled = F.interpolate(logits, (20, 16), mode="bilinear", align_corners=False)
    expected = F.cross_entropy(upsampled, target, ignore_index=VOID)
    torch.testing.assert_close(loss(logits, target)[0], expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_all_is_computed_in_float32_under_autocast_too(dtype):
    logits, target = sample(dtype=dtype)
    target = target.repeat_interleave(2, 1).repeat_interleave(2, 2)
    loss = build_loss([{"name": n} for n in LOSSES], 4, None)
    expected, _ = loss(logits.float(), target)
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = loss(logits.contiguous(memory_format=torch.channels_last), target)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, expected)


# Weights


def test_weights_by_worked_examples():
    assert median_frequency_weights([0.5, 0.2, 0.3]) == pytest.approx([0.6, 1.5, 1])
    # A class that never occurs has no say in the median, and no weight.
    assert median_frequency_weights([0.5, 0, 0.2, 0.3]) == pytest.approx([0.6, 0, 1.5, 1])
    assert enet_weights([0.5, 0]) == pytest.approx([1 / math.log(1.52), 1 / math.log(1.02)])
    assert enet_weights([1e-6])[0] == pytest.approx(50.5, abs=0.1)


@pytest.mark.parametrize("shares", [[0.5, -0.1], [0.5, math.nan], [0, 0], [3, 4], []])
def test_shares_that_are_none_are_an_error(shares):
    for weigh in (median_frequency_weights, enet_weights):
        with pytest.raises(ValueError, match="shares"):
            weigh(shares)


@pytest.mark.parametrize("name", ["cross-entropy", "focal"])
def test_weights_are_by_name_or_numbers(name):
    logits, target = sample()
    p, shares = logits.log_softmax(1), [0.1, 0.2, 0.3, 0.4]

    def value(weights):
        loss = build_loss([{"name": name, "weights": weights}], 4, shares)
        assert loss.needs_frequencies == (weights in ("enet", "median-frequency"))
        assert not loss.state_dict()  # a checkpoint fits whatever the weights are
        return float(loss.terms[name](p, target))

    assert value("enet") == pytest.approx(value(enet_weights(shares)))
    assert value("median-frequency") == pytest.approx(value(median_frequency_weights(shares)))
    assert value("none") == value(None) == pytest.approx(value([1, 1, 1, 1]))
    assert len({round(value(w), 6) for w in ("none", "enet", "median-frequency")}) == 3


def test_a_loss_that_lacks_frequencies_says_so_when_it_is_called():
    declared = [{"name": "dice"}, {"name": "focal", "weights": "enet"}]
    loss = build_loss(declared, 4, None)
    assert loss.needs_frequencies
    with pytest.raises(UsageError, match="'focal' weighs classes by their frequencies"):
        loss(*sample())
    with pytest.raises(ValueError, match="3 frequencies for 4 classes"):
        build_loss(declared, 4, [0.2, 0.3, 0.5])


# What a recipe gets wrong


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ([], "model.loss: not a list of losses"),
        ("dice", "model.loss: not a list of losses"),
        ({"name": "dice"}, "model.loss: not a list of losses"),
        (["dice"], "model.loss[0]: not a mapping"),
        ([{"name": "dice"}, {"factor": 1}], "model.loss[1].name: missing: one of cross-entropy, "),
        ([{"name": "hinge"}], "model.loss[0].name: 'hinge' is not one of cross-entropy, ohem, "),
        ([{"name": ["dice"]}], "model.loss[0].name: ['dice'] is not one of "),
        ([{"name": "dice"}] * 2, "model.loss[1].name: 'dice' is declared twice"),
        (
            [{"name": "lovasz"}, {"name": "dice", "smoth": 1}],
            "model.loss[1].smoth: unknown key: one of name, factor, smooth",
        ),
        ([{"name": "dice", "smooth": 0}], "model.loss[0].smooth: 0 is not a number above 0"),
        ([{"name": "dice", "factor": -1}], "model.loss[0].factor: -1 is not a number from 0 up"),
        ([{"name": "dice", "factor": 0}], "model.loss: every factor is 0"),
        ([{"name": "dice", "factor": True}], "factor: True is not a number"),
        ([{"name": "dice", "factor": math.nan}], "factor: nan is not a number"),
        ([{"name": "dice", "factor": "1"}], "factor: '1' is not a number"),
        ([{"name": "ohem", "threshold": 0}], "threshold: 0 is not a number above 0, to 1"),
        ([{"name": "ohem", "min_kept": 2}], "min_kept: 2 is not a number from 0 to 1"),
        ([{"name": "focal", "gamma": -1}], "gamma: -1 is not a number from 0 up"),
        ([{"name": "focal-tversky", "gamma": 0.5}], "gamma: 0.5 is not a number from 1 to 3"),
        ([{"name": "lovasz", "stride": 1.5}], "stride: 1.5 is not a whole number from 1 up"),
        (
            [{"name": "cross-entropy", "label_smoothing": 1}],
            "label_smoothing: 1 is not a number from 0 to below 1",
        ),
        (
            [{"name": "cross-entropy", "weights": "enot"}],
            "weights: 'enot' is not none, median-frequency, enet or a list of numbers",
        ),
        ([{"name": "focal", "weights": [1, -1, 1, 1]}], "weights: [1, -1, 1, 1] is not none"),
        ([{"name": "focal", "weights": [0, 0, 0, 0]}], "weights: [0, 0, 0, 0] is not none"),
        ([{"name": "focal", "weights": 3}], "weights: 3 is not none"),
        ([{"name": "focal", "weights": [1, 2]}], "weights: 2 numbers for 4 classes"),
    ],
)
def test_a_wrong_declaration_is_one_line_that_names_the_key(declared, says):
    with pytest.raises(UsageError) as caught:
        build_loss(declared, 4, None)
    assert says in str(caught.value)
    assert str(caught.value).startswith("model.loss")
    assert "\n" not in str(caught.value)


def test_the_place_is_the_callers():
    with pytest.raises(UsageError, match=r"^teacher\.loss\[0\]\.name"):
        build_loss([{"name": "x"}], 2, None, where="teacher.loss")
