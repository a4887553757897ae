"""The experiment file of the task instruction: questions about pictures and sounds, and answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

from pydantic import Field

from edge_glass.config.metrics import NEVER_ENDED, Metric, answer_metrics
from edge_glass.config.schema import ExperimentConfig
from edge_glass.config.sections.answers import DecoderConfig, LoraConfig, PrefixConfig
from edge_glass.config.sections.base import KeyPath, Problem
from edge_glass.config.sections.data import QuestionsConfig
from edge_glass.config.sections.encoders import AudioPrefixConfig, FusionConfig, VisionPrefixConfig
from edge_glass.config.sections.large_models import (
    GenerationConfig,
    generation_settings,
    large_model_packages,
    large_model_settings,
)
from edge_glass.config.sections.training import AnswerEvaluationConfig, CachedTrainingConfig
from edge_glass.config.sources import TABLE_PATHS, TABLE_SOURCES, Sources, missing_files, table_source
from edge_glass.config.tiny import (
    TOY_ANSWER,
    TOY_GRID,
    TOY_HEADS,
    TOY_HIDDEN,
    TOY_LAYERS,
    TOY_NEW_TOKENS,
    TOY_QUESTION,
    TOY_RANK,
    TOY_STEPS,
    TOY_VOCABULARY,
    TOY_WIDTH,
    toy_generation,
    toy_perceiver,
    toy_rows,
)

_SOURCES: Final[Sources] = {
    **TABLE_SOURCES,
    "conversations": ("train_conversations", "val_conversations", "test_conversations"),
}
_PATHS: Final = (*TABLE_PATHS, *_SOURCES["conversations"], "image_root")
_WHOLE_PICTURE: Final = ("grid", "cls")
_COLUMNS: Final = (
    *("image_column", "text_column", "question_column", "answer_column", "source_column"),
    *("answer_type_column", "audio_column", "id_column", "caption_question"),
)
# What a toy has as well; other ends of names belong to families that it is not of.
_TOY_TARGETS: Final = {
    *("attention", "mlp", "all-linear"),
    *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
}
_WIDTH: Final = "a prefix is as wide as the decoder"


class InstructionConfig(ExperimentConfig):
    """Train a decoder to answer questions about what frozen encoders see and hear."""

    task: Literal["instruction"] = Field("instruction", description="What is trained.")
    dataset: QuestionsConfig = QuestionsConfig()
    vision_encoder: VisionPrefixConfig = VisionPrefixConfig()
    audio_encoder: AudioPrefixConfig | None = None
    fusion: FusionConfig | None = None
    prefix: PrefixConfig = PrefixConfig()
    decoder: DecoderConfig = DecoderConfig()
    generation: GenerationConfig = GenerationConfig()
    training: CachedTrainingConfig = CachedTrainingConfig()
    evaluation: AnswerEvaluationConfig = AnswerEvaluationConfig()

    ablation_metrics: ClassVar[tuple[str, ...]] = ("exact_match", "vqa_accuracy")
    data_paths: ClassVar[tuple[str, ...]] = _PATHS
    instead: ClassVar[Mapping[str, str]] = {
        "dataset.train": "use dataset.train_parquet",
        "dataset.val": "use dataset.val_parquet",
        "dataset.test": "use dataset.test_parquet",
        "dataset.max_text_length": "use dataset.max_question_length and dataset.max_answer_length",
        "vision_encoder.perceiver": "use prefix.perceiver",
        "vision_encoder.use_attention_pooling": "use prefix.perceiver",
        "vision_encoder.projection_dim": _WIDTH,
        "vision_encoder.mrl_dimensions": _WIDTH,
        "vision_encoder.head": "use prefix.projector",
        "audio_encoder.perceiver": "use prefix.perceiver",
        "audio_encoder.head": "use prefix.projector",
        "text_encoder": "the decoder reads the words",
    }

    @classmethod
    def metrics(cls) -> tuple[Metric, ...]:
        """See `ExperimentConfig`."""
        return (*answer_metrics(), NEVER_ENDED)

    def setting_problems(self) -> Iterator[Problem]:
        """See `ExperimentConfig`."""
        yield from super().setting_problems()
        yield from self._prefix()
        yield from self._blindness()
        yield from self._comparisons()
        yield from self._decoder_sizes()
        if self.decoder.pretrained:
            yield from large_model_settings("decoder", self.decoder, self.training)
        yield from generation_settings(self.generation)

    def file_problems(self) -> Iterator[Problem]:
        """See `ExperimentConfig`."""
        dataset = self.dataset
        if dataset.image_folder and dataset.metadata_file and dataset.caption_question is None:
            yield Problem(
                ("dataset", "image_folder"),
                "comes with captions, not with questions; set dataset.caption_question to what every picture "
                "is asked",
            )
        grouped = dataset.caption_question is not None
        sounds = self.audio_encoder is not None
        yield from table_source(dataset, sounds=sounds, sources=_SOURCES, grouped=grouped)
        yield from missing_files(dataset, _PATHS)

    def package_problems(self) -> Iterator[Problem]:
        """See `ExperimentConfig`."""
        yield from super().package_problems()
        if self.decoder.pretrained:
            yield from large_model_packages("decoder", self.decoder)

    def _prefix(self) -> Iterator[Problem]:
        """Check that tokens are pooled once, and that a fusion has two modalities to join."""
        vision = self.vision_encoder
        if vision.feature_layers and vision.pooling_type in _WHOLE_PICTURE:
            yield Problem(
                ("vision_encoder", "pooling_type"),
                f"is {vision.pooling_type}, but vision_encoder.feature_layers are pooled over their places "
                "already, into one token; leave one of the two out",
            )
        if self.fusion is not None and self.audio_encoder is None:
            yield Problem(
                ("fusion",),
                "joins pictures and sounds, but there are only pictures; "
                "give an audio_encoder, or leave fusion out",
            )

    def _blindness(self) -> Iterator[Problem]:
        """Check that without a prefix there is still something to train."""
        if not self.decoder.pretrained or self.decoder.mode != "frozen":
            return
        if self.prefix.blind:
            yield Problem(
                ("prefix", "blind"),
                "is true and decoder.mode is frozen, so nothing would be trained; set decoder.mode to lora",
            )
        elif "blind" in self.evaluation.compare_with:
            yield Problem(
                ("evaluation", "compare_with"),
                "has blind, a run without the prefix, but with decoder.mode frozen only the prefix is "
                "trained; leave blind out",
            )

    def _comparisons(self) -> Iterator[Problem]:
        """Check that what a run is compared with exists, and differs from it."""
        named = self.evaluation.compare_with
        for index, name in enumerate(named):
            path: KeyPath = ("evaluation", "compare_with", index)
            if name in named[:index]:
                yield Problem(path, f"{name} stands twice; keep one")
            elif name != "blind" and self.decoder.kind != "trm":
                yield Problem(
                    path,
                    f"{name} is a plain decoder beside a trm, but decoder.kind is {self.decoder.kind}; "
                    "leave it out",
                )
            elif name == "blind" and self.prefix.blind:
                yield Problem(path, "blind is what this run is (prefix.blind); leave it out")

    def _decoder_sizes(self) -> Iterator[Problem]:
        """Check that heads divide the width of a small decoder; a language model's is not known yet."""
        if self.decoder.pretrained:
            return
        width, heads = self.decoder.size.width, self.decoder.size.heads
        if width % heads or (width // heads) % 2:
            odd = f"makes heads of {width // heads} numbers, which must be even (rotary positions)"
            wrong = f"does not divide decoder.size.width ({width})" if width % heads else odd
            yield Problem(("decoder", "size", "heads"), f"is {heads}, which {wrong}")
        perceiver, fusion = self.prefix.perceiver, self.fusion
        others: dict[KeyPath, int | None] = {
            ("prefix", "perceiver", "num_heads"): perceiver.num_heads if perceiver else None,
            ("fusion", "num_heads"): fusion.num_heads
            if fusion and fusion.kind == "cross_attention"
            else None,
        }
        for path, number in others.items():
            if number and width % number:
                yield Problem(path, f"is {number}, which does not divide the decoder's width, {width}")

    def unread_by_other_options(self) -> Iterator[tuple[str, tuple[str, ...], str]]:
        """See `ExperimentConfig`."""
        yield from (("dataset", *part) for part in self._unread_of_dataset())
        yield from (("decoder", *part) for part in self.decoder.unread())
        if self.vision_encoder.pooling_type != "grid":
            yield "vision_encoder", ("grid_size",), "without vision_encoder.pooling_type grid"
        if not self.generation.do_sample:
            yield "generation", ("temperature", "top_p"), "without generation.do_sample"

    def _unread_of_dataset(self) -> Iterator[tuple[tuple[str, ...], str]]:
        if self.dataset.train_conversations is not None:
            yield _COLUMNS, "with dataset.train_conversations, which name everything themselves"
        else:
            yield ("image_root",), "without dataset.train_conversations"
        if self.dataset.caption_question is None:
            yield ("text_column", "group_column"), "without dataset.caption_question"
        else:
            columns = ("question_column", "answer_column", "source_column", "answer_type_column")
            yield columns, "with dataset.caption_question"

    def toy_settings(self, family: Sequence[Any], kept: set[str]) -> dict[str, Any]:
        """See `ExperimentConfig`."""
        vision, perceiver = self.vision_encoder, self.prefix.perceiver
        grid = {"grid_size": min(vision.grid_size, TOY_GRID)} if vision.pooling_type == "grid" else {}
        return {
            "dataset": {"max_question_length": TOY_QUESTION, "max_answer_length": TOY_ANSWER},
            "vision_encoder": {"image_size": None, **grid},
            **({"fusion": {"num_heads": TOY_HEADS}} if self.fusion else {}),
            **({"prefix": {"perceiver": toy_perceiver(perceiver)}} if perceiver else {}),
            "decoder": _toy_decoder(self.decoder),
            "generation": toy_generation(self.generation, self.dataset.max_answer_length, TOY_NEW_TOKENS),
            "evaluation": toy_rows(self.evaluation),
        }


def _toy_decoder(decoder: DecoderConfig) -> dict[str, Any]:
    """Return toy settings of what its kind reads, and of nothing else."""
    if decoder.pretrained:
        lora = {"lora": _toy_lora(decoder.lora)} if decoder.mode == "lora" else {}
        return {"quantization": "none", "attention": "sdpa", **lora}
    size, recursion = decoder.size, decoder.recursion
    toy: dict[str, Any] = {
        "tokenizer": None,
        "vocabulary": min(decoder.vocabulary, TOY_VOCABULARY),
        "size": {
            "width": TOY_WIDTH,
            "heads": min(size.heads, TOY_HEADS),
            "layers": min(size.layers, TOY_LAYERS),
            "hidden": min(size.hidden, TOY_HIDDEN),
        },
    }
    if decoder.kind == "trm":
        steps = ("refinements", "cycles", "supervision_steps")
        toy["recursion"] = {name: min(getattr(recursion, name), TOY_STEPS) for name in steps}
    return toy


def _toy_lora(lora: LoraConfig) -> dict[str, Any]:
    targets = [target for target in lora.targets if target in _TOY_TARGETS]
    default = LoraConfig.model_fields["targets"].default
    return {"rank": min(lora.rank, TOY_RANK), "targets": targets or default}
