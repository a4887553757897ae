"""`DetectionModel`: its loss and gradients are the library's, its answers depend on no neighbours."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_vlms import AGGRESSIVE, FAMILIES, batch, config, detector, moved
from torch import Tensor

from edge_glass.core.errors import CheckpointError, ConfigError
from edge_glass.decoders.decoder import GenerationSettings
from edge_glass.vlm.family import load_family
from edge_glass.vlm.inputs import rope_positions
from edge_glass.vlm.loading import load_vlm
from edge_glass.vlm.model import DetectionModel

torch.set_num_threads(1)

component_of = load_family("qwen2_vl").component_of  # all of them name their parts alike

GREEDY = GenerationSettings(max_new_tokens=12)
SAMPLING = GenerationSettings(max_new_tokens=8, do_sample=True, temperature=0.8, top_p=0.9, seed=3)


def trained_loudly(family: str, **vlm: Any) -> DetectionModel:
    """A model with large weights: what it writes depends on what it sees."""
    return moved(detector(family, **vlm), by=0.15)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> DetectionModel:
    """Tests may not change it."""
    return trained_loudly(request.param).eval()


def gradients(model: DetectionModel) -> dict[str, Tensor]:
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def single(model: DetectionModel, row: int, **options: Any) -> dict[str, Tensor]:
    return batch(model, [row], **options)


# The loss


def test_loss_and_gradients_are_those_of_the_library(model: DetectionModel) -> None:
    inputs = batch(model)
    output = model(inputs)
    (output.loss_sum / output.count).backward()
    own = gradients(model)
    loss = model.vlm(**inputs).loss
    loss.backward()
    library = gradients(model)
    torch.testing.assert_close(output.loss_sum / output.count, loss, atol=1e-5, rtol=1e-5)
    assert own.keys() == library.keys() == {name for name, _ in model.named_parameters()}
    for name, gradient in library.items():
        torch.testing.assert_close(own[name], gradient, atol=1e-5, rtol=1e-4, msg=name)
    assert 0 <= int(output.report["correct"]) <= int(output.count) == int((inputs["labels"] != -100).sum())


def test_the_loss_of_a_batch_is_the_sum_of_its_rows(model: DetectionModel) -> None:
    with torch.no_grad():
        whole = model(batch(model))
        left = model(batch(model, side="left"))
        rows = [model(single(model, row)) for row in range(3)]
    torch.testing.assert_close(whole.loss_sum, sum(row.loss_sum for row in rows), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(whole.loss_sum, left.loss_sum, atol=1e-4, rtol=1e-5)
    assert whole.count == left.count == sum(row.count for row in rows)


def test_the_loss_depends_on_the_picture(model: DetectionModel) -> None:
    inputs = batch(model)
    shuffled = {**inputs, "pixel_values": inputs["pixel_values"].flip(0)}
    with torch.no_grad():
        assert not torch.allclose(model(inputs).loss_sum, model(shuffled).loss_sum, atol=1e-2)


def test_positions_and_logits_do_not_depend_on_padding_or_company(model: DetectionModel) -> None:
    """Positions given, as ours, or absent, as the library finds them; either side; alone or not."""
    for side in ("right", "left"):
        inputs = batch(model, side=side)
        positions, _ = rope_positions(model.vlm, inputs)
        labels = inputs.pop("labels")
        with torch.no_grad():
            absent = model.vlm(**inputs).logits
            given = model.vlm(**inputs, position_ids=positions).logits
        real = inputs["attention_mask"].bool()
        torch.testing.assert_close(given[real], absent[real], atol=1e-5, rtol=1e-4)
        together = model.logits({**inputs, "labels": labels})
        alone = torch.cat([model.logits(single(model, row)) for row in range(3)])
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-3)
        for row in range(3):
            own, _ = rope_positions(model.vlm, single(model, row))
            assert torch.equal(positions[:, row, real[row]], own[:, 0])


GOLDEN_GRID = {  # of a picture of 4 × 2 tokens after <|im_start|>user\n<|vision_start|>
    "time": [4] * 8,
    "height": [4, 4, 5, 5, 6, 6, 7, 7],
    "width": [4, 5] * 4,
}


def test_golden_positions(model: DetectionModel) -> None:
    """Text, picture, text: a picture takes as many positions as its longer side has tokens."""
    factor = model.processor.image_processor.patch_size * 2
    identify = model.tokenizer.convert_tokens_to_ids
    text = model.tokenizer("<|im_start|>user\n<|vision_start|>")["input_ids"]
    ids = torch.tensor([[*text, *[identify("<|image_pad|>")] * 8, identify("<|vision_end|>"), *text]])
    kinds = (ids == identify("<|image_pad|>")).long()
    made = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": kinds,
        "pixel_values": torch.zeros(32, 3 * 2 * (factor // 2) ** 2),
        "image_grid_thw": torch.tensor([[1, 8, 4]]),
    }
    positions, deltas = rope_positions(model.vlm, made)
    assert len(text) == 4
    after = list(range(8, 13))
    for axis, name in enumerate(("time", "height", "width")):
        assert positions[axis, 0].tolist() == [0, 1, 2, 3, *GOLDEN_GRID[name], *after]
    assert deltas.tolist() == [[13 - 17]]


# Answers


def test_a_batch_is_answered_as_its_rows_alone(model: DetectionModel) -> None:
    for settings in (GREEDY, SAMPLING):
        together = model.generate(batch(model, side="left", answered=False), settings)
        right = model.generate(batch(model, side="right", answered=False), settings)
        assert together.tokens == right.tokens
        assert len({tuple(tokens) for tokens in together.tokens}) > 1
        for row in range(3):
            alone = model.generate(single(model, row, answered=False), settings)
            assert alone.tokens[0] == together.tokens[row] and alone.ended[0] == together.ended[row]
            torch.testing.assert_close(
                torch.tensor(alone.log_probs[0]), torch.tensor(together.log_probs[row]), atol=1e-4, rtol=1e-4
            )


def test_greedy_answers_and_their_probabilities_are_those_of_the_library(model: DetectionModel) -> None:
    prompts = batch(model, side="left", answered=False)
    written = model.generate(prompts, GREEDY)
    with torch.no_grad():
        found = model.vlm.generate(
            **prompts, max_new_tokens=12, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
    new = found.sequences[:, prompts["input_ids"].shape[1] :]
    log_probs = torch.stack(found.logits, dim=1).log_softmax(dim=-1)
    ends = set(model.vlm.generation_config.eos_token_id)
    for row, tokens in enumerate(written.tokens):
        library = new[row].tolist()
        stop = next((at for at, token in enumerate(library) if token in ends), len(library))
        assert tokens == library[:stop]
        assert written.ended[row] == (stop < len(library))
        expected = log_probs[row, torch.arange(stop), torch.tensor(tokens, dtype=torch.long)]
        torch.testing.assert_close(torch.tensor(written.log_probs[row]), expected, atol=1e-4, rtol=1e-4)


def test_the_probabilities_are_those_of_the_answer_read_again(model: DetectionModel) -> None:
    """Teacher forcing finds the same numbers, without a cache."""
    prompts = single(model, 1, answered=False)
    written = model.generate(prompts, SAMPLING)
    tokens = torch.tensor([written.tokens[0]])
    whole = {**prompts, "input_ids": torch.cat([prompts["input_ids"], tokens], dim=1)}
    for name, value in (("attention_mask", 1), ("mm_token_type_ids", 0)):
        whole[name] = torch.cat([prompts[name], torch.full_like(tokens, value)], dim=1)
    labels = whole["input_ids"].clone()
    labels[:, : prompts["input_ids"].shape[1]] = -100
    logits = model.logits({**whole, "labels": labels})
    expected = logits.log_softmax(dim=-1)[torch.arange(tokens.shape[1]), tokens[0]]
    torch.testing.assert_close(torch.tensor(written.log_probs[0]), expected, atol=1e-3, rtol=1e-3)


def test_answers_that_end_leave_the_others_alone(model: DetectionModel) -> None:
    """Rows that have ended are dropped from the batch; probabilities still go to their own rows."""
    prompts = batch(model, side="left", answered=False)
    end = model.generate(prompts, GREEDY).tokens[1][2]
    settings = GenerationSettings(max_new_tokens=12, end=end)
    cut = model.generate(prompts, settings)
    assert cut.ended[1] and not all(len(tokens) == len(cut.tokens[1]) for tokens in cut.tokens)
    for row in range(3):
        alone = model.generate(single(model, row, answered=False), settings)
        assert (alone.tokens[0], alone.ended[0]) == (cut.tokens[row], cut.ended[row])
        assert len(cut.log_probs[row]) == len(cut.tokens[row])
        torch.testing.assert_close(
            torch.tensor(alone.log_probs[0]), torch.tensor(cut.log_probs[row]), atol=1e-4, rtol=1e-4
        )


def test_answers_are_watched_and_the_mode_is_kept(model: DetectionModel) -> None:
    model.train()
    seen: list[tuple[int, int]] = []
    prompts = batch(model, side="left", answered=False)
    written = model.generate(prompts, GREEDY, lambda row, token: seen.append((row, token)))
    assert model.training
    model.eval()
    assert [[token for at, token in seen if at == row] for row in range(3)] == written.tokens
    with pytest.raises(ConfigError, match="num_beams: expected 1, got 3"):
        model.generate(prompts, GenerationSettings(num_beams=3))
    nothing = {name: value[:0] for name, value in prompts.items()}
    assert model.generate(nothing, GREEDY) == ([], [], [])


def test_training_goes_on_after_answers(model: DetectionModel) -> None:
    """Nothing that generation leaves behind enters the graph of the next step, or its positions."""
    inputs = single(model, 2)
    before = model(inputs).loss_sum
    model.generate(batch(model, side="left", answered=False), GREEDY)
    after = model(inputs).loss_sum
    assert torch.equal(before, after)
    after.backward()
    gradients(model)


# What is trained


def test_a_batch_of_no_rows_touches_all_that_is_trained() -> None:
    for vlm in ({"mode": "lora", "lora": AGGRESSIVE}, {"components": ["projector"]}, {"mode": "frozen"}):
        model = detector("qwen3_vl", **vlm)
        output = model({name: value[:0] for name, value in batch(model).items()})
        assert output.loss_sum == 0 and output.count == 0 and output.report["correct"] == 0
        if vlm["mode" if "mode" in vlm else "components"] == "frozen":
            continue
        output.loss_sum.backward()
        for name, parameter in model.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, name
            assert parameter.grad is None or not parameter.grad.any()


def test_rows_without_pictures(model: DetectionModel) -> None:
    text = [f"<|im_start|>user\n{words}<|im_end|>\n" for words in ("find", "Find: face and animal")]
    made = dict(model.tokenizer(text, return_tensors="pt", padding=True, padding_side="left"))
    made["labels"] = made["input_ids"].masked_fill(made["attention_mask"] == 0, -100)
    made["mm_token_type_ids"] = torch.zeros_like(made["input_ids"])
    model.zero_grad()
    model(made).loss_sum.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert not any(p.grad.any() for n, p in model.named_parameters() if ".visual." in n)  # type: ignore[union-attr]
    model.zero_grad()
    together = model.generate(made, GREEDY)
    for row in range(2):
        real = made["attention_mask"][row].bool()
        alone = {name: value[row : row + 1, real] for name, value in made.items()}
        assert model.generate(alone, GREEDY).tokens[0] == together.tokens[row]


def test_no_supervised_token(model: DetectionModel) -> None:
    inputs = batch(model)
    output = model({**inputs, "labels": torch.full_like(inputs["labels"], -100)})
    output.loss_sum.backward()
    assert output.loss_sum == 0 and output.count == 0
    assert all(not gradient.any() for gradient in gradients(model).values())


@pytest.mark.parametrize("components", [["vision"], ["projector"], ["llm"], ["vision", "llm"]])
def test_only_the_named_components_are_trained(components: list[str]) -> None:
    model = detector("qwen3_vl", components=components)
    model(batch(model)).loss_sum.backward()
    trained = {component_of(name) for name in model.trainable_state_dict()}
    assert trained == {*components, *(["head"] if "llm" in components else [])}
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (component_of(name) in trained), name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "vlm", [{"mode": "full"}, {"mode": "lora", "lora": AGGRESSIVE}], ids=["full", "lora"]
)
def test_checkpointed_layers_give_the_same_gradients(family: str, vlm: dict[str, Any]) -> None:
    found = []
    for checkpointed in (False, True):
        made = moved(detector(family, gradient_checkpointing=checkpointed, **vlm)).train()
        calls: list[int] = []
        layer = made.vlm.model.visual.blocks[0].attn.qkv
        layer.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        made(batch(made)).loss_sum.backward()
        found.append(gradients(made))
        assert len(calls) == (2 if checkpointed else 1)
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", ["full", "lora"])
def test_the_trained_state_goes_round_by_names_in_memory(family: str, mode: str) -> None:
    vlm: dict[str, Any] = {"mode": mode, "lora": AGGRESSIVE} if mode == "lora" else {"mode": mode}
    made = trained_loudly(family, **vlm)
    state = {name: value.clone() for name, value in made.trainable_state_dict().items()}
    assert set(state) == {name for name, p in made.named_parameters() if p.requires_grad}
    fresh = detector(family, **vlm)
    row = single(made, 0)
    assert not torch.allclose(fresh.logits(row), made.logits(row), atol=1e-2)
    fresh.load_trainable_state_dict(state)
    assert torch.equal(fresh.logits(row), made.logits(row))
    name = next(iter(state))
    for broken, message in (
        ({n: v for n, v in state.items() if n != name}, f"1 missing .such as '{name}'"),
        ({**state, "model.visual.x": torch.ones(1)}, "1 unknown .such as 'model.visual.x'"),
        ({n.removeprefix("vlm.model."): v for n, v in state.items()}, "missing .* unknown"),
        ({**state, name: torch.ones(1)}, "with the shape"),
    ):
        with pytest.raises(CheckpointError, match=message):
            fresh.load_trainable_state_dict(broken)


def test_tied_embeddings_are_trained_saved_and_counted_once() -> None:
    vlm, processor = load_vlm(config("qwen3_vl"))
    vlm.config.tie_word_embeddings = vlm.config.text_config.tie_word_embeddings = True
    vlm.lm_head.weight = vlm.model.language_model.embed_tokens.weight
    made = moved(DetectionModel(vlm, processor, mode="full"))
    assert not any("lm_head" in name for name in made.trainable_state_dict())
    rows = {row.component: row.total for row in made.parameter_counts()}
    assert rows["head"] == 0 and rows["llm"] > vlm.lm_head.weight.numel()
    inputs = batch(made)
    output = made(inputs)
    output.loss_sum.backward()
    own = gradients(made)
    (made.vlm(**inputs).loss * output.count).backward()
    table = "vlm.model.language_model.embed_tokens.weight"
    torch.testing.assert_close(own[table], gradients(made)[table], atol=1e-4, rtol=1e-4)
    frozen = DetectionModel(vlm, processor, mode="full", components=["vision"])
    assert not vlm.lm_head.weight.requires_grad and frozen.trainable_state_dict()


def test_settings_that_do_not_fit() -> None:
    vlm, processor = load_vlm(config())
    with pytest.raises(ConfigError, match="expected one of frozen, lora, full, got 'qlora'"):
        DetectionModel(vlm, processor, mode="qlora")
    with pytest.raises(ConfigError, match="expected lora settings with mode lora alone"):
        DetectionModel(vlm, processor, mode="lora")


# Merging


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", [{}, {"rslora": True}, {"dora": True}], ids=["lora", "rslora", "dora"])
def test_merging_changes_no_answer(family: str, kind: dict[str, bool]) -> None:
    made = moved(detector(family, mode="lora", lora={**AGGRESSIVE, **kind}), by=0.02)
    row, before = batch(made), made.logits(batch(made))
    assert made.merge() < 1e-3
    assert (made.logits(row) - before).abs().max() < 1e-4 * before.abs().max()
    assert made.mode == "frozen" and made.adapter is None and not made.trainable_state_dict()
    assert not any("lora" in name or "base_layer" in name for name in made.state_dict())
    with pytest.raises(CheckpointError, match=r"got none: vlm\.mode is frozen"):
        made.merge()


def test_the_sample_of_merging_hears_every_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the vision tower's adapters must not hide behind a sample of words alone."""
    from edge_glass.vlm.inputs import sample_inputs

    made = moved(detector("qwen3_vl", mode="lora", lora=AGGRESSIVE), by=0.1)
    sample = sample_inputs(made.vlm, made.processor, made.known)
    before = made.logits(sample)
    assert made.adapter is not None
    for target in made.adapter.targets:
        weight = made.vlm.get_submodule(target).lora_B["default"].weight
        kept = weight.detach().clone()
        with torch.no_grad():
            weight.zero_()
            assert not torch.equal(made.logits(sample), before), target
            weight.copy_(kept)
