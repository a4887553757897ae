"""What a model receives: some samples of an experiment, before training, and what must hold of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from edge_glass.config.instruction import InstructionConfig
from edge_glass.core.errors import DataError
from edge_glass.core.passes import spread
from edge_glass.core.quiet import only_warnings
from edge_glass.data.conversation_batches import ConversationCollator, stack_pixels
from edge_glass.data.conversations import ASSISTANT, Turn
from edge_glass.data.labels import NOT_TRAINED, ConversationTokenizer, check_labels
from edge_glass.decoders.causal_lm_loading import find_gguf, is_unpacked, unpacked_folder
from edge_glass.decoders.decoder import decoder_kind
from edge_glass.encoders.pooling import build_pooling
from edge_glass.encoders.sources import resolve_source
from edge_glass.instruction.data.datasets import ConversationDataset, build_dataset
from edge_glass.instruction.data.sources import load_conversations, texts_of
from edge_glass.instruction.data.table import InstructionTable
from edge_glass.instruction.model.build import (
    build_decoder,
    build_tokenizer,
    load_prefix_encoders,
    pooling_of,
)
from edge_glass.reporting.inspection import InspectedInput, InspectedSample, Inspection, inspected_tokens


def inspect_conversations(config: InstructionConfig, count: int = 8, split: str = "train") -> Inspection:
    """Show some rows of a split, evenly spread, as training (or measuring) gives them to the model.

    Encoders are loaded, for their transform and their tokens; of a language model only its tokenizer.

    Args:
        config: Of an instruction experiment.
        count: How many; all when there are fewer.
        split: train, val or test. Training rows are augmented as in the first epoch.

    Raises:
        DataError: The rows cannot be used.
    """
    tables = load_conversations(config)
    tokenizer = ConversationTokenizer(_tokenizer(config, tables["train"]))
    encoders = load_prefix_encoders(config)
    preprocess = {name: encoder.preprocess for name, encoder in encoders.items()}
    with only_warnings("edge_glass.data.lengths"):  # it is shown with the samples
        dataset = build_dataset(config, tables[split], tokenizer, preprocess, split == "train")
    return Inspection(
        samples=_samples(config, dataset, InputInspector(config, encoders), count, split),
        lengths=dataset.lengths.lines(),
        title=config.name,
        overview=_overview(config, tokenizer, encoders),
    )


def _tokenizer(config: InstructionConfig, learned_from: InstructionTable) -> Any:
    """Load the decoder's tokenizer, without the decoder where it is a large one."""
    decoder = config.decoder
    if not decoder_kind(decoder.kind).pretrained:
        return build_tokenizer(decoder, texts_of(learned_from))
    if config.tiny or decoder.source.endswith(".gguf"):
        return build_decoder(config).tokenizer
    source = resolve_source(decoder.source)
    gguf = find_gguf(Path(source))
    if gguf is not None and is_unpacked(unpacked := unpacked_folder(gguf)):
        source = str(unpacked)  # the same tokenizer, read in a fraction of the time
    tokenizer = build_tokenizer(decoder.model_copy(update={"tokenizer": source}), ())
    if tokenizer.pad_token_id is None:  # as the decoder has it
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _samples(
    config: InstructionConfig, dataset: ConversationDataset, inputs: InputInspector, count: int, split: str
) -> list[InspectedSample]:
    table, tokenizer = dataset.table, dataset.tokenizer
    rows = spread(len(table), count)
    items = [dataset[0, row] for row in rows]
    batch = ConversationCollator(tokenizer.tokenizer.pad_token_id, collate={})(items)
    return [
        _sample(
            dataset,
            items[place],
            row,
            split,
            inputs,
            checks_of_row(batch, place, table.turns[row], tokenizer),
        )
        for place, row in enumerate(rows)
    ]


def _sample(
    dataset: ConversationDataset,
    item: Mapping[str, Any],
    row: int,
    split: str,
    inputs: InputInspector,
    checks: tuple[tuple[str, str | None], ...],
) -> InspectedSample:
    tokenizer = dataset.tokenizer
    trained = (item["labels"] != NOT_TRAINED).tolist()
    facts = {"source": item["source"], "type": item["answer_type"]}
    return InspectedSample(
        id=item["id"],
        split=split,
        inputs=inputs.inspect(dataset.table, row, item),
        prompt=tokenizer.tokenizer.decode(item["ids"][: item["prompt"]]),
        tokens=inspected_tokens(tokenizer.tokenizer, item["ids"], trained, tokenizer.special),
        prompt_tokens=item["prompt"],
        trained_tokens=sum(trained),
        checks=checks,
        facts={name: value for name, value in facts.items() if value},
        opening=item["opening"] if inputs.within_text else 0,
    )


def _overview(
    config: InstructionConfig, tokenizer: ConversationTokenizer, encoders: Mapping[str, Any]
) -> dict[str, str]:
    decoder, prefix = config.decoder, config.prefix
    model = (
        f"{decoder.source}, {decoder.mode}"
        if decoder_kind(decoder.kind).pretrained
        else "trained from scratch"
    )
    resampled = "" if prefix.perceiver is None else f", Perceiver of {prefix.perceiver.num_latents} latents"
    joined = "" if config.fusion is None or len(encoders) < 2 else f", {config.fusion.kind} fusion"
    return {
        "decoder": f"{decoder.kind} ({'a toy' if config.tiny else model})",
        "tokenizer": f"{len(tokenizer.tokenizer):,} tokens",
        "prompt template": _template(tokenizer),
        "an answer ends with": str(tokenizer.tokenizer.convert_ids_to_tokens(tokenizer.end)),
        "prefix": f"{prefix.projector} projector{resampled}{joined}" if encoders else "none: words alone",
    }


def _template(tokenizer: ConversationTokenizer) -> str:
    own = getattr(tokenizer.tokenizer, "chat_template", None)
    return "the tokenizer's own chat template" if own else "User: … Assistant: …"


class InputInspector:
    """What becomes of the inputs of samples, on their way to a prefix.

    Args:
        config: The experiment.
        encoders: Modality → encoder.
    """

    def __init__(self, config: InstructionConfig, encoders: Mapping[str, Any]) -> None:
        self.config, self.encoders = config, encoders
        self.within_text = decoder_kind(config.decoder.kind).pretrained  # others read a prefix first

    def inspect(
        self, table: InstructionTable, row: int, item: Mapping[str, Any]
    ) -> tuple[InspectedInput, ...]:
        """Return the inputs of one row, in the order of their prefix tokens.

        Args:
            table: The rows.
            row: One of them.
            item: What `ConversationDataset` gives for it.
        """
        inputs: list[InspectedInput] = []
        for modality in self.encoders:
            name = "pixels" if modality == "vision" else "mel"
            if name not in item:
                continue
            # Cross attention keeps the tokens of the first modality; they attend to those of the others.
            heard = bool(inputs) and self._fuses_by_attention()
            tokens = 0 if heard else self._tokens(modality, item[name])
            note = f"read by the {inputs[0].word}'s tokens" if heard else ""
            make = self._picture if modality == "vision" else self._sound
            inputs.append(make(table, row, item[name], tokens, note))
        return tuple(inputs)

    def _fuses_by_attention(self) -> bool:
        return self.config.fusion is not None and self.config.fusion.kind == "cross_attention"

    def _picture(
        self, table: InstructionTable, row: int, pixels: Tensor, tokens: int, note: str
    ) -> InspectedInput:
        source = table.image(row)
        seen = self.encoders["vision"].transform.to_picture(pixels)
        return InspectedInput("vision", tokens, source, seen, _size(source), _size(seen), note)

    def _sound(
        self, table: InstructionTable, row: int, mel: Tensor, tokens: int, note: str
    ) -> InspectedInput:
        sound = table.sound(row)
        takes = len(table.keys("audio")[row])
        if takes > 1:
            note = "; ".join(filter(None, (note, f"{takes} takes, training draws one of them")))
        seconds = f"{len(sound.samples) / sound.rate:.1f} s"
        size = f"{mel.shape[0]} bands × {mel.shape[1]} frames"
        return InspectedInput("audio", tokens, None, _spectrogram(mel), seconds, size, note)

    def _tokens(self, modality: str, tensor: Tensor) -> int:
        """Return prefix tokens of one item."""
        if self.config.prefix.perceiver is not None:
            return self.config.prefix.perceiver.num_latents
        encoder = self.encoders[modality]
        raw = stack_pixels([tensor])["pixels"] if modality == "vision" else encoder.collate([tensor])
        features = encoder.frozen_forward(raw)
        pooling = pooling_of(self.config, modality)
        pool = build_pooling(pooling, encoder.width, grid_size=self.config.vision_encoder.grid_size)
        pooled = pool(*features)
        return int(pooled.mask.sum()) if hasattr(pooled, "mask") else 1


def _size(picture: Image.Image) -> str:
    return f"{picture.width} × {picture.height}"


def _spectrogram(mel: Tensor) -> Image.Image | None:
    """Draw low tones at the bottom, loud ones bright; None for a sound of no frames."""
    values = mel.float().numpy()[::-1]
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / max(high - low, 1e-6) * 255
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


Check = tuple[str, str | None]
"""What must hold, and what is wrong; None where it holds."""


def checks_of_row(
    batch: Mapping[str, Any], place: int, turns: Sequence[Turn], tokenizer: ConversationTokenizer
) -> tuple[Check, ...]:
    """Return all checks of one row of a batch.

    Args:
        batch: To train on, padded on the right.
        place: Of the row.
        turns: What is said in it.
        tokenizer: That made it.
    """
    row = {name: batch[name][place : place + 1] for name in ("input_ids", "attention_mask", "labels")}
    ids = row["input_ids"][0][row["attention_mask"][0]]
    labels = row["labels"][0][row["attention_mask"][0]]
    return (
        (
            "each label is the id of its own token; none stands on padding or a marker but the end",
            _wrong_labels(row, tokenizer, str(batch["ids"][place])),
        ),
        ("the prompt is that of generation, token for token", _other_prompt(ids, labels, turns, tokenizer)),
        ("nothing is trained before the first answer", _trained_too_early(labels, turns, tokenizer)),
        ("the end of every answer is trained", _untrained_ends(ids, labels, turns, tokenizer)),
        ("the trained tokens say the answers", _other_answers(ids, labels, turns, tokenizer)),
    )


def _wrong_labels(row: Mapping[str, Tensor], tokenizer: ConversationTokenizer, name: str) -> str | None:
    try:
        check_labels(row, tokenizer.end, tokenizer.special, [name])
    except DataError as error:
        return str(error)
    return None


def _other_prompt(
    ids: Tensor, labels: Tensor, turns: Sequence[Turn], tokenizer: ConversationTokenizer
) -> str | None:
    prompt = tokenizer.prompt(turns[:-1])
    begins = list(_trained_runs(labels))[-1:]
    if not begins:
        return "nothing is trained"
    start = begins[0][0]
    if start < len(prompt) or not torch.equal(ids[: len(prompt)], prompt):
        return f"generation reads {len(prompt)} tokens; training has others before the answer"
    # What a template writes between prompt and answer is part of neither.
    return None if start == len(prompt) else f"{start - len(prompt)} tokens stand between prompt and answer"


def _trained_too_early(labels: Tensor, turns: Sequence[Turn], tokenizer: ConversationTokenizer) -> str | None:
    first = next(position for position, turn in enumerate(turns) if turn.role == ASSISTANT)
    count = int((labels[: len(tokenizer.prompt(turns[:first]))] != NOT_TRAINED).sum())
    return f"{count} tokens of the first prompt are trained" if count else None


def _untrained_ends(
    ids: Tensor, labels: Tensor, turns: Sequence[Turn], tokenizer: ConversationTokenizer
) -> str | None:
    answers = sum(turn.role == ASSISTANT for turn in turns)
    found = sum(int(ids[stop - 1]) == tokenizer.end for _, stop in _trained_runs(labels))
    return None if found == answers else f"{found} of {answers} answers end with a trained end token"


def _other_answers(
    ids: Tensor, labels: Tensor, turns: Sequence[Turn], tokenizer: ConversationTokenizer
) -> str | None:
    said = [
        tokenizer.tokenizer.decode(
            ids[start:stop], skip_special_tokens=True, clean_up_tokenization_spaces=False
        ).strip()
        for start, stop in _trained_runs(labels)
    ]
    right = [turn.text.strip() for turn in turns if turn.role == ASSISTANT]
    if said == right:
        return None
    pairs = zip([*said, ""], [*right, ""], strict=False)
    other = next(((one, two) for one, two in pairs if one != two), ("", ""))
    return f"they say {other[0][:60]!r}; the answer is {other[1][:60]!r}"


def _trained_runs(labels: Tensor) -> Iterator[tuple[int, int]]:
    """Yield runs of trained tokens, as (first, behind the last)."""
    trained = [False, *(labels != NOT_TRAINED).tolist(), False]
    starts = [at for at in range(1, len(trained)) if trained[at] and not trained[at - 1]]
    stops = [at for at in range(1, len(trained)) if not trained[at] and trained[at - 1]]
    yield from zip((at - 1 for at in starts), (at - 1 for at in stops), strict=True)
