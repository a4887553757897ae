"""The instruction task: questions about pictures and sounds, answered in words. Where its rooms meet."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from edge_glass.assets import cache_root
from edge_glass.config.instruction import InstructionConfig
from edge_glass.core.passes import moved, parts
from edge_glass.data.conversation_batches import ConversationCollator
from edge_glass.data.feature_cache import FeatureCache
from edge_glass.data.features import CachedFeatures, ItemRef, LiveFeatures
from edge_glass.data.labels import ConversationTokenizer, check_labels
from edge_glass.decoders.decoder import decoder_kind
from edge_glass.decoders.generation import generation_settings
from edge_glass.instruction.data.datasets import ConversationDataset, ConversationRows, build_dataset
from edge_glass.instruction.data.sources import load_conversations, texts_of
from edge_glass.instruction.data.table import InstructionTable
from edge_glass.instruction.measure.text import AnswerSet, answer_values
from edge_glass.instruction.model.answering import AnsweringModel
from edge_glass.instruction.model.build import (
    build_answering_model,
    build_decoder,
    build_tokenizer,
    load_prefix_encoders,
)
from edge_glass.tasks.sources import cache_obstacle
from edge_glass.tasks.text_generation import SPLITS, TextGenerationTask
from edge_glass.training.task import Batch

logger = logging.getLogger(__name__)

MEASURED_ROWS = 1_000  # more hardly move means and scales


@dataclass(frozen=True)
class Answers:
    """What a model wrote for some rows of a split."""

    rows: list[int]
    texts: list[str]
    ended: list[bool]


class InstructionTask(TextGenerationTask):
    """Teaches a decoder to answer questions about pictures and sounds; see `edge_glass.training.Task`."""

    config: InstructionConfig
    written = Answers
    doing = "answering {split} questions"

    def read_tables(self) -> dict[str, InstructionTable]:
        """See `TextGenerationTask`."""
        return load_conversations(self.config)

    def set_up(self, fresh: bool) -> None:
        """See `TextGenerationTask`; a fresh model measures the features of some training rows."""
        self.tokenizer = ConversationTokenizer(self.model.decoder.tokenizer)
        self.settings = generation_settings(self.config, self.tokenizer.end)
        self.datasets = {name: self._dataset(self.tables[name], name == "train") for name in SPLITS}
        self.source = self._feature_source()
        if fresh:
            self._measure_features()
        self._checked = False
        self._rows: dict[tuple[str, bool], Dataset] = {}

    def fresh_model(self) -> AnsweringModel:
        """Return the model that training starts from."""
        config = self.config
        tokenizer = None
        if not decoder_kind(config.decoder.kind).pretrained:
            tokenizer = build_tokenizer(config.decoder, texts_of(self.tables["train"]))
        decoder = build_decoder(config, tokenizer)
        return build_answering_model(config, decoder, load_prefix_encoders(config))

    def _dataset(self, table: InstructionTable, training: bool) -> ConversationDataset:
        cached = cache_obstacle(self.config) is None
        preprocess = {} if cached else self.model.preprocess
        return build_dataset(self.config, table, self.tokenizer, preprocess, training)

    def _feature_source(self) -> CachedFeatures | None:
        """Return the filled cache; None where there is nothing to cache, or caching would be wrong."""
        reason = cache_obstacle(self.config)
        if reason is not None or not self.model.towers:
            logger.info("the feature cache is off: %s", reason or "the model sees nothing")
            return None
        choice = self.config.training.feature_cache
        cache = FeatureCache(cache_root() if choice == "auto" else Path(choice))
        source = CachedFeatures(self.model.towers, cache, self.progress)
        source.fill(dataset.table for dataset in self.datasets.values())
        return source

    def _measure_features(self) -> None:
        """Measure mean and scale of the features of some training pictures and sounds, evenly spread."""
        table = self.splits["train"]
        source = self.source or LiveFeatures(self.model.towers)
        for name, tower in self.model.towers.items():
            if tower.standardizer is None:
                continue
            rows = [row for row, keys in enumerate(table.keys(name)) if keys]
            rows = rows[:: max(1, len(rows) // MEASURED_ROWS)]
            measured = (
                source.features(name, [ItemRef(table, row) for row in part]) for part in parts(rows, 64)
            )
            tower.standardizer.measure(features.tokens[features.mask] for features in measured)

    # What the trainer asks for

    @property
    def splits(self) -> dict[str, InstructionTable]:
        """Return the rows of each split that fit."""
        return {name: dataset.table for name, dataset in self.datasets.items()}

    @property
    def train_dataset(self) -> Dataset:
        """Return rows to train on."""
        return self.rows("train")

    def rows(self, split: str, prompts: bool = False) -> Dataset:
        """Return a split as the loader reads it: whole batches from the cache, or items to be collated."""
        key = split, prompts
        if key not in self._rows:
            dataset = self.datasets[split]
            live = self.source is None and self.model.towers
            self._rows[key] = (
                dataset if live else ConversationRows(dataset, self.source, self._collator(prompts))
            )
        return self._rows[key]

    def collate(self, items: Any) -> Batch:
        """Return a batch: cached rows arrive as one, decoded ones are padded and stacked."""
        batch = items if isinstance(items, dict) else self._collator()(items)
        if not self._checked:  # every batch is made alike
            check_labels(batch, self.tokenizer.end, self.tokenizer.special, batch["ids"])
            self._checked = True
        return batch

    def _collator(self, prompts: bool = False) -> ConversationCollator:
        return ConversationCollator(self.model.decoder.tokenizer.pad_token_id, prompts, self.model.collate)

    # Measuring

    def write(self, model: AnsweringModel, split: str, rows: Sequence[int]) -> Answers:
        """See `TextGenerationTask`."""
        batch = moved(self.batch(split, rows, prompts=True), self.model.device)
        written = model.generate(batch, self.settings)
        return Answers(list(rows), [self.text(tokens) for tokens in written.tokens], written.ended)

    def metric_values(self, split: str, written: Answers) -> dict[str, float]:
        """See `TextGenerationTask`."""
        return answer_values(self.answer_set(split, written))

    def text(self, tokens: Sequence[int]) -> str:
        """Return generated tokens as an answer."""
        return self.model.decoder.tokenizer.decode(list(tokens), skip_special_tokens=True).strip()

    def answer_set(self, split: str, answers: Answers) -> AnswerSet:
        """Return answers beside what they should have been; the questions of one picture are one unit."""
        table, groups = self.splits[split], self.datasets[split].groups
        return AnswerSet(
            predictions=answers.texts,
            references=[[table.answer(row)] for row in answers.rows],
            units=groups[answers.rows],
            answer_types=[table.answer_types[row] for row in answers.rows],
            sources=[table.sources[row] for row in answers.rows],
            ended=answers.ended,
        )

    def sample(self, split: str, written: Answers, place: int) -> dict[str, Any]:
        """See `TextGenerationTask`."""
        table, row = self.splits[split], written.rows[place]
        return {
            "id": table.ids[row],
            "question": table.question(row),
            "reference": table.answer(row),
            "answer": written.texts[place],
            "ended": written.ended[place],
        }

    def canary_row(self) -> int:
        """Return the first row with the most that is seen and heard: every tower should have a canary."""
        table = self.splits["test"]
        has = [np.array([bool(keys) for keys in table.keys(name)], dtype=int) for name in self.model.towers]
        return int(np.sum(has, axis=0).argmax()) if has else 0

    # Batches

    def batch(self, split: str, rows: Sequence[int], prompts: bool = False) -> Batch:
        source: Any = self.rows(split, prompts)
        keys = [(0, row) for row in rows]
        if isinstance(source, ConversationRows):
            return source.__getitems__(keys)
        return self._collator(prompts)([source[key] for key in keys])
