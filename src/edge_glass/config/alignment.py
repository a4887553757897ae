"""The experiment file of the task alignment: pictures, words and sounds in one space."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

from pydantic import Field

from edge_glass.config.fields import nearest_word
from edge_glass.config.metrics import RETRIEVAL_METRICS, SIDES, Metric
from edge_glass.config.schema import ExperimentConfig
from edge_glass.config.sections.base import KeyPath, Problem
from edge_glass.config.sections.data import CaptionsConfig
from edge_glass.config.sections.encoders import (
    LEARNED,
    AudioTowerConfig,
    QueryFusionConfig,
    TextEncoderConfig,
    VisionTowerConfig,
)
from edge_glass.config.sections.training import (
    HeadTrainingConfig,
    LossesConfig,
    RetrievalEvaluationConfig,
)
from edge_glass.config.sources import TABLE_PATHS, missing_files, table_source
from edge_glass.config.tiny import TOY_HEADS, TOY_HIDDEN, TOY_WIDTH, toy_perceiver

Tower = VisionTowerConfig | TextEncoderConfig | AudioTowerConfig

_METRIC: Final = re.compile(r"(?P<base>[a-z0-9]+_[a-z0-9]+)(?:@(?P<dimension>[1-9][0-9]*))?")
_WITHOUT_ATTENTION: Final = ("cls", "codebook", "mean", "mean_max")
_DIMENSION_KEYS: Final = {"vision_encoder.projection_dim", "vision_encoder.mrl_dimensions"}


class AlignmentConfig(ExperimentConfig):
    """Train heads on encoders so that what belongs together lies close together."""

    task: Literal["alignment"] = Field("alignment", description="What is trained.")
    dataset: CaptionsConfig = CaptionsConfig()
    vision_encoder: VisionTowerConfig = VisionTowerConfig()
    text_encoder: TextEncoderConfig = TextEncoderConfig()
    audio_encoder: AudioTowerConfig | None = None
    fusion: QueryFusionConfig | None = None
    losses: LossesConfig = LossesConfig()
    training: HeadTrainingConfig = HeadTrainingConfig()
    evaluation: RetrievalEvaluationConfig = RetrievalEvaluationConfig()

    ablation_metrics: ClassVar[tuple[str, ...]] = ("i2t_r1", "t2i_r1")
    data_paths: ClassVar[tuple[str, ...]] = TABLE_PATHS
    instead: ClassVar[Mapping[str, str]] = {
        "dataset.train": "use dataset.train_parquet",
        "dataset.val": "use dataset.val_parquet",
        "dataset.test": "use dataset.test_parquet",
        "dataset.max_answer_length": "use dataset.max_text_length",
        "dataset.image_root": "use dataset.image_folder and dataset.metadata_file",
    }

    @classmethod
    def metrics(cls) -> tuple[Metric, ...]:
        """See `ExperimentConfig`."""
        return RETRIEVAL_METRICS

    @property
    def towers(self) -> dict[str, Tower]:
        """The encoders that there are, by the name of their section."""
        named = {
            "vision_encoder": self.vision_encoder,
            "text_encoder": self.text_encoder,
            "audio_encoder": self.audio_encoder,
        }
        return {name: tower for name, tower in named.items() if tower is not None}

    def setting_problems(self) -> Iterator[Problem]:
        """See `ExperimentConfig`."""
        yield from super().setting_problems()
        yield from self._matryoshka()
        yield from self._losses()
        yield from self._batch()
        yield from self._pooling()
        yield from self._closed_form()
        yield from self._modalities()

    def file_problems(self) -> Iterator[Problem]:
        """See `ExperimentConfig`."""
        folder = self.dataset.image_folder
        if self.dataset.extra_captions_column is not None and folder is not None:
            yield Problem(
                ("dataset", "extra_captions_column"),
                "is read from parquet files only; in a metadata file, give a picture a row for each caption",
            )
        yield from table_source(self.dataset, sounds=self.audio_encoder is not None)
        yield from missing_files(self.dataset, TABLE_PATHS)

    def _matryoshka(self) -> Iterator[Problem]:
        """Check that dimensions fit into the embedding, and that the loss that needs them has some."""
        encoder, losses = self.vision_encoder, self.losses
        path: KeyPath = ("vision_encoder", "mrl_dimensions")
        for dimension in encoder.mrl_dimensions:
            if dimension > encoder.projection_dim:
                yield Problem(
                    path,
                    f"{dimension} is larger than vision_encoder.projection_dim ({encoder.projection_dim})",
                )
            if dimension < 1:
                yield Problem(path, f"expected whole numbers of at least 1, got {dimension}")
        if encoder.mrl_dimensions:
            return
        width = encoder.projection_dim
        example = [width // share for share in (2, 4, 8) if width >= 2 * share]
        if losses.mrl > 0:
            yield Problem(
                ("losses", "mrl"),
                f"is {losses.mrl:g}, but vision_encoder.mrl_dimensions is empty; "
                f"give dimensions such as {example}, or set losses.mrl to 0",
            )
        if losses.sample_single_mrl_dim:
            yield Problem(
                ("losses", "sample_single_mrl_dim"),
                f"there is nothing to draw from: vision_encoder.mrl_dimensions is empty; "
                f"give dimensions such as {example}, or set it to false",
            )

    def _losses(self) -> Iterator[Problem]:
        """Check that something is minimised."""
        if self.losses.contrastive == 0 and self.losses.mrl == 0:
            yield Problem(
                ("losses", "contrastive"),
                "is 0 and losses.mrl is 0 too, so nothing would be trained; set one above 0",
            )

    def _batch(self) -> Iterator[Problem]:
        """Check that rows have others to be compared with: accumulated batches never see each other."""
        size, steps = self.dataset.batch_size, self.training.gradient_accumulation_steps
        if size < 2:
            yield Problem(
                ("dataset", "batch_size"),
                f"expected at least 2, got {size}: a contrastive loss compares a row with the others of its "
                "batch",
            )
        if steps > 1:
            yield Problem(
                ("training", "gradient_accumulation_steps"),
                f"is {steps}, but losses.kind {self.losses.kind} takes its negatives from within one batch, "
                "so accumulation adds none; set it to 1 and raise dataset.batch_size",
            )

    def _pooling(self) -> Iterator[Problem]:
        """Refuse use_attention_pooling beside a pooling without attention."""
        vision = self.vision_encoder
        if vision.use_attention_pooling and vision.pooling_type in _WITHOUT_ATTENTION:
            yield Problem(
                ("vision_encoder", "use_attention_pooling"),
                f"is true, but vision_encoder.pooling_type {vision.pooling_type} has no attention; "
                "set pooling_type to simple or multihead, or use_attention_pooling to false",
            )

    def _closed_form(self) -> Iterator[Problem]:
        """Check that features which are measured once, and their pooling, stay as they are."""
        for name, tower in self.towers.items():
            learned = tower.pooling_type in LEARNED or getattr(tower, "use_attention_pooling", False)
            changing = "is trained" if not tower.frozen else "has a learned pooling" if learned else None
            if changing and tower.head.components is not None:
                yield Problem(
                    (name, "head", "components"),
                    f"is measured once on frozen, pooled features, but {name} {changing}; set it to null, "
                    "or use frozen: true with pooling_type mean",
                )
            if self.training.warm_start == "closed_form" and (changing or tower.head.kind == "mlp"):
                reason = changing or "has head.kind mlp, which is not linear"
                yield Problem(
                    ("training", "warm_start"),
                    f"is closed_form, a linear solution for frozen, pooled features, but {name} {reason}; "
                    "set it to none",
                )
        for index, strength in enumerate(self.evaluation.closed_form_regularization):
            if strength <= 0:
                path: KeyPath = ("evaluation", "closed_form_regularization", index)
                yield Problem(path, f"expected a number above 0, got {strength}")

    def _modalities(self) -> Iterator[Problem]:
        """Check that every modality is compared with another one, and a fusion has something to look for."""
        weights = self.losses.pairs.model_dump()
        sides = ("vision", "text") if self.audio_encoder is None else ("vision", "text", "audio")
        blamed: set[str] = set()
        for side in sides:
            pairs = [pair for pair in weights if side in pair and ("audio" in sides or "audio" not in pair)]
            if not any(weights[pair] for pair in pairs) and pairs[0] not in blamed:
                blamed.add(pairs[0])
                yield Problem(
                    ("losses", "pairs", pairs[0]),
                    f"is 0, which leaves {side}_encoder without a partner; "
                    "give one of its pairs a weight above 0",
                )
        if self.fusion is not None and self.audio_encoder is None:
            yield Problem(
                ("fusion",),
                "joins two modalities into a query for the third, but there are only pictures and words; "
                "give an audio_encoder, or leave fusion out",
            )

    def metric_problems(self, path: KeyPath, name: str, *, primary: bool = False) -> Iterator[Problem]:
        """Yield what is wrong with a metric's name: its form, a pair that is not compared, a dimension."""
        rows = [row.name for row in self.metrics() if row.higher_is_better or not primary]
        found = _METRIC.fullmatch(name)
        if found is None or found["base"] not in rows:
            nearest = nearest_word(name.partition("@")[0], rows)
            hint = f"did you mean {nearest}?" if nearest else "such as mean_r1, i2t_r5 or t2i_r10@256"
            measures = list(dict.fromkeys(row.rpartition("_")[2] for row in rows))
            yield Problem(
                path,
                f"expected a metric: {', '.join(SIDES)}, then _{', _'.join(measures[:-1])} or "
                f"_{measures[-1]}; got {name!r}; {hint}",
            )
            return
        yield from self._unmeasured_pair(path, name, SIDES[found["base"].partition("_")[0]][0])
        encoder = self.vision_encoder
        dimension = int(found["dimension"] or 0)
        if dimension == encoder.projection_dim:
            yield Problem(
                path,
                f"{name}: {dimension} is the full embedding, whose metrics have no @; write {found['base']}",
            )
        elif dimension and dimension not in encoder.mrl_dimensions:
            smaller = [str(one) for one in encoder.mrl_dimensions if one != encoder.projection_dim]
            known = ", ".join(smaller) or "none"
            yield Problem(
                path,
                f"{name}: expected a dimension of vision_encoder.mrl_dimensions below the full one "
                f"({known}), got {dimension}",
            )

    def _unmeasured_pair(self, path: KeyPath, name: str, pair: str) -> Iterator[Problem]:
        """Refuse a direction between two modalities that this experiment does not compare."""
        if pair == "fusion":
            if self.fusion is None:
                yield Problem(path, f"{name!r} is of fused queries, but there is no fusion")
        elif "audio" in pair and self.audio_encoder is None:
            yield Problem(path, f"{name!r} needs sounds, but there is no audio_encoder")
        elif pair and getattr(self.losses.pairs, pair) == 0:
            yield Problem(path, f"{name!r} needs the pair {pair}, whose weight losses.pairs.{pair} is 0")

    def toy_settings(self, family: Sequence[Any], kept: set[str]) -> dict[str, Any]:
        """See `ExperimentConfig`."""
        vision, sizes = self.vision_encoder, _toy_dimensions(family, kept)
        settings: dict[str, Any] = {name: _toy_tower(tower) for name, tower in self.towers.items()}
        settings["vision_encoder"] |= {
            "image_size": None,
            "projection_dim": sizes.get(vision.projection_dim, vision.projection_dim),
            "mrl_dimensions": [sizes.get(one, one) for one in vision.mrl_dimensions],
        }
        primary = self.toy_metric(self.evaluation.primary_metric, family, kept)
        fusion = {"fusion": {"num_heads": TOY_HEADS}} if self.fusion else {}
        return settings | fusion | {"evaluation": {"primary_metric": primary}}

    def toy_metric(self, name: str, family: Sequence[Any], kept: set[str]) -> str:
        """Return `i2t_r1@256` at the toy size of 256."""
        base, at, dimension = name.partition("@")
        return f"{base}@{_toy_dimensions(family, kept).get(int(dimension), int(dimension))}" if at else name


def _toy_tower(tower: Tower) -> dict[str, Any]:
    return {
        "head": {"hidden_dim": min(tower.head.hidden_dim, TOY_HIDDEN)},
        "perceiver": toy_perceiver(tower.perceiver),
    }


def _toy_dimensions(family: Sequence[AlignmentConfig], kept: set[str]) -> dict[int, int]:
    """Map every dimension of the experiment and its variants → its toy size: 1024, 512, 256 → 32, 16, 8.

    One order-preserving table for all of them: what was smaller, equal or among the dimensions stays so.
    """
    if kept & _DIMENSION_KEYS:
        return {}
    sizes = {one.vision_encoder.projection_dim for one in family}
    sizes |= {dimension for one in family for dimension in one.vision_encoder.mrl_dimensions}
    descending = sorted(sizes, reverse=True)
    if descending[0] <= TOY_WIDTH:
        return {}
    if TOY_WIDTH >> (len(descending) - 1) >= 2:
        return {size: TOY_WIDTH >> index for index, size in enumerate(descending)}
    width = max(TOY_WIDTH, len(descending))
    return {size: width - index * (width // len(descending)) for index, size in enumerate(descending)}
