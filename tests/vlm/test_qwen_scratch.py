from __future__ import annotations

import pytest
import torch
from PIL import Image

from edge_glass.config.sections.detection import VlmSizeConfig
from edge_glass.core.errors import ConfigError
from edge_glass.vlm.family import FAMILIES as REGISTRY
from edge_glass.vlm.family import build_processor, build_vlm, load_family
from edge_glass.vlm.qwen import SPECIAL_TOKENS, build_tokenizer

FAMILIES = REGISTRY.names()
TINY = VlmSizeConfig(width=32, layers=2, heads=2, vision_width=32, vision_layers=2, vision_heads=2)
ANSWER = '[{"bbox_2d": [12, 345, 6, 1000], "label": "face"}]'
QUESTION = {
    "role": "user",
    "content": [
        {"type": "image", "image": Image.new("RGB", (112, 84), "teal")},
        {"type": "text", "text": "Where?"},
    ],
}
REPLY = {"role": "assistant", "content": [{"type": "text", "text": ANSWER}]}


def batch(processor, *turns, **options):
    return processor.apply_chat_template(
        [list(turns)],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True},
        **options,
    )


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_every_digit_is_one_token(tokenizer):
    digits = tokenizer.convert_tokens_to_ids(list("0123456789"))
    assert len(set(digits)) == 10
    ids = tokenizer(ANSWER).input_ids
    assert [tokenizer.decode([i]) for i in ids if i in digits] == list("21234561000")
    assert not any(set("0123456789") & set(token) for token in tokenizer.get_vocab() if len(token) > 1)


def test_any_text_survives_and_known_words_are_short(tokenizer):
    for text in (ANSWER, "Straße, 日本 🙂\n\n  two", "<|box_start|>(1,2),(30,40)<|box_end|>"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.tokenize("<|box_start|>(1,2),(3,4)<|box_end|>") == [
        "<|box_start|>", "(", "1", ",", "2", "),(", "3", ",", "4", ")", "<|box_end|>",
    ]  # fmt: skip
    assert tokenizer.tokenize("face nutrition-table") == ["face", "Ġnutrition", "-table"]


def test_special_tokens_stand_first_and_in_order(tokenizer):
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(range(14))
    assert set(SPECIAL_TOKENS) == set(tokenizer.all_special_tokens)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_conversation_is_rendered_as_qwen_does(family):
    processor = build_processor(family, 784, 112 * 112)
    whole = batch(processor, QUESTION, REPLY, return_assistant_tokens_mask=True)
    prompt = batch(processor, QUESTION, add_generation_prompt=True)
    tokens = int(whole["image_grid_thw"].prod()) // 4
    assert processor.decode(whole["input_ids"][0]) == (
        f"<|im_start|>user\n<|vision_start|>{'<|image_pad|>' * tokens}<|vision_end|>Where?<|im_end|>\n"
        f"<|im_start|>assistant\n{ANSWER}<|im_end|>\n"
    )
    length = prompt["input_ids"].shape[1]
    assert torch.equal(whole["input_ids"][:, :length], prompt["input_ids"])
    trained = whole["input_ids"][0][torch.as_tensor(whole["assistant_masks"][0]).bool()]
    assert processor.decode(trained) == ANSWER + "<|im_end|>"
    assert int(whole["mm_token_type_ids"].sum()) == tokens
    side = load_family(family).token_side // 2
    assert whole["pixel_values"].shape[1] == 3 * 2 * side * side


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_and_loaded_by_the_auto_classes_it_says_the_same(family, tmp_path):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = build_processor(family, 784, 112 * 112)
    model = build_vlm(family, TINY, processor, seed=1).eval()
    assert model.config.model_type == family
    prompt = batch(processor, QUESTION, add_generation_prompt=True)
    processor.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    again, loaded = (
        AutoProcessor.from_pretrained(tmp_path),
        AutoModelForImageTextToText.from_pretrained(tmp_path),
    )
    assert type(again) is type(processor) and type(loaded) is type(model)
    prompt_again = batch(again, QUESTION, add_generation_prompt=True)
    assert all(torch.equal(prompt[key], prompt_again[key]) for key in prompt)
    with torch.no_grad():
        assert torch.equal(model(**prompt).logits, loaded(**prompt_again).logits)
    written = model.generate(**prompt, max_new_tokens=5)
    assert torch.equal(written, loaded.generate(**prompt_again, max_new_tokens=5))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_learns_and_the_answer_depends_on_where_things_are(family):
    processor = build_processor(family, 784, 112 * 112)
    model = build_vlm(family, TINY, processor, seed=1)
    inputs = batch(processor, QUESTION, REPLY, return_assistant_tokens_mask=True)
    mask = torch.as_tensor(inputs.pop("assistant_masks"))
    model(**inputs, labels=inputs["input_ids"].masked_fill(mask == 0, -100)).loss.backward()
    # Plain pictures leave queries and keys of the vision tower without a gradient, but not without a tensor.
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())
    turned = dict(inputs, pixel_values=inputs["pixel_values"].clone())
    turned["pixel_values"][:4] += 1.0
    with torch.no_grad():
        assert not torch.equal(model(**inputs).logits[:, -1], model(**turned).logits[:, -1])


def test_weights_are_a_function_of_the_seed_and_leave_the_callers_randomness_alone():
    processor = build_processor("qwen2_vl", 784, 112 * 112)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, other = (build_vlm("qwen2_vl", TINY, processor, seed=seed).state_dict() for seed in (1, 2))
    assert torch.equal(torch.rand(3), expected)
    again = build_vlm("qwen2_vl", TINY, processor, seed=1, dtype=torch.bfloat16)
    assert all(torch.equal(one[name].bfloat16(), weight) for name, weight in again.state_dict().items())
    assert not torch.equal(one["lm_head.weight"], other["lm_head.weight"])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("width", "heads", "vision_width", "vision_heads"), [(48, 2, 16, 4), (36, 6, 24, 2)])
def test_sizes_that_are_no_powers_of_two(family, width, heads, vision_width, vision_heads):
    size = VlmSizeConfig(
        width=width,
        layers=1,
        heads=heads,
        vision_width=vision_width,
        vision_layers=1,
        vision_heads=vision_heads,
    )
    processor = build_processor(family, 784, 112 * 112)
    model = build_vlm(family, size, processor, seed=0)
    prompt = batch(processor, QUESTION, add_generation_prompt=True)
    assert model.generate(**prompt, max_new_tokens=2).shape[1] > prompt["input_ids"].shape[1]
    assert sum(model.config.text_config.rope_parameters["mrope_section"]) == width // heads // 2


def test_height_and_width_share_fast_and_slow_frequencies():
    """A row and a column apart, queries and keys turn by like amounts: no axis is blurred."""
    processor = build_processor("qwen2_vl", 784, 112 * 112)
    size = VlmSizeConfig(width=64, layers=1, heads=2, vision_width=32, vision_layers=1, vision_heads=2)
    rotary = build_vlm("qwen2_vl", size, processor, seed=0).model.language_model.rotary_emb
    here, down, along = (
        rotary(torch.zeros(1), torch.tensor(place)[:, None, None])[0].flatten()
        for place in ([0, 0, 0], [0, 1, 0], [0, 0, 1])
    )
    apart = torch.stack([(down - here).abs().sum(), (along - here).abs().sum()])
    assert float(apart.min() / apart.max()) > 0.4
    assert float(apart.min()) > 0.1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 30, "heads": 4}, "vlm.size: .*multiple of 8 for heads 4, got width 30"),
        ({"vision_width": 36, "vision_heads": 2}, "multiple of 8 for vision_heads 2, got vision_width 36"),
    ],
)
def test_heads_that_do_not_fit_are_named(wrong, message):
    with pytest.raises(ConfigError, match=message):
        build_vlm("qwen2_vl", TINY.model_copy(update=wrong), build_processor("qwen2_vl"), seed=0)


def test_an_unknown_family_is_named():
    with pytest.raises(ConfigError, match=r"vlm\.family: .*qwen2_5_vl, qwen2_vl, qwen3_vl; got 'qwen9'"):
        build_processor("qwen9")
