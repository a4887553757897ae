"""Data sets of conversations: tokens with their labels, and pictures decoded in the worker, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from edge_glass.data.datasets import INPUT_NAMES, MAX_BAD_FRACTION, Preprocess
from edge_glass.data.labels import ConversationTokenizer, Template
from edge_glass.data.samples import check_rejected, group_numbers
from edge_glass.data.transforms import augment, sample_generator, spec_augment
from edge_glass.instruction.data.lengths import MAX_ANSWER, MAX_QUESTION, fit_lengths
from edge_glass.instruction.data.readers import read_conversations, read_question_parquet
from edge_glass.instruction.data.table import InstructionTable


class ConversationDataset(Dataset):
    """Conversations about pictures and sounds, as a decoder learns or answers them.

    Items are dicts: `id`; `ids` and `labels` int64 `[L]`; `prompt`, how many of the ids come before the last
    answer; `question`, `answer`, `source` and `answer_type` as text; `group`, equal for rows of one picture;
    and, where the row has them and they are asked for, `pixels` float32 `[3, H, W]` and `mel` float32
    `[M, T]`.

    Args:
        table: The rows. Those that are too long, or cannot be tokenised, are left out at once.
        tokenizer: Of transformers, or a `ConversationTokenizer`.
        preprocess: Modality → what turns its decoded item into a tensor, `vision` and `audio`: the encoder's
            own. What is not named is left out of the items, such as pictures whose features are cached.
        template: See `ConversationTokenizer`.
        max_question: See `fit_lengths`.
        max_answer: See `fit_lengths`.
        too_long: See `fit_lengths`.
        training: Augment pictures and draw takes of sounds; keys are then `(epoch, index)`.
        seed: Everything random is a function of (seed, epoch, row).
        augmentation: Of pictures: `none`, `flip` or `crop_flip`. An answer that says left or right no longer
            holds after a flip.
        audio_augmentation: Of sounds: `none` or `spec_augment`.

    Attributes:
        table: The rows that are left.
        lengths: What `fit_lengths` reports.
        tokenizer: The `ConversationTokenizer`.
    """

    def __init__(
        self,
        table: InstructionTable,
        tokenizer: Any,
        preprocess: Mapping[str, Preprocess] | None = None,
        *,
        template: Template | None = None,
        max_question: int = MAX_QUESTION,
        max_answer: int = MAX_ANSWER,
        too_long: str = "leave_out",
        training: bool = False,
        seed: int = 0,
        augmentation: str = "none",
        audio_augmentation: str = "none",
    ) -> None:
        if not isinstance(tokenizer, ConversationTokenizer):
            tokenizer = ConversationTokenizer(tokenizer, template)
        self.tokenizer: ConversationTokenizer = tokenizer
        self.table, self.lengths = fit_lengths(table, tokenizer, max_question, max_answer, too_long)
        self.preprocess = dict(preprocess or {})
        self.groups = group_numbers(
            [digest or f"row {row}" for row, digest in enumerate(self.table.picture_hashes)]
        )
        self.training, self.seed = training, seed
        self.augmentation, self.audio_augmentation = augmentation, audio_augmentation

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        tokens = self.tokenizer(self.table.turns[index])
        item: dict[str, Any] = {
            "id": self.table.ids[index],
            "ids": tokens.ids,
            "labels": tokens.labels,
            "prompt": tokens.prompt,
            "opening": tokens.opening,
            "question": self.table.question(index),
            "answer": self.table.answer(index),
            "source": self.table.sources[index],
            "answer_type": self.table.answer_types[index],
            "group": int(self.groups[index]),
        }
        for modality in self.preprocess:
            if keys := self.table.keys(modality)[index]:
                item[INPUT_NAMES[modality]] = self._input(modality, epoch, index, len(keys))
        return item

    def _input(self, modality: str, epoch: int, index: int, takes: int) -> Any:
        generator = sample_generator(self.seed, epoch, f"{index} {self.table.ids[index]}")
        take = int(generator.integers(takes)) if self.training and takes > 1 else 0
        loaded = self.table.item(modality, index, take)
        if modality == "vision" and self.training:
            loaded = augment(loaded, self.augmentation, generator)  # type: ignore[arg-type]
        tensor = self.preprocess[modality](loaded)
        if modality == "audio" and self.training and self.audio_augmentation == "spec_augment":
            tensor = spec_augment(tensor, generator)
        return tensor


class PixmoQADataset(ConversationDataset):
    """Questions and answers about pictures from a parquet file; see `read_question_parquet`.

    Args:
        parquet: Columns `image_bytes`, `question` (beginning with `[USER]`), `answer` (with `[ASSISTANT]`)
            and `source`.
        tokenizer: See `ConversationDataset`.
        preprocess: The picture encoder's own; by default pictures are left out of the items.
        columns: Column arguments of `read_question_parquet`.
        max_bad_fraction: See `check_rejected`.
        **options: Of `ConversationDataset`.
    """

    def __init__(
        self,
        parquet: str | Path,
        tokenizer: Any,
        preprocess: Preprocess | None = None,
        columns: Mapping[str, Any] | None = None,
        max_bad_fraction: float = MAX_BAD_FRACTION,
        **options: Any,
    ) -> None:
        table = read_question_parquet(parquet, **(columns or {}))
        check_rejected(table, max_bad_fraction)
        super().__init__(table, tokenizer, _pictures(preprocess), **options)


class InstructionDataset(ConversationDataset):
    """Conversations from a JSON or JSONL file in LLaVA's, ShareGPT's or the messages form.

    Args:
        path: See `read_conversations`.
        tokenizer: See `ConversationDataset`.
        preprocess: The picture encoder's own; by default pictures are left out of the items.
        image_root: Folder that picture names are relative to; by default the file's own.
        needs_picture: Whether a record without a picture is a bad row.
        max_bad_fraction: See `check_rejected`.
        **options: Of `ConversationDataset`.
    """

    def __init__(
        self,
        path: str | Path,
        tokenizer: Any,
        preprocess: Preprocess | None = None,
        image_root: str | Path | None = None,
        needs_picture: bool = False,
        max_bad_fraction: float = MAX_BAD_FRACTION,
        **options: Any,
    ) -> None:
        table = read_conversations(path, image_root, needs_picture)
        check_rejected(table, max_bad_fraction)
        super().__init__(table, tokenizer, _pictures(preprocess), **options)


def _pictures(preprocess: Preprocess | None) -> dict[str, Preprocess]:
    return {} if preprocess is None else {"vision": preprocess}
