"""Asking a Qwen vision-language model of transformers, without anything of this package around it."""

from __future__ import annotations

from typing import Any

import torch

from edge_glass.data.inputs import Picture, open_picture
from edge_glass.detection.collators.chat import end_of_turn
from edge_glass.encoders.image_transform import to_rgb


def run_qwen2vl_inference(
    model: Any,
    processor: Any,
    image: Picture,
    prompt: str,
    max_new_tokens: int = 512,
    system_prompt: str | None = None,
) -> str:
    """What a Qwen vision-language model answers about one picture, word for word and greedily.

    Args:
        model: A plain model of transformers, as `merge` writes it and `from_pretrained` loads it, or a
            `DetectionModel`.
        processor: Of the model.
        image: A file, its bytes or a PIL picture.
        prompt: What is asked.
        max_new_tokens: Longest answer in tokens.
        system_prompt: Said first; by default what the chat template writes.

    Returns:
        The answer without the token that ends it; `parse_qwen_bbox_output` reads its boxes.
    """
    vlm = getattr(model, "vlm", model)
    content = [{"type": "image", "image": to_rgb(open_picture(image))}, {"type": "text", "text": prompt}]
    turns: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if system_prompt is not None:
        turns.insert(0, {"role": "system", "content": [{"type": "text", "text": system_prompt}]})
    inputs = processor.apply_chat_template(
        [turns], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    inputs = {name: values.to(vlm.device) for name, values in inputs.items()}
    was_training = vlm.training
    vlm.eval()
    try:
        with torch.no_grad():
            written = vlm.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    finally:
        vlm.train(was_training)
    tokens = written[0, inputs["input_ids"].shape[1] :].tolist()
    ends = {end_of_turn(processor), processor.tokenizer.eos_token_id, processor.tokenizer.pad_token_id}
    stop = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return str(processor.tokenizer.decode(tokens[:stop], skip_special_tokens=False)).strip()
