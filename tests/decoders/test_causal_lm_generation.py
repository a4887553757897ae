"""`QwenDecoder.generate` and `stream`: batches as their rows, answers as those of transformers."""

from __future__ import annotations

import pytest
import torch
from causal_decoders import TEXTS, decoder, prefix, supervised, tokenize
from transformers import GenerationConfig

from edge_glass.core.errors import ConfigError
from edge_glass.decoders.decoder import GenerationSettings, PlacedPrefix
from edge_glass.decoders.kinds.causal_lm import CausalSteps, shared_opening
from edge_glass.decoders.pretrained import weights_in
from edge_glass.encoders.features import TokenFeatures


@pytest.mark.parametrize("kind", ["qwen2", "gpt2"])
@pytest.mark.parametrize(
    "settings",
    [
        GenerationSettings(max_new_tokens=12),
        GenerationSettings(max_new_tokens=12, num_beams=3),
        GenerationSettings(max_new_tokens=12, do_sample=True, temperature=1.5, top_p=0.9, seed=3),
    ],
    ids=["greedy", "beams", "sampling"],
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_is_as_its_rows(kind: str, settings: GenerationSettings, side: str) -> None:
    made = decoder(kind)
    ids, mask = tokenize(made, TEXTS, side)
    pre = prefix()
    together = made.generate(pre, ids, mask, settings)
    for row in range(3):
        alone = TokenFeatures(
            pre.tokens[row][pre.mask[row]][None], torch.ones(1, int(pre.mask[row].sum())) > 0
        )
        own = ids[row][mask[row]][None]
        single = made.generate(alone, own, torch.ones_like(own, dtype=torch.bool), settings)
        assert single.tokens[0] == together.tokens[row]
        assert single.ended[0] == together.ended[row]
    assert len({tuple(tokens) for tokens in together.tokens}) == 3


OPENING = "Answer in as few words as you can, dear. "


@pytest.mark.parametrize("kind", ["qwen2", "gpt2"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("beams", [1, 3])
def test_a_shared_opening_is_read_once(kind: str, side: str, beams: int) -> None:
    made, settings = decoder(kind), GenerationSettings(max_new_tokens=12, num_beams=beams)
    ids, mask = tokenize(made, [OPENING + text for text in TEXTS], side)
    opening = len(tokenize(made, [OPENING])[0][0])
    pre = PlacedPrefix(*prefix(), torch.full((3,), opening))
    read: list[tuple[int, ...]] = []
    layer = next(module for name, module in made.lm.named_modules() if name.endswith((".layers.0", ".h.0")))
    hook = layer.register_forward_pre_hook(lambda _, inputs: read.append(tuple(inputs[0].shape[:2])))
    together = made.generate(pre, ids, mask, settings)
    hook.remove()
    longest = int(mask.sum(dim=1).max()) + 4
    assert read[0] == (1, opening) and read[1][0] == 3 and longest - 4 <= opening + read[1][1] <= longest
    for row in range(3):
        real = pre.mask[row]
        alone = PlacedPrefix(pre.tokens[row][real][None], real[real][None], pre.opening[:1])
        own = ids[row][mask[row]][None]
        single = made.generate(alone, own, torch.ones_like(own, dtype=torch.bool), settings)
        assert single.tokens[0] == together.tokens[row]
    assert len({tuple(tokens) for tokens in together.tokens}) == 3


def test_logits_behind_a_shared_opening() -> None:
    made = decoder("gpt2")
    ids, mask = tokenize(made, [OPENING + text for text in TEXTS])
    steps = CausalSteps(made.lm, *made.join(None, ids, mask), made.known, [2])
    with torch.no_grad():
        found = [steps.start(), steps.step(torch.tensor([5, 6, 7]))]
        steps.reorder(torch.tensor([2, 0]))
        found.append(steps.step(torch.tensor([8, 9])))
    assert steps.opening.shape[1] >= 40
    for row, words in ((0, [5, 9]), (2, [7, 8])):
        sentence = torch.cat([ids[row][mask[row]], torch.tensor(words)])[None]
        with torch.no_grad():
            expected = made.lm(input_ids=sentence).logits[0, -3:]
        kept = expected[:, made.known]
        ours = torch.stack([found[0][row], found[1][row], found[2][0 if row == 2 else 1]])[:, made.known]
        real = ours.isfinite()
        assert torch.allclose(ours[real], kept[real], atol=1e-5 * float(kept.abs().max()))


def test_what_rows_share() -> None:
    rows = torch.randn(3, 40, 2)
    rows[:, :36] = rows[:1, :36]
    seen = torch.ones(3, 40, dtype=torch.bool)
    assert shared_opening(rows, seen) == 36
    assert shared_opening(rows[:1], seen[:1]) == 0  # nobody to share with
    assert shared_opening(rows[:, 5:], seen[:, 5:]) == 0  # 31 tokens twice are not worth a pass
    same = rows[:1].expand(3, -1, -1)
    assert shared_opening(same, seen) == 39  # each reads a token of its own
    seen[1, 37:] = False
    assert shared_opening(same, seen) == 36
    padded = torch.cat([torch.zeros(3, 2, 2), rows], dim=1)
    assert shared_opening(padded, torch.arange(42).expand(3, -1) >= 2) == 36


def test_layers_with_a_window_share_nothing() -> None:
    made = decoder()
    ids, mask = tokenize(made, [OPENING + text for text in TEXTS])
    joined = made.join(None, ids, mask)
    assert CausalSteps(made.lm, *joined, made.known, [2]).opening.shape[1] >= 40
    config = made.lm.config
    config.sliding_window, config.layer_types = 8, ["sliding_attention"] * config.num_hidden_layers
    assert CausalSteps(made.lm, *joined, made.known, [2]).opening.shape[1] == 0


@pytest.mark.parametrize("kind", ["qwen2", "gpt2"])
@pytest.mark.parametrize("beams", [1, 4])
def test_answers_are_those_of_transformers(kind: str, beams: int) -> None:
    made = decoder(kind)
    ids, mask = tokenize(made, TEXTS, "left")
    pre = prefix()
    ours = made.generate(pre, ids, mask, GenerationSettings(max_new_tokens=10, num_beams=beams))
    embeddings, seen = made.join(pre, ids, mask)
    made.lm.generation_config = GenerationConfig(
        eos_token_id=made.tokenizer.eos_token_id, pad_token_id=made.tokenizer.pad_token_id
    )
    known = len(made.tokenizer)
    theirs = made.lm.generate(
        inputs_embeds=embeddings,
        attention_mask=seen.long(),
        max_new_tokens=10,
        num_beams=beams,
        early_stopping="never" if beams > 1 else None,
        suppress_tokens=list(range(known, made.vocabulary)) or None,
    )
    end, pad = made.tokenizer.eos_token_id, made.tokenizer.pad_token_id
    for row, tokens in enumerate(theirs.tolist()):
        while tokens and tokens[-1] in (pad, end):
            tokens.pop()
        assert ours.tokens[row] == tokens


def test_ends_and_unknown_ids() -> None:
    made = decoder()
    known = len(made.tokenizer)
    assert known < made.vocabulary  # as in the real ones
    ids, mask = tokenize(made, TEXTS, "left")
    hot = GenerationSettings(max_new_tokens=40, do_sample=True, temperature=50.0)
    answers = made.generate(None, ids, mask, hot)
    assert max(max(tokens) for tokens in answers.tokens) < known
    first = made.generate(None, ids[:1], mask[:1], GenerationSettings(max_new_tokens=3)).tokens[0]
    for ends in (first[1], [made.tokenizer.eos_token_id, first[1]]):
        made.lm.generation_config.eos_token_id = ends
        stopped = made.generate(None, ids[:1], mask[:1], GenerationSettings(max_new_tokens=3))
        assert stopped.tokens == [first[: first.index(first[1])]]
        assert stopped.ended == [True]


def test_generation_leaves_modes_and_gradients_alone() -> None:
    made = decoder(mode="lora").train()
    ids, mask = tokenize(made, TEXTS, "left")
    made.generate(prefix(), ids, mask, GenerationSettings(max_new_tokens=2))
    assert made.training and made.lm.training
    made(prefix(), ids, mask, supervised(ids, mask)).loss_sum.backward()
    empty = made.generate(None, ids[:0], mask[:0], GenerationSettings())
    assert empty == ([], [])


def test_streaming_gives_the_answer_in_pieces() -> None:
    made = decoder()
    ids, mask = tokenize(made, ["what is it?"])
    settings = GenerationSettings(max_new_tokens=20)
    tokens = made.generate(None, ids, mask, settings).tokens[0]
    pieces = list(made.stream(None, ids, mask, settings))
    assert len(pieces) > 3
    assert "".join(pieces) == made.tokenizer.decode(tokens, skip_special_tokens=True)
    calls: list[int] = []
    made.lm.model.layers[0].register_forward_hook(lambda *_: calls.append(1))
    stream = made.stream(None, ids, mask, GenerationSettings(max_new_tokens=450))
    assert next(stream) == pieces[0]
    stream.close()
    assert len(calls) < 300  # it stopped soon after nobody listened
    with pytest.raises(ConfigError, match="1 prompts with num_beams 2"):
        made.stream(None, ids, mask, GenerationSettings(num_beams=2))
    with pytest.raises(ConfigError, match="512 positions"):  # raised in the thread, seen here
        list(made.stream(None, ids, mask, GenerationSettings(max_new_tokens=600)))


@pytest.mark.parametrize("mode", ["frozen", "lora"])
def test_under_autocast_weights_are_cast_once(mode: str) -> None:
    """And to what autocast would have cast them to, in each step."""
    made = decoder(mode=mode)
    ids, mask = tokenize(made, TEXTS, "left")
    weights = {name: tensor.clone() for name, tensor in made.lm.state_dict().items()}
    found = []
    for cast in (torch.float32, torch.bfloat16):
        with weights_in(made.lm, cast), torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            dtypes = {name: tensor.dtype for name, tensor in made.lm.named_parameters()}
            steps = CausalSteps(made.lm, *made.join(prefix(), ids, mask), made.known, [2])
            found.append(torch.stack([steps.start(), steps.step(ids[:, -1])]))
        cast_names = {name for name, dtype in dtypes.items() if dtype != torch.float32}
        assert all("proj" in name and "lora" not in name for name in cast_names)
        assert len(cast_names) == (14 if cast == torch.bfloat16 else 0)
    assert torch.equal(*found)
    assert all(torch.equal(weights[name], tensor) for name, tensor in made.lm.state_dict().items())
    with torch.autocast("cpu", torch.bfloat16):
        rough = made.generate(prefix(), ids, mask, GenerationSettings(max_new_tokens=3))
    exact = made.generate(prefix(), ids, mask, GenerationSettings(max_new_tokens=3))
    assert sum(a[:1] == b[:1] for a, b in zip(rough.tokens, exact.tokens, strict=True)) >= 2


def test_weights_come_back_after_an_error() -> None:
    made = decoder(mode="frozen")
    before = dict(made.lm.named_parameters())
    data = {name: parameter.data_ptr() for name, parameter in before.items()}
    with pytest.raises(KeyError), weights_in(made.lm, torch.bfloat16):
        raise KeyError
    for name, parameter in made.lm.named_parameters():
        assert parameter is before[name] and parameter.data_ptr() == data[name]
