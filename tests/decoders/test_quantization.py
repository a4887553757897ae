"""8 and 4 bits by bitsandbytes, here on the CPU: what is quantised, trained, kept and merged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edge_glass.core.errors import CheckpointError, ConfigError
from edge_glass.decoders.causal_lm_loading import tiny_causal_lm
from edge_glass.decoders.generation import GenerationSettings
from edge_glass.decoders.kinds.causal_lm import QwenDecoder
from edge_glass.decoders.pretrained import QUANTIZATIONS, quantization_options
from edge_glass.encoders.features import TokenFeatures

torch.set_num_threads(1)

# Largest change of a loss of about 5 per token: 256 steps per row of weights, or 16 per block of 64.
CLOSE = {"8bit": 0.01, "4bit": 0.2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain Hugging Face folder of random weights."""
    place = tmp_path_factory.mktemp("lm")
    lm, tokenizer = tiny_causal_lm(0, width=64)
    lm.save_pretrained(place)  # type: ignore[operator]
    tokenizer.save_pretrained(place)
    return place


def sample(decoder: QwenDecoder) -> tuple[TokenFeatures, Tensor, Tensor]:
    """A prefix of three tokens that can be differentiated, ids and their mask."""
    tokens = torch.randn(1, 3, 64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    ids = decoder.tokenizer(["a fox and a hound"], return_tensors="pt")["input_ids"]
    return TokenFeatures(tokens, torch.ones(1, 3).bool()), ids, torch.ones_like(ids).bool()


def loss_of(decoder: QwenDecoder) -> Tensor:
    """Per token."""
    prefix, ids, mask = sample(decoder)
    result = decoder(prefix, ids, mask, ids)
    return result.loss_sum / ids.numel()


def quantised_layers(decoder: QwenDecoder) -> set[str]:
    return {
        name.rpartition(".")[2] if "base_layer" not in name else name.split(".")[-2]
        for name, module in decoder.lm.named_modules()
        if isinstance(module, nn.Linear) and not module.weight.is_floating_point()
    }


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_layers_are_quantised_and_the_head_is_not(quantization: str, folder: Path) -> None:
    decoder = QwenDecoder.load(folder, quantization=quantization)
    projections = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert quantised_layers(decoder) == projections
    with torch.no_grad():
        difference = (loss_of(decoder) - loss_of(QwenDecoder.load(folder))).abs()
    assert 0 < difference < CLOSE[quantization]


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_it_learns_after_it_has_answered_and_its_weights_stay(quantization: str, folder: Path) -> None:
    """On CPUs with AVX512-BF16 a 4bit layer that has answered refuses to be differentiated."""
    decoder = QwenDecoder.load(folder, quantization=quantization)
    frozen = {n: p.clone() for n, p in decoder.named_parameters() if not p.requires_grad}
    trained = [p for p in decoder.parameters() if p.requires_grad]
    assert trained and all(p.dtype == torch.float32 for p in trained)
    prefix, ids, mask = sample(decoder)
    decoder.eval()
    decoder.generate(prefix, ids, mask, GenerationSettings(max_new_tokens=3))
    decoder.train()
    optimizer = torch.optim.AdamW(trained, lr=5e-3)
    losses = []
    for _ in range(12):
        loss = loss_of(decoder)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0] - 0.5
    for name, parameter in decoder.named_parameters():
        if name in frozen:
            assert torch.equal(parameter, frozen[name]), name


def test_gradients_reach_the_prefix_as_without_quantization(folder: Path) -> None:
    gradients = []
    for quantization in (None, "8bit", "4bit"):
        decoder = QwenDecoder.load(folder, quantization=quantization).train()
        prefix, ids, mask = sample(decoder)
        decoder(prefix, ids, mask, ids).loss_sum.backward()
        assert prefix.tokens.grad is not None
        gradients.append(prefix.tokens.grad.flatten())
    plain, eight, four = gradients
    assert torch.cosine_similarity(plain, eight, dim=0) > 0.99
    assert torch.cosine_similarity(plain, four, dim=0) > 0.8


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_adapters_move_to_the_plain_base_and_are_not_merged_into_quantised_weights(
    quantization: str, folder: Path, tmp_path: Path
) -> None:
    decoder = QwenDecoder.load(folder, quantization=quantization)
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            if "lora_B" in name:
                parameter += 0.05
    decoder.save_adapter(tmp_path)
    plain = QwenDecoder.load(folder)
    before = loss_of(plain).item()
    plain.load_adapter(tmp_path)
    assert abs(loss_of(plain).item() - before) > 0.01
    assert abs(loss_of(plain).item() - loss_of(decoder).item()) < CLOSE[quantization]
    with pytest.raises((CheckpointError, ConfigError), match="quantization"):
        decoder.merge(1e-3)


def test_other_names_are_refused() -> None:
    assert quantization_options(None, torch.float32) == {}
    with pytest.raises(ConfigError, match="expected none, 8bit or 4bit, got '2bit'"):
        quantization_options("2bit", torch.float32)
