"""What goes into a vision-language model: the tensors of a batch, and where its words and patches stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def inner_inputs(batch: Mapping[str, Any], positions: Tensor) -> dict[str, Tensor]:
    """Return the arguments of the model below the LM head.

    Positions are always given: without them the library counts padding where no row has a picture, and keeps
    those of one batch for the next.

    Args:
        batch: As for `DetectionModel.forward`.
        positions: `[3, B, L]` of `rope_positions`.
    """
    inputs = {
        "input_ids": batch["input_ids"],
        "attention_mask": batch["attention_mask"].long(),
        "position_ids": positions,
    }
    if has_pictures(batch):
        inputs |= {name: batch[name] for name in ("pixel_values", "image_grid_thw", "mm_token_type_ids")}
    return inputs


def has_pictures(batch: Mapping[str, Any]) -> bool:
    """Return whether any row of a batch has a picture."""
    pixels = batch.get("pixel_values")
    return pixels is not None and len(pixels) > 0


def rope_positions(vlm: Any, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Return where each token stands in time, height and width (M-RoPE, https://arxiv.org/abs/2409.12191).

    Returns:
        `[3, B, L]`, zero at padding; and `[B, 1]`, what the words of an answer add to their number in it.
    """
    ids = batch["input_ids"]
    kinds = batch["mm_token_type_ids"] if has_pictures(batch) else torch.zeros_like(ids)
    grid = batch["image_grid_thw"] if has_pictures(batch) else None
    positions, deltas = vlm.model.get_rope_index(
        ids, mm_token_type_ids=kinds, image_grid_thw=grid, attention_mask=batch["attention_mask"]
    )
    return positions, deltas.reshape(len(ids), 1)


def sample_inputs(vlm: Any, processor: Any, known: Tensor) -> dict[str, Tensor]:
    """Return a row with a picture of stripes and 16 words from all over the vocabulary, all words trained.

    Every adapter, those of the vision tower too, has a say in its logits.
    """
    from PIL import Image

    device, config = known.device, vlm.config
    side = 4 * processor.image_processor.patch_size * processor.image_processor.merge_size
    stripes = Image.linear_gradient("L").resize((side, side)).convert("RGB")
    picture = processor.image_processor(images=[stripes], return_tensors="pt")
    grid = picture["image_grid_thw"].to(device)
    count = int(grid.prod()) // processor.image_processor.merge_size**2
    ids = known.nonzero()[:, 0]
    special = torch.tensor([config.image_token_id, config.video_token_id], device=device)
    ids = ids[~torch.isin(ids, special)]
    words = ids[len(ids) * torch.arange(16, device=device) // 16]
    marks = [config.vision_start_token_id, *[config.image_token_id] * count, config.vision_end_token_id]
    row = torch.cat([torch.tensor(marks, device=device), words])[None]
    labels = row.clone()
    labels[:, : len(marks)] = -100
    return {
        "input_ids": row,
        "attention_mask": torch.ones_like(row),
        "mm_token_type_ids": (row == config.image_token_id).long(),
        "pixel_values": picture["pixel_values"].to(device),
        "image_grid_thw": grid,
        "labels": labels,
    }
