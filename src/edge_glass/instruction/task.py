"""The instruction task: questions about pictures and sounds, answered in words. Where its rooms meet."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from edge_glass.assets import cache_root
from edge_glass.config.schema import ExperimentConfig
from edge_glass.core import distributed
from edge_glass.core.passes import moved, parts
from edge_glass.core.progress import progress_bar
from edge_glass.data.conversation_batches import ConversationCollator, stack_pixels
from edge_glass.data.feature_cache import FeatureCache
from edge_glass.data.features import CachedFeatures, ItemRef, LiveFeatures
from edge_glass.data.labels import ConversationTokenizer, check_labels
from edge_glass.decoders.decoder import decoder_kind
from edge_glass.decoders.generation import generation_settings
from edge_glass.instruction.data.conversation_rows import ConversationRows
from edge_glass.instruction.data.datasets import ConversationDataset
from edge_glass.instruction.data.sources import SPLITS, load_conversations, texts_of
from edge_glass.instruction.data.table import InstructionTable
from edge_glass.instruction.measure.text import AnswerSet, answer_values
from edge_glass.instruction.model.answering import AnsweringModel
from edge_glass.instruction.model.build import build_answering_model, build_decoder, build_tokenizer
from edge_glass.tasks.sources import cache_obstacle, load_audio, load_vision, training_device
from edge_glass.tasks.text_generation import TextGenerationTask, evenly_spread
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
    """Teaches a decoder to answer questions about pictures and sounds; see `edge_glass.training.Task`.

    Args:
        config: The experiment.
        progress: Show progress bars.
        model: A finished model to measure; by default a fresh one is built.
        tables: Its train, val and test; by default they are read.

    Attributes:
        samples: Some answers of the last validation, as plain data.

    Raises:
        EdgeGlassError: Data, weights or configuration are wrong; nothing has been trained then.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        progress: bool = True,
        model: AnsweringModel | None = None,
        tables: Mapping[str, InstructionTable] | None = None,
    ) -> None:
        self.config, self.progress = config, progress
        self.primary_metric = config.evaluation.primary_metric
        tables = tables or load_conversations(config)
        self._learned_from = tables["train"]
        self.model = (model or self.fresh_model()).to(training_device(config))
        self.tokenizer = ConversationTokenizer(self.model.decoder.tokenizer)
        self.settings = generation_settings(config, self.tokenizer.end)
        self.datasets = {name: self._dataset(tables[name], name == "train") for name in SPLITS}
        self.source = self._feature_source()
        if model is None:
            self._measure_features()
        self.samples: list[dict[str, Any]] = []
        self._checked = False
        self._rows: dict[tuple[str, bool], Dataset] = {}
        self.keep_canary(self.batch("test", [self._richest_row("test")]))

    def fresh_model(self) -> AnsweringModel:
        """The model that training starts from."""
        config = self.config
        tokenizer = None
        if not decoder_kind(config.decoder.kind).pretrained:
            tokenizer = build_tokenizer(config.decoder, texts_of(self._learned_from))
        decoder = build_decoder(config, tokenizer)
        encoders: dict[str, Any] = {}
        if not config.prefix.blind:
            encoders["vision"] = load_vision(config)
            if (audio := load_audio(config)) is not None:
                encoders["audio"] = audio
        return build_answering_model(config, decoder, encoders)

    def _dataset(self, table: InstructionTable, training: bool) -> ConversationDataset:
        dataset = self.config.dataset
        cached = cache_obstacle(self.config) is None
        preprocess = {} if cached else self._preprocess()
        return ConversationDataset(
            table,
            self.tokenizer,
            preprocess,
            max_question=dataset.max_question_length,
            max_answer=dataset.max_answer_length,
            too_long=dataset.too_long,
            training=training,
            seed=self.config.seed,
            augmentation=dataset.augmentation,
            audio_augmentation=dataset.audio_augmentation,
        )

    def _preprocess(self) -> dict[str, Any]:
        return {name: tower.encoder.preprocess for name, tower in self.model.towers.items()}

    def _feature_source(self) -> CachedFeatures | None:
        """The filled cache; None where there is nothing to cache, or caching would be wrong."""
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
        """Mean and scale of the features of some training pictures and sounds, evenly spread."""
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
        """The rows of each split that fit."""
        return {name: dataset.table for name, dataset in self.datasets.items()}

    @property
    def train_dataset(self) -> Dataset:
        """Rows to train on."""
        return self.rows("train")

    def rows(self, split: str, prompts: bool = False) -> Dataset:
        """A split as the loader reads it: whole batches from the cache, or items to be collated."""
        key = split, prompts
        if key not in self._rows:
            dataset = self.datasets[split]
            live = self.source is None and self.model.towers
            self._rows[key] = (
                dataset if live else ConversationRows(dataset, self.source, self._collator(prompts))
            )
        return self._rows[key]

    def collate(self, items: Any) -> Batch:
        """Cached rows arrive as a batch; decoded ones are padded and stacked."""
        batch = items if isinstance(items, dict) else self._collator()(items)
        if not self._checked:  # every batch is made alike
            check_labels(batch, self.tokenizer.end, self.tokenizer.special, batch["ids"])
            self._checked = True
        return batch

    def _collator(self, prompts: bool = False) -> ConversationCollator:
        collate: dict[str, Any] = {}
        for name, tower in self.model.towers.items():
            collate[name] = stack_pixels if name == "vision" else tower.encoder.collate
        return ConversationCollator(self.model.decoder.tokenizer.pad_token_id, prompts, collate)

    def evaluate(self, model: AnsweringModel, split: str) -> dict[str, float]:
        """Loss and token accuracy, and the metrics of the answers that the model writes."""
        rows = self.measured_rows(split)
        answers = self.answer(model, split, rows)
        self.samples = self._samples(split, answers)
        return self.validation_loss(model, split, rows) | answer_values(self.answer_set(split, answers))

    # Measuring

    def answer(
        self, model: AnsweringModel, split: str, rows: Sequence[int], progress: bool = False
    ) -> Answers:
        """Write answers to these rows; each rank writes its share, and all get all of them."""
        own, texts, ended = distributed.own_share(rows), [], []
        with (
            self.precision(),
            progress_bar(f"answering {split} questions", len(own), progress) as advance,
        ):
            for part in parts(own, self.config.generation.batch_size):
                batch = moved(self.batch(split, part, prompts=True), self.model.device)
                written = model.generate(batch, self.settings)
                texts += [self.text(tokens) for tokens in written.tokens]
                ended += written.ended
                advance(len(part))
        gathered = distributed.from_all((list(own), texts, ended))
        return Answers(*(list(chain(*parts)) for parts in zip(*gathered, strict=True)))

    def text(self, tokens: Sequence[int]) -> str:
        """Generated tokens as an answer."""
        return self.model.decoder.tokenizer.decode(list(tokens), skip_special_tokens=True).strip()

    def answer_set(self, split: str, answers: Answers) -> AnswerSet:
        """Answers beside what they should have been; the questions of one picture are one unit."""
        table, groups = self.splits[split], self.datasets[split].groups
        return AnswerSet(
            predictions=answers.texts,
            references=[[table.answer(row)] for row in answers.rows],
            units=groups[answers.rows],
            answer_types=[table.answer_types[row] for row in answers.rows],
            sources=[table.sources[row] for row in answers.rows],
            ended=answers.ended,
        )

    def _samples(self, split: str, answers: Answers) -> list[dict[str, Any]]:
        table = self.splits[split]
        return [
            {
                "id": table.ids[answers.rows[at]],
                "question": table.question(answers.rows[at]),
                "reference": table.answer(answers.rows[at]),
                "answer": answers.texts[at],
                "ended": answers.ended[at],
            }
            for at in evenly_spread(answers.rows)
        ]

    def _richest_row(self, split: str) -> int:
        """The first row with the most that is seen and heard: no tower should go without a canary."""
        table = self.splits[split]
        has = [np.array([bool(keys) for keys in table.keys(name)], dtype=int) for name in self.model.towers]
        return int(np.sum(has, axis=0).argmax()) if has else 0

    # Batches

    def batch(self, split: str, rows: Sequence[int], prompts: bool = False) -> Batch:
        source: Any = self.rows(split, prompts)
        keys = [(0, row) for row in rows]
        if isinstance(source, ConversationRows):
            return source.__getitems__(keys)
        return self._collator(prompts)([source[key] for key in keys])
