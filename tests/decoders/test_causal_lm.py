"""`QwenDecoder` over toy models of the real classes: loss, gradients, padding, modes, state."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from causal_decoders import TEXTS, decoder, prefix, supervised, tokenize
from torch import Tensor

from edge_glass.core.errors import CheckpointError, ConfigError, DataError
from edge_glass.decoders.decoder import GenerationSettings
from edge_glass.decoders.kinds.causal_lm import QwenDecoder
from edge_glass.encoders.features import TokenFeatures


def naive(made: QwenDecoder, pre: TokenFeatures | None, ids: Tensor, labels: Tensor) -> Tensor:
    """One row without padding through the library's own forward: full logits, shifted, summed."""
    embeddings = made.embed_tokens(ids)
    if pre is not None:
        embeddings = torch.cat([pre.tokens[pre.mask][None], embeddings], dim=1)
    logits = made.lm(inputs_embeds=embeddings).logits[0]
    labels = F.pad(labels[0], (len(logits) - ids.shape[1], 0), value=-100)
    return F.cross_entropy(logits[:-1], labels[1:], reduction="sum", ignore_index=-100)


@pytest.mark.parametrize("kind", ["qwen2", "gpt2"])
@pytest.mark.parametrize("with_prefix", [True, False])
@pytest.mark.parametrize("side", ["right", "left"])
def test_loss_and_gradients_are_those_of_the_full_logits(kind: str, with_prefix: bool, side: str) -> None:
    made = decoder(kind)
    ids, mask = tokenize(made, TEXTS, side)
    labels = supervised(ids, mask)
    pre = prefix() if with_prefix else None
    output = made(pre, ids, mask, labels)
    assert int(output.count) == (9 if with_prefix else 8)  # nothing stands before the first token
    output.loss_sum.backward()
    gradients = {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}
    made.zero_grad()
    expected = torch.zeros(())
    for row in range(3):
        alone = None if pre is None else TokenFeatures(pre.tokens[row][None], pre.mask[row][None])
        expected = expected + naive(made, alone, ids[row][mask[row]][None], labels[row][mask[row]][None])
    expected.backward()
    torch.testing.assert_close(output.loss_sum, expected, rtol=1e-5, atol=1e-5)
    for name, parameter in made.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-5, atol=1e-5)


def test_padding_changes_nothing_even_when_it_is_not_a_number() -> None:
    made = decoder("gpt2")
    ids, mask = tokenize(made, TEXTS)
    labels = supervised(ids, mask)
    expected = made(prefix(), ids, mask, labels).loss_sum
    pre = prefix()
    values = pre.tokens.masked_fill(~pre.mask[..., None], float("nan"))
    wide = TokenFeatures(F.pad(values, (0, 0, 3, 2), value=float("nan")), F.pad(pre.mask, (3, 2)))
    padded = (F.pad(ids, (1, 4), value=7), F.pad(mask, (1, 4)), F.pad(labels, (1, 4), value=5))
    torch.testing.assert_close(made(wide, *padded).loss_sum, expected, rtol=1e-5, atol=1e-5)


def test_correct_is_reported() -> None:
    made = decoder("gpt2")
    prompt, mask = tokenize(made, ["what?"])
    answer = made.generate(None, prompt, mask, GenerationSettings(max_new_tokens=4)).tokens[0]
    ids = torch.cat([prompt, torch.tensor([answer])], dim=1)
    labels = ids.clone()
    labels[:, : prompt.shape[1]] = -100
    labels[0, -1] = (labels[0, -1] + 1) % 50
    output = made(None, ids, torch.ones_like(ids, dtype=torch.bool), labels)
    assert int(output.report["correct"]) == len(answer) - 1


@pytest.mark.parametrize("mode", ["frozen", "lora", "full"])
def test_nothing_supervised_and_no_rows_keep_the_graph(mode: str) -> None:
    made = decoder(mode=mode)
    ids, mask = tokenize(made, TEXTS)
    for rows in (3, 0):
        tokens = prefix().tokens[:rows].clone().requires_grad_()
        pre = TokenFeatures(tokens, prefix().mask[:rows])
        output = made(pre, ids[:rows], mask[:rows], torch.full_like(ids[:rows], -100))
        assert float(output.loss_sum.detach()) == 0.0
        assert int(output.count) == 0
        made.zero_grad()
        output.loss_sum.backward()
        assert tokens.grad is not None
        for parameter in made.parameters():
            assert (parameter.grad is not None) == parameter.requires_grad


def test_a_row_without_any_token_is_finite() -> None:
    made = decoder()
    ids, mask = tokenize(made, TEXTS)
    mask[1] = False
    pre = prefix()
    pre.mask[1] = False
    output = made(pre, ids, mask, supervised(ids, mask))
    output.loss_sum.backward()
    assert int(output.count) == 6
    assert all(torch.isfinite(p.grad).all() for p in made.parameters() if p.grad is not None)


def test_modes_train_what_they_say() -> None:
    for mode in ("frozen", "lora", "full"):
        made = decoder(mode=mode).train()
        ids, mask = tokenize(made, TEXTS)
        tokens = prefix().tokens.requires_grad_()
        made(TokenFeatures(tokens, prefix().mask), ids, mask, supervised(ids, mask)).loss_sum.backward()
        assert tokens.grad is not None and tokens.grad.abs().sum() > 0
        trained = {name for name, p in made.named_parameters() if p.grad is not None}
        assert trained == set(made.trainable_state_dict())
        assert (mode == "frozen") == (not trained)
        assert all(("lora_" in name) == (mode == "lora") for name in trained)


@pytest.mark.parametrize("mode", ["frozen", "lora"])
def test_gradient_checkpointing_gives_the_same_gradients(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for checkpointing in (False, True):
        made = decoder(mode=mode, gradient_checkpointing=checkpointing).train()
        calls = []
        layer = made.lm.model.layers[0].self_attn
        layer.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        tokens = prefix().tokens.requires_grad_()
        ids, mask = tokenize(made, TEXTS)
        made(TokenFeatures(tokens, prefix().mask), ids, mask, supervised(ids, mask)).loss_sum.backward()
        assert len(calls) == 1 + checkpointing  # computed again in the backward pass
        assert not made.embed_tokens(ids).requires_grad
        results.append([tokens.grad, *(p.grad for p in made.parameters() if p.requires_grad)])
    for plain, checkpointed in zip(*results, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_a_bfloat16_base_with_adapters_in_float32() -> None:
    """The prefix and the loss stay float32; so do the adapters, whose steps bfloat16 would round away."""
    exact = decoder(mode="lora").train()
    half = decoder(mode="lora", dtype=torch.bfloat16).train()
    ids, mask = tokenize(half, TEXTS)
    losses = []
    for made in (exact, half):
        tokens = prefix().tokens.requires_grad_()
        output = made(TokenFeatures(tokens, prefix().mask), ids, mask, supervised(ids, mask))
        output.loss_sum.backward()
        assert output.loss_sum.dtype == tokens.grad.dtype == torch.float32
        assert {p.dtype for p in made.parameters() if p.requires_grad} == {torch.float32}
        losses.append(output.loss_sum.detach())
    assert half.lm.model.layers[0].mlp.up_proj.base_layer.weight.dtype == torch.bfloat16
    torch.testing.assert_close(*losses, rtol=0.02, atol=0.0)
    assert half.generate(prefix(), ids, mask, GenerationSettings(max_new_tokens=4)).tokens


def test_a_frozen_decoder_stays_in_eval_mode() -> None:
    made = decoder("gpt2", mode="frozen").train()  # whose dropout is 0.1
    ids, mask = tokenize(made, TEXTS)
    labels = supervised(ids, mask)
    assert torch.equal(made(None, ids, mask, labels).loss_sum, made(None, ids, mask, labels).loss_sum)
    assert decoder("gpt2", mode="full").train().lm.training


def test_state_goes_round_and_is_strict() -> None:
    for mode in ("lora", "full"):
        trained = decoder(mode=mode)
        with torch.no_grad():
            for parameter in trained.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        state = {name: tensor.clone() for name, tensor in trained.trainable_state_dict().items()}
        fresh = decoder(mode=mode)
        ids, mask = tokenize(fresh, TEXTS)
        labels = supervised(ids, mask)
        expected = trained(None, ids, mask, labels).loss_sum.detach()
        untouched = fresh(None, ids, mask, labels).loss_sum.detach()
        assert abs(float(untouched - expected)) > 1e-3
        for wrong in (dict(list(state.items())[1:]), {**state, "more": torch.ones(1)}):
            with pytest.raises(CheckpointError, match=r"missing|unknown"):
                fresh.load_trainable_state_dict(wrong)
        assert torch.equal(fresh(None, ids, mask, labels).loss_sum, untouched)
        fresh.load_trainable_state_dict(state)
        assert torch.equal(fresh(None, ids, mask, labels).loss_sum, expected)


def test_embedding_rms_is_that_of_known_tokens() -> None:
    made = QwenDecoder.tiny()
    with torch.no_grad():
        made.lm.get_input_embeddings().weight.fill_(0.25)
        made.lm.get_input_embeddings().weight[len(made.tokenizer) :] = 100.0
    assert made.embedding_rms == pytest.approx(0.25)


def test_too_long_and_too_wide_and_empty() -> None:
    made = decoder("gpt2", mode="frozen")
    ids, mask = tokenize(made, ["x" * 127])
    assert len(made.generate(None, ids, mask, GenerationSettings(max_new_tokens=1)).tokens[0]) <= 1
    with pytest.raises(ConfigError, match="129 tokens; there are 128"):
        made.generate(None, ids, mask, GenerationSettings(max_new_tokens=2))
    with pytest.raises(ConfigError, match="131 tokens; there are 128"):
        made(prefix(1), ids, mask, ids)
    with pytest.raises(ConfigError, match="32 wide, got 16"):
        made(prefix(1, width=16), ids, mask, ids)
    with pytest.raises(DataError, match="row 0 has neither a prefix nor a prompt"):
        made.generate(None, ids[:, :0], mask[:, :0], GenerationSettings())
