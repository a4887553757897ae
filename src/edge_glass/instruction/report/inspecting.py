"""What a model receives: some samples of an experiment, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_glass.config.schema import ExperimentConfig
from edge_glass.core.quiet import only_warnings
from edge_glass.data.conversation_batches import ConversationCollator
from edge_glass.data.labels import NOT_TRAINED, ConversationTokenizer
from edge_glass.decoders.causal_lm_loading import find_gguf, is_unpacked, unpacked_folder
from edge_glass.decoders.decoder import decoder_kind
from edge_glass.encoders.sources import resolve_source
from edge_glass.instruction.data.datasets import ConversationDataset
from edge_glass.instruction.data.sources import load_conversations, texts_of
from edge_glass.instruction.data.table import InstructionTable
from edge_glass.instruction.model.build import build_decoder, build_tokenizer
from edge_glass.instruction.report.inspected_inputs import InputInspector
from edge_glass.instruction.report.invariants import checks_of_row
from edge_glass.reporting.inspection import InspectedSample, inspected_tokens
from edge_glass.tasks.inspection import Inspection
from edge_glass.tasks.sources import load_audio, load_vision


def inspect_conversations(config: ExperimentConfig, count: int = 8, split: str = "train") -> Inspection:
    """Some rows of a split, evenly spread, as training (or measuring) gives them to the model.

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
    encoders: dict[str, Any] = {}
    if not config.prefix.blind:
        encoders["vision"] = load_vision(config)
        if (audio := load_audio(config)) is not None:
            encoders["audio"] = audio
    with only_warnings("edge_glass.data.lengths"):  # it is shown with the samples
        dataset = _dataset(config, tables[split], tokenizer, encoders, split == "train")
    return Inspection(
        samples=_samples(config, dataset, InputInspector(config, encoders), count, split),
        lengths=dataset.lengths.lines(),
        title=config.name,
        overview=_overview(config, tokenizer, encoders),
    )


def _tokenizer(config: ExperimentConfig, learned_from: InstructionTable) -> Any:
    """The decoder's, without the decoder where it is a large one."""
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


def _dataset(
    config: ExperimentConfig,
    table: InstructionTable,
    tokenizer: ConversationTokenizer,
    encoders: Mapping[str, Any],
    training: bool,
) -> ConversationDataset:
    dataset = config.dataset
    return ConversationDataset(
        table,
        tokenizer,
        {name: encoder.preprocess for name, encoder in encoders.items()},
        max_question=dataset.max_question_length,
        max_answer=dataset.max_answer_length,
        too_long=dataset.too_long,
        training=training,
        seed=config.seed,
        augmentation=dataset.augmentation,
        audio_augmentation=dataset.audio_augmentation,
    )


def _samples(
    config: ExperimentConfig, dataset: ConversationDataset, inputs: InputInspector, count: int, split: str
) -> list[InspectedSample]:
    table, tokenizer = dataset.table, dataset.tokenizer
    total = len(table)
    rows = [total * number // min(count, total) for number in range(min(count, total))]
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
    config: ExperimentConfig, tokenizer: ConversationTokenizer, encoders: Mapping[str, Any]
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
