"""The losses against loops that follow the papers word by word."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch import Tensor

from edge_glass.alignment.losses.infonce import infonce
from edge_glass.alignment.losses.siglip import siglip
from edge_glass.alignment.model.loss import (
    AlignmentLoss,
    effective_rank,
    excluded_pairs,
    off_diagonal_cosine,
    sampled_dimension,
)
from edge_glass.core.errors import ConfigError
from edge_glass.encoders.mrl import truncate_and_normalize

DIMENSIONS = [12, 8, 4]
GROUPS = (torch.tensor([0, 1, 2, 0, 4, 5]), torch.tensor([0, 1, 1, 3, 4, 5]))
DISTINCT = (torch.arange(6), torch.arange(6))


def embeddings(seed: int = 0, rows: int = 6, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image, text = (torch.randn(rows, DIMENSIONS[0], generator=generator, dtype=dtype) for _ in range(2))
    return image.requires_grad_(), text.requires_grad_()


def cosine(a: Tensor, b: Tensor, dim: int) -> Tensor:
    return (a[:dim] * b[:dim]).sum() / (a[:dim].norm() * b[:dim].norm())


def are_negatives(i: int, j: int, groups: tuple[Tensor, Tensor]) -> bool:
    return i != j and bool(groups[0][i] != groups[0][j]) and bool(groups[1][i] != groups[1][j])


def naive_infonce(
    image: Tensor, text: Tensor, scale: Tensor, groups: tuple[Tensor, Tensor], dim: int
) -> Tensor:
    rows = len(image)
    total = torch.zeros((), dtype=image.dtype)
    for i in range(rows):
        to_text = [
            cosine(image[i], text[j], dim) for j in range(rows) if i == j or are_negatives(i, j, groups)
        ]
        to_image = [
            cosine(image[j], text[i], dim) for j in range(rows) if i == j or are_negatives(i, j, groups)
        ]
        right = scale * cosine(image[i], text[i], dim)
        for candidates in (to_text, to_image):
            total = total - (right - torch.logsumexp(scale * torch.stack(candidates), 0)) / (2 * rows)
    return total


def naive_siglip(
    image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, groups: tuple[Tensor, Tensor], dim: int
) -> Tensor:
    rows = len(image)
    total = torch.zeros((), dtype=image.dtype)
    for i in range(rows):
        for j in range(rows):
            if i == j or are_negatives(i, j, groups):
                sign = 1.0 if i == j else -1.0
                logit = scale * cosine(image[i], text[j], dim) + bias
                total = total + torch.log1p(torch.exp(-sign * logit))
    return total / rows


def gradients(loss: Tensor, *inputs: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, inputs, retain_graph=True))


@pytest.mark.parametrize("groups", [DISTINCT, GROUPS])
@pytest.mark.parametrize("kind", ["infonce", "siglip"])
def test_values_and_gradients_equal_the_loops(kind: str, groups: tuple[Tensor, Tensor]) -> None:
    image, text = embeddings()
    module = AlignmentLoss(DIMENSIONS, kind=kind, contrastive=0.25, mrl=0.8).double()  # type: ignore[arg-type]
    loss, report = module(image, text, *groups)
    scale = module.logit_scale.exp()
    if kind == "infonce":
        each = [naive_infonce(image, text, scale, groups, dim) for dim in DIMENSIONS]
    else:
        each = [naive_siglip(image, text, scale, module.logit_bias, groups, dim) for dim in DIMENSIONS]
    expected = 0.25 * each[0] + 0.8 * torch.stack(each).mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(report["loss_clip"], each[0].detach())
    torch.testing.assert_close(report["loss_mrl"], torch.stack(each).mean().detach())
    inputs = (image, text, *module.parameters())
    for actual, wanted in zip(gradients(loss, *inputs), gradients(expected, *inputs), strict=True):
        torch.testing.assert_close(actual, wanted)


@pytest.mark.parametrize("kind", ["infonce", "siglip"])
def test_gradcheck(kind: str) -> None:
    image, text = embeddings(rows=4)
    module = AlignmentLoss(DIMENSIONS, kind=kind).double()  # type: ignore[arg-type]
    groups = GROUPS[0][:4], GROUPS[1][:4]
    assert torch.autograd.gradcheck(lambda a, b: module(a, b, *groups)[0], (image, text))


@pytest.mark.parametrize("kind", ["infonce", "siglip"])
def test_a_false_negative_has_no_influence(kind: str) -> None:
    image, text = embeddings()
    module = AlignmentLoss([12], kind=kind).double()  # type: ignore[arg-type]
    same = torch.tensor([0, 1, 2, 3, 4, 0]), torch.arange(6)  # rows 0 and 5 show one picture
    moved = text.detach().clone()
    moved[5] = image.detach()[0] * 3  # a perfect match for row 0
    excluded = excluded_pairs(*same)
    assert excluded.nonzero().tolist() == [[0, 5], [5, 0]]
    with_mask, _ = module(image, moved, *same)
    without_mask, _ = module(image, moved, *DISTINCT)
    assert with_mask < without_mask
    gradient = torch.autograd.grad(
        module(image[[0, 5]], moved[[0, 5]], torch.zeros(2), torch.arange(2))[0], image
    )[0]
    alone = [
        torch.autograd.grad(module(image[[row]], moved[[row]], torch.zeros(1), torch.zeros(1))[0], image)[0]
        for row in (0, 5)
    ]
    torch.testing.assert_close(gradient, sum(alone) / 2)


@pytest.mark.parametrize("kind", ["infonce", "siglip"])
@pytest.mark.parametrize("rows", [1, 6])
def test_one_row_or_one_group_is_finite(kind: str, rows: int) -> None:
    image, text = embeddings(rows=rows)
    module = AlignmentLoss(DIMENSIONS, kind=kind).double()  # type: ignore[arg-type]
    group = torch.zeros(rows, dtype=torch.long)
    loss, report = module(image, text, group, group, with_diagnostics=True)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(value) for value in report.values())
    assert torch.isfinite(image.grad).all()
    if kind == "infonce":
        assert loss.item() == pytest.approx(0.0, abs=1e-12)


def test_chance_is_ln_batch() -> None:
    same = torch.ones(8, 12)
    loss, report = AlignmentLoss([12], contrastive=1.0, mrl=0.0)(same, same, torch.arange(8), torch.arange(8))
    torch.testing.assert_close(loss, report["ln_batch"])
    assert report["ln_batch"].item() == pytest.approx(math.log(8))
    assert report["off_diagonal_cosine"].item() == pytest.approx(1.0, abs=1e-6)


def test_report_keys_and_detached() -> None:
    image, text = embeddings()
    _, report = AlignmentLoss(DIMENSIONS, temperature=0.05)(image, text, *DISTINCT)
    assert sorted(report) == ["ln_batch", "loss_clip", "loss_mrl", "off_diagonal_cosine", "temperature"]
    assert not any(value.requires_grad for value in report.values())
    assert report["temperature"].item() == pytest.approx(0.05, rel=1e-6)
    _, report = AlignmentLoss(DIMENSIONS)(image, text, *DISTINCT, with_diagnostics=True)
    assert "effective_rank" in report


def test_weights_of_the_two_parts() -> None:
    image, text = embeddings()
    both, report = AlignmentLoss(DIMENSIONS, contrastive=2.0, mrl=3.0)(image, text, *DISTINCT)
    torch.testing.assert_close(both.detach(), 2 * report["loss_clip"] + 3 * report["loss_mrl"])
    only, report = AlignmentLoss(DIMENSIONS, contrastive=2.0, mrl=0.0)(image, text, *DISTINCT)
    torch.testing.assert_close(only.detach(), 2 * report["loss_clip"])
    with pytest.raises(ConfigError, match="got 0 for both"):
        AlignmentLoss(DIMENSIONS, contrastive=0.0, mrl=0.0)
    with pytest.raises(ConfigError, match="infonce, siglip"):
        AlignmentLoss(DIMENSIONS, kind="triplet")  # type: ignore[arg-type]


def test_sampled_dimension_is_pure_and_even() -> None:
    drawn = [sampled_dimension(7, step, DIMENSIONS) for step in range(3000)]
    assert drawn == [sampled_dimension(7, step, DIMENSIONS) for step in range(3000)]
    assert drawn != [sampled_dimension(8, step, DIMENSIONS) for step in range(3000)]
    assert all(900 < count < 1100 for count in Counter(drawn).values())
    assert [sampled_dimension(0, step, [1024, 512, 256, 128]) for step in range(8)] == [
        256,
        512,
        128,
        512,
        256,
        256,
        1024,
        512,
    ]


def test_sampling_uses_the_drawn_dimension_alone() -> None:
    image, text = embeddings()
    module = AlignmentLoss(DIMENSIONS, sample_single_mrl_dim=True, seed=3)
    state = torch.get_rng_state()
    for step in range(6):
        _, report = module(image, text, *DISTINCT, step=step)
        dim = sampled_dimension(3, step, DIMENSIONS)
        cut = truncate_and_normalize(image, dim), truncate_and_normalize(text, dim)
        expected = infonce(*cut, module.scale(), torch.zeros(6, 6, dtype=torch.bool))
        torch.testing.assert_close(report["loss_mrl"], expected.detach())
    assert torch.equal(torch.get_rng_state(), state)


def test_temperature_is_limited_but_never_stuck() -> None:
    image, text = embeddings()
    module = AlignmentLoss([12]).double()
    module.logit_scale.data.fill_(math.log(100.0) + 2.0)
    loss, report = module(image, text, *DISTINCT)
    assert report["temperature"].item() == pytest.approx(0.01)
    loss.backward()
    assert module.logit_scale.grad.item() != 0.0  # type: ignore[union-attr]


def test_siglip_starts_at_the_paper_s_values() -> None:
    module = AlignmentLoss([12], kind="siglip")
    assert module.scale().item() == pytest.approx(10.0)
    assert module.logit_bias.item() == -10.0
    assert module.no_weight_decay() == {"logit_scale", "logit_bias"}
    assert AlignmentLoss([12]).no_weight_decay() == {"logit_scale"}


def test_low_precision_is_computed_in_float32() -> None:
    image, text = (x.detach().float() for x in embeddings())
    module = AlignmentLoss(DIMENSIONS)
    expected, _ = module(image, text, *DISTINCT)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = module(image, text, *DISTINCT)
    assert torch.equal(loss, expected)
    rough, _ = module(image.bfloat16(), text.bfloat16(), *DISTINCT)
    assert rough.dtype == torch.float32


def test_off_diagonal_cosine_by_hand() -> None:
    image, text = (truncate_and_normalize(x) for x in embeddings())
    similarity = image @ text.T
    expected = (similarity.sum() - similarity.trace()) / 30
    torch.testing.assert_close(off_diagonal_cosine(image, text), expected)


@pytest.mark.parametrize("shape", [(4, 12), (12, 4)])
def test_effective_rank(shape: tuple[int, int]) -> None:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    singular = torch.linalg.svdvals(x.double())
    share = singular / singular.sum()
    expected = math.exp(-sum(p * math.log(p) for p in share.tolist()))
    assert effective_rank(x).item() == pytest.approx(expected, rel=1e-6)
    assert effective_rank(torch.ones(*shape)).item() == pytest.approx(1.0, abs=1e-3)
    assert effective_rank(torch.eye(5)).item() == pytest.approx(5.0)


def test_siglip_stays_finite_far_out() -> None:
    image, text = embeddings()
    cut = truncate_and_normalize(image), truncate_and_normalize(text)
    nothing = torch.zeros(6, 6, dtype=torch.bool)
    assert torch.isfinite(siglip(*cut, torch.tensor(1e4), torch.tensor(-1e4), nothing))
