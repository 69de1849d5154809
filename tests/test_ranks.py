"""Two processes give the gradients of one process with both batches."""

import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")
from torch import distributed, nn  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402

from rtseg.data.labels import VOID  # noqa: E402
from rtseg.training.losses import build_loss  # noqa: E402
from rtseg.training.ranks import sum_over_ranks  # noqa: E402

pytestmark = pytest.mark.skipif(
    not (distributed.is_available() and distributed.is_gloo_available()),
    reason="this torch has no gloo",
)

DECLARED = {
    "cross-entropy": [{"name": "cross-entropy"}],
    "weighted": [{"name": "cross-entropy", "weights": [1, 3, 0.5], "label_smoothing": 0.1}],
    # Enough pixels are hard for min_kept not to matter.
    "ohem": [{"name": "ohem", "threshold": 0.5, "min_kept": 0.01}],
    "focal": [{"name": "focal", "weights": [1, 3, 0.5]}],
    "dice": [{"name": "dice"}],
    "tversky": [{"name": "tversky"}],
    "focal-tversky": [{"name": "focal-tversky"}],
    "several": [{"name": "cross-entropy"}, {"name": "dice", "factor": 0.5}, {"name": "focal"}],
}
VOIDS = {"uneven": (0.8, 0.05), "one side all void": (0.3, 1.0), "all void": (1.0, 1.0)}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))


def batch(rank, void):
    """The pictures and truth of one rank; its second picture has no class 2."""
    generator = torch.Generator().manual_seed(rank)
    pictures = torch.randn(2, 3, 12, 10, generator=generator)
    truth = torch.randint(0, 3 - rank, (2, 12, 10), generator=generator)
    truth[torch.rand(truth.shape, generator=generator) < void] = VOID
    return pictures, truth


def gradients(model, declared, pictures, truth):
    model.zero_grad()
    total, _ = build_loss(declared, 3, None)(model(pictures), truth)
    total.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()]), total.detach()


def work(rank, folder):
    """One of two processes; writes its gradients and losses to ``folder``."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    try:
        model = DistributedDataParallel(network())
        results = {}
        for case, voids in VOIDS.items():
            pictures, truth = batch(rank, voids[rank])
            for name, declared in DECLARED.items():
                gradient, loss = gradients(model, declared, pictures, truth)
                results[f"{case}/{name}"] = torch.cat([gradient, loss[None]])
        x = torch.tensor([1.0, 2.0]) * (rank + 1)
        x.requires_grad_()
        total = sum_over_ranks(x)
        # The ranks' losses differ, and each depends on both ranks' x.
        (total * torch.tensor([1.0, 10.0]) * (rank + 1)).sum().backward()
        results["sum"], results["sum's gradient"] = total.detach(), x.grad
        torch.save(results, f"{folder}/{rank}.pt")
    finally:
        distributed.destroy_process_group()


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """What each of two processes got, by name."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(work, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("case", VOIDS)
@pytest.mark.parametrize("name", DECLARED)
def test_two_ranks_have_the_gradients_of_one_process_with_both_batches(of_two, name, case):
    pairs = [batch(rank, void) for rank, void in enumerate(VOIDS[case])]
    pictures, truth = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    gradient, loss = gradients(network(), DECLARED[name], pictures, truth)
    expected = torch.cat([gradient, loss[None]])
    assert bool(gradient.any()) == (case != "all void")
    for results in of_two:
        torch.testing.assert_close(
            results[f"{case}/{name}"], expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max())
        )


@pytest.mark.parametrize("name", DECLARED)
def test_the_mean_of_the_ranks_own_losses_would_be_something_else(name):
    # Or the test above could not fail.
    pairs = [batch(rank, void) for rank, void in enumerate(VOIDS["uneven"])]
    pictures, truth = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    whole, _ = gradients(network(), DECLARED[name], pictures, truth)
    first, second = (gradients(network(), DECLARED[name], *pair)[0] for pair in pairs)
    assert float(((first + second) / 2 - whole).norm() / whole.norm()) > 0.01


def test_a_sum_over_ranks_is_differentiable(of_two):
    for results in of_two:
        assert results["sum"].tolist() == [3, 6]
        # d(loss of rank 0 + loss of rank 1) / dx.
        assert results["sum's gradient"].tolist() == [3, 30]


def test_in_one_process_the_sum_is_the_tensor_itself():
    x = torch.ones(3)
    assert sum_over_ranks(x) is x
