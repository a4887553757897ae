"""SmolLM2-135M-Instruct from its GGUF file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from edge_glass.decoders.decoder import GenerationSettings
from edge_glass.decoders.kinds.causal_lm import QwenDecoder
from edge_glass.decoders.lora import LoraSettings


@pytest.mark.weights
@pytest.mark.slow
def test_smollm2_writes_is_adapted_merged_and_saved(tmp_path: Path) -> None:
    decoder = QwenDecoder.load("asset:smollm2-135m-instruct", lora=LoraSettings(rank=4)).eval()
    assert (decoder.width, decoder.vocabulary) == (576, 49152)
    assert decoder.adapter is not None and len(decoder.adapter.targets) == 30 * 7
    assert all(parameter.dtype == torch.float32 for parameter in decoder.parameters())
    prompts = ["The capital of France is", "Two plus two is"]
    decoder.tokenizer.padding_side = "left"
    encoded = decoder.tokenizer(prompts, padding=True, return_tensors="pt")
    ids, mask = encoded["input_ids"], encoded["attention_mask"].bool()
    settings = GenerationSettings(max_new_tokens=6)
    answers = decoder.generate(None, ids, mask, settings)
    assert "Paris" in decoder.tokenizer.decode(answers.tokens[0])
    single = decoder.generate(None, ids[1:][mask[1:]][None], mask[1:][mask[1:]][None], settings)
    assert single.tokens[0] == answers.tokens[1]

    again = QwenDecoder.load("asset:smollm2-135m-instruct", mode="frozen")  # unpacked before
    assert again.generate(None, ids, mask, settings) == answers
    state = dict(again.lm.named_parameters())
    assert decoder.merge() == 0.0  # untrained adapters
    assert all(torch.equal(state[name], parameter) for name, parameter in decoder.lm.named_parameters())
    decoder.save(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(plain(ids[:1]).logits, decoder.lm(ids[:1]).logits)
    assert (
        QwenDecoder.load(tmp_path, mode="frozen").tokenizer.chat_template == decoder.tokenizer.chat_template
    )
