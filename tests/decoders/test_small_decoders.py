"""TRM and plain decoders: causal, indifferent to padding, sizes as promised, files that come back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from edge_glass.core.errors import AssetError, CheckpointError, ConfigError
from edge_glass.decoders.blocks import AttentionContext
from edge_glass.decoders.kinds.plain import PlainConfig, PlainDecoder
from edge_glass.decoders.kinds.trm import TRMConfig, TRMDecoder
from edge_glass.decoders.small_decoder import SmallDecoder
from edge_glass.decoders.tokenizers import tiny_tokenizer
from edge_glass.encoders.features import TokenFeatures

KINDS = ["trm", "halting", "plain"]


def make(kind: str, seed: int = 0) -> SmallDecoder:
    if kind == "plain":
        return PlainDecoder.tiny(seed)
    return TRMDecoder.tiny(seed, halting=kind == "halting", supervision_steps=3)


def batch(rows: int = 3, prefix: int = 4, length: int = 8) -> tuple[TokenFeatures, Tensor, Tensor, Tensor]:
    """A prefix with holes, right-padded words of ragged length, labels on the second half."""
    torch.manual_seed(1)
    ids = torch.randint(5, 261, (rows, length))
    mask = torch.arange(length) < torch.tensor([length, 3, 5, 6])[:rows, None]
    labels = ids.masked_fill(~mask | (torch.arange(length) < 2), -100)
    seen = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 1, 1]]).bool()[:rows, :prefix]
    return TokenFeatures(torch.randn(rows, prefix, 32), seen), ids, mask, labels


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_a_batch_is_the_sum_over_its_rows(kind: str) -> None:
    """Each row alone, its padding cut out, the prefix with it."""
    decoder = make(kind)
    prefix, ids, mask, labels = batch(4)
    output = decoder(prefix, ids, mask, labels)
    total, count = torch.zeros(()), 0
    for row in range(4):
        tokens = prefix.tokens[row, prefix.mask[row]][None]
        alone = TokenFeatures(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool))
        real = mask[row]
        one = decoder(alone, ids[row, real][None], real[real][None], labels[row, real][None])
        total, count = total + one.loss_sum, count + int(one.count)
    torch.testing.assert_close(output.loss_sum, total, rtol=1e-5, atol=1e-4)
    assert int(output.count) == count == int((labels != -100).sum())


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_at_padding_changes_nothing(kind: str) -> None:
    decoder = make(kind)
    prefix, ids, mask, labels = batch()
    dirty = TokenFeatures(prefix.tokens.masked_fill(~prefix.mask[..., None], torch.nan), prefix.mask)
    other = torch.where(mask, ids, 7)
    assert torch.equal(
        decoder(dirty, other, mask, labels).loss_sum, decoder(prefix, ids, mask, labels).loss_sum
    )


@pytest.mark.parametrize("kind", KINDS)
def test_no_position_sees_the_future(kind: str) -> None:
    """Other tokens from position 4 on change nothing before it, through all cycles."""
    decoder = make(kind)
    x = torch.randn(1, 7, 32)
    changed = torch.cat([x[:, :4], torch.randn(1, 3, 32)], dim=1)
    mask = torch.ones(1, 7, dtype=torch.bool)
    before, after = (decoder.answers(one, AttentionContext(mask, 7, decoder.rotary)) for one in (x, changed))
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(old[:, :4], new[:, :4], rtol=1e-5, atol=1e-5)
        assert (old[:, 4:] - new[:, 4:]).abs().amax(-1).min() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_prefix_matters_and_gets_gradient_where_it_is_real(kind: str) -> None:
    decoder = make(kind)
    prefix, ids, mask, labels = batch()
    prefix.tokens.requires_grad_()
    decoder(prefix, ids, mask, labels).loss_sum.backward()
    assert prefix.tokens.grad is not None
    assert prefix.tokens.grad[prefix.mask].abs().amax(-1).min() > 1e-5
    assert not prefix.tokens.grad[~prefix.mask].any()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_supervised_and_no_rows(kind: str) -> None:
    decoder = make(kind)
    prefix, ids, mask, labels = batch()
    names = decoder(prefix, ids, mask, labels).report.keys()
    for rows in (3, 0):
        decoder.zero_grad()
        some = TokenFeatures(prefix.tokens[:rows].clone().requires_grad_(), prefix.mask[:rows])
        output = decoder(some, ids[:rows], mask[:rows], torch.full_like(labels[:rows], -100))
        assert (output.loss_sum.item(), int(output.count)) == (0.0, 0)
        assert output.report.keys() == names
        output.loss_sum.backward()
        assert some.tokens.grad is not None
        for name, parameter in decoder.named_parameters():
            assert parameter.grad is not None and not parameter.grad.any(), name


def test_the_loss_is_the_mean_over_supervision_steps() -> None:
    decoder = TRMDecoder.tiny(supervision_steps=3)
    _, ids, mask, labels = batch()
    output = decoder(None, ids, mask, labels)
    sight = AttentionContext(mask, ids.shape[1], decoder.rotary)
    losses = [
        torch.nn.functional.cross_entropy(
            decoder.lm_head(answer)[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum"
        )
        for answer in decoder.answers(decoder.embed_tokens(ids), sight)
    ]
    torch.testing.assert_close(output.loss_sum, sum(losses) / 3, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(output.report["last_loss"], losses[-1].detach(), rtol=1e-5, atol=1e-4)
    assert len({round(loss.item(), 3) for loss in losses}) == 3


def test_halting_learns_whether_the_whole_row_is_right() -> None:
    """Row by row and step by step, read at the token before the first supervised one."""
    decoder = TRMDecoder.tiny(halting=True, supervision_steps=2)
    assert decoder.halt_head is not None
    torch.nn.init.normal_(decoder.halt_head.weight)
    _, ids, mask, labels = batch()
    ids[1] = 9
    with torch.no_grad():  # row 1 repeats one token, which the best guess is made to be
        decoder.embedding.weight[9] *= 20
        labels[1, :3] = torch.tensor([-100, -100, 9])
        output = decoder(None, ids, mask, labels)
        answers = decoder.answers(decoder.embed_tokens(ids), AttentionContext(mask, 8, decoder.rotary))
        expected, targets = torch.zeros(()), []
        for answer in answers:
            for row in range(3):
                places = (labels[row] != -100).nonzero()[:, 0]
                guesses = decoder.lm_head(answer[row, places - 1]).argmax(-1)
                target = (guesses == labels[row, places]).all().float()
                logit = decoder.halt_head(answer[row, places[0] - 1])[0]
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, target)
                expected += loss * len(places) / 2
                targets.append(int(target))
    torch.testing.assert_close(output.report["halting_loss"], expected, rtol=1e-5, atol=1e-4)
    assert set(targets) == {0, 1}


def test_bfloat16_gradients_are_not_lost_to_cycles_without_gradient() -> None:
    """Autocast remembers cast weights; those of the cycles without gradient have none."""
    decoder = TRMDecoder.tiny(cycles=3)
    prefix, ids, mask, labels = batch()
    gradients = []
    for enabled in (False, True):
        decoder.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            output = decoder(prefix, ids, mask, labels)
        output.loss_sum.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in decoder.parameters()]))
    assert torch.cosine_similarity(*gradients, dim=0) > 0.98
    torch.testing.assert_close(gradients[0].norm(), gradients[1].norm(), rtol=0.05, atol=0.0)


@pytest.mark.parametrize("cycles", [1, 2])
def test_recursion_by_hand(cycles: int) -> None:
    """n = 2, T cycles, two supervision steps, written out; the gradient is that of each last cycle only."""
    decoder = TRMDecoder.tiny(refinements=2, cycles=cycles, supervision_steps=2)
    x = torch.randn(2, 5, 32, requires_grad=True)
    mask = torch.ones(2, 5, dtype=torch.bool)

    def net(inside: Tensor) -> Tensor:
        return decoder.block(inside, AttentionContext(mask, 5, decoder.rotary))

    y, z = decoder.y_start.expand(2, 5, 32), decoder.z_start.expand(2, 5, 32)
    expected = []
    for _ in range(2):
        for cycle in range(cycles):
            with torch.set_grad_enabled(cycle == cycles - 1):
                z = net(x + y + z)
                z = net(x + y + z)
                y = net(y + z)
        expected.append(y)
        y, z = y.detach(), z.detach()
    found = decoder.answers(x, AttentionContext(mask, 5, decoder.rotary))
    weights = torch.randn(2, 5, 32)
    for one, right in zip(found, expected, strict=True):
        torch.testing.assert_close(one, right, rtol=1e-5, atol=1e-5)
        gradients = [torch.autograd.grad((a * weights).sum(), x, retain_graph=True)[0] for a in (one, right)]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
    assert len(found) == 2


@pytest.mark.parametrize(
    "sizes", [{}, {"width": 48, "heads": 3, "layers": 3, "hidden": 40, "refinements": 3}]
)
def test_twins_of_equal_size_and_equal_compute(sizes: dict[str, int]) -> None:
    trm = TRMDecoder.tiny(**sizes)
    small, deep = PlainDecoder.same_size(trm), PlainDecoder.same_compute(trm)
    count = {d: sum(p.numel() for p in d.parameters()) for d in (trm, small, deep)}
    assert count[small] == count[trm] < count[deep]
    runs = dict.fromkeys(count, 0)
    for decoder in count:
        for layer in decoder.block.layers:
            layer.register_forward_hook(
                lambda *_, decoder=decoder: runs.__setitem__(decoder, runs[decoder] + 1)
            )
        decoder(None, *batch()[1:])
    assert runs[deep] == runs[trm] == trm.applications == deep.applications
    assert runs[small] == trm.config.layers


def test_default_sizes() -> None:
    trm = TRMDecoder(tiny_tokenizer())
    assert sum(p.numel() for p in trm.block.parameters()) == pytest.approx(1.6e6, rel=0.01)
    assert (trm.block_applications, trm.applications) == (12, 24)


@pytest.mark.parametrize("kind", KINDS)
def test_starts_at_a_sane_scale(kind: str) -> None:
    """Embeddings at mean square 1, and a loss near that of guessing among 261.

    It is a little above: with the embedding as the head, what is read at a token looks like the token.
    """
    decoder = make(kind)
    prefix, ids, mask, labels = batch()
    assert decoder.embed_tokens(torch.arange(261)).square().mean().item() == pytest.approx(1.0, abs=0.1)
    output = decoder(prefix, ids, mask, labels)
    assert (output.report["last_loss"] / output.count).item() == pytest.approx(6.0, abs=0.8)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    decoder = make(kind, seed=3)
    decoder.save(tmp_path)
    again = type(decoder).load(tmp_path)
    prefix, ids, mask, labels = batch()
    assert torch.equal(again(prefix, ids, mask, labels).loss_sum, decoder(prefix, ids, mask, labels).loss_sum)
    assert again.tokenizer.get_vocab() == decoder.tokenizer.get_vocab()
    other = make(kind, seed=4)
    other.load_trainable_state_dict(decoder.trainable_state_dict())
    assert torch.equal(other(prefix, ids, mask, labels).loss_sum, decoder(prefix, ids, mask, labels).loss_sum)


def test_states_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    decoder = TRMDecoder.tiny()
    state = decoder.trainable_state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    with pytest.raises(CheckpointError, match=r"1 missing \(such as 'z_start'\)"):
        decoder.load_trainable_state_dict({k: v + 1 for k, v in state.items() if k != "z_start"})
    with pytest.raises(CheckpointError, match=r"1 unknown \(such as 'more'\)"):
        decoder.load_trainable_state_dict({**state, "more": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"'y_start' with the shape \(32,\), got \(3,\)"):
        decoder.load_trainable_state_dict({**state, "y_start": torch.zeros(3)})
    assert all(torch.equal(tensor, before[name]) for name, tensor in decoder.state_dict().items())
    with pytest.raises(AssetError, match="is no saved decoder"):
        TRMDecoder.load(tmp_path)
    decoder.save(tmp_path)
    with pytest.raises(AssetError, match="expected a plain decoder, got a trm decoder"):
        PlainDecoder.load(tmp_path)
    record = json.loads((tmp_path / "decoder.json").read_text())
    (tmp_path / "decoder.json").write_text(json.dumps({**record, "vocabulary": 300}))
    with pytest.raises(CheckpointError, match="expected a tokenizer of 300 tokens, got 261"):
        TRMDecoder.load(tmp_path)
    (tmp_path / "decoder.json").write_text(json.dumps(record))
    (tmp_path / "decoder.safetensors").write_bytes(b"broken")
    with pytest.raises(CheckpointError, match=r"decoder.safetensors cannot be read"):
        TRMDecoder.load(tmp_path)


def test_frozen_parameters_are_left_out_of_the_trained_state() -> None:
    decoder = TRMDecoder.tiny()
    decoder.embedding.requires_grad_(False)
    state = decoder.trainable_state_dict()
    assert "embedding.weight" not in state
    assert "y_start" in state
    decoder.load_trainable_state_dict(state)


def test_refused() -> None:
    with pytest.raises(ConfigError, match="cycles: expected a whole number of at least 1, got 0"):
        TRMConfig(cycles=0)
    with pytest.raises(ConfigError, match="got 3 heads in width 32"):
        TRMDecoder.tiny(heads=3)
    with pytest.raises(ConfigError, match="layers: expected"):
        PlainDecoder(tiny_tokenizer(), PlainConfig(layers=0))
    prefix, ids, mask, labels = batch()
    with pytest.raises(ConfigError, match=r"prefix of the shape \(3, any, 32\), got \(3, 4, 8\)"):
        TRMDecoder.tiny()(TokenFeatures(prefix.tokens[..., :8], prefix.mask), ids, mask, labels)


def test_given_tokenizers() -> None:
    """Those of other models: GPT-2's has no padding token; without an end, or with gaps, they are refused."""
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    assert TRMDecoder(tokenizer).tokenizer.pad_token_id == tokenizer.eos_token_id
    tokenizer.eos_token = None
    with pytest.raises(ConfigError, match="the tokenizer has no eos_token"):
        TRMDecoder(tokenizer)
    pieces = {"<end>": 0, "a": 1, "b": 7}
    gaps = PreTrainedTokenizerFast(tokenizer_object=Backend(BPE(vocab=pieces, merges=[])), eos_token="<end>")
    with pytest.raises(ConfigError, match="without gaps between its ids, got 3 tokens with ids up to 7"):
        PlainDecoder(gaps)
