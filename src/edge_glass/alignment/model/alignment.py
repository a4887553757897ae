"""`MultimodalAlignmentModel`: two or three towers into one embedding space."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edge_glass.alignment.model.loss import AlignmentLoss
from edge_glass.config.alignment import AlignmentConfig
from edge_glass.core.errors import CheckpointError
from edge_glass.core.gathering import zero_touching
from edge_glass.core.parameters import ParameterCount, count_parameters, format_parameter_table
from edge_glass.core.passes import evaluating
from edge_glass.encoders.audio import AudioEncoder
from edge_glass.encoders.features import TokenFeatures
from edge_glass.encoders.fusion import MultimodalFusion
from edge_glass.encoders.mrl import matryoshka_dimensions, truncate_and_normalize
from edge_glass.encoders.text import TextEncoder
from edge_glass.encoders.tower import Raw, Tower, build_tower, seeded
from edge_glass.encoders.vision import VisionEncoder
from edge_glass.migrating import takes_old_calls

logger = logging.getLogger(__name__)

PAIRS = {
    "vision_text": ("vision", "text"),
    "audio_text": ("audio", "text"),
    "vision_audio": ("vision", "audio"),
}
FUSED = "fused"


class MultimodalAlignmentModel(nn.Module):
    """A tower for each modality, and a loss with a temperature of its own for each pair of them.

    Args:
        towers: Modality (`vision`, `audio`, `text`) → its tower, all with embeddings of the same width.
        losses: Pair (a key of `PAIRS`) → its loss; and `fused`, if there is a fusion.
        weights: Weights of the losses, by the same keys; 1 where one is missing.
        fusion: Joins the embeddings of all modalities but one into a query for that one.
    """

    @takes_old_calls("MultimodalAlignmentModel.from_config(config)")
    def __init__(
        self,
        towers: Mapping[str, Tower],
        losses: Mapping[str, AlignmentLoss],
        weights: Mapping[str, float] | None = None,
        fusion: MultimodalFusion | None = None,
    ) -> None:
        super().__init__()
        for name, tower in towers.items():
            self.add_module(f"{name}_tower", tower)
        self.modalities = tuple(towers)
        self.losses = nn.ModuleDict(losses)
        self.weights = {name: (weights or {}).get(name, 1.0) for name in losses}
        self.fusion = fusion

    @classmethod
    def from_config(cls, config: AlignmentConfig) -> MultimodalAlignmentModel:
        """Load the encoders of an experiment and put fresh heads on them.

        Raises:
            EdgeGlassError: Encoders cannot be loaded, or settings do not fit them.
        """
        from edge_glass.tasks.sources import load_encoders

        return build_alignment_model(config, *load_encoders(config))

    @property
    def towers(self) -> dict[str, Tower]:
        """Modality → tower."""
        return {name: self.get_submodule(f"{name}_tower") for name in self.modalities}  # type: ignore[misc]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Pairs of modalities that are trained."""
        return [PAIRS[name] for name in self.losses if name in PAIRS]

    @property
    def dimensions(self) -> list[int]:
        """Matryoshka dimensions, descending, the full one first."""
        return self.towers[self.modalities[0]].projection.dimensions

    def forward(
        self, batch: Mapping[str, Any], with_diagnostics: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of a batch whose rows may lack modalities.

        Every tower and loss takes part in every step, with no rows if need be: the processes of a
        distributed run wait for each other's gradients of all parameters.

        Args:
            batch: Modality → inputs of the rows that have it (see `Tower.features`); `rows` and `groups`:
                modality → int64, which rows of the batch these are, ascending, and their groups; and `step`.
            with_diagnostics: See `AlignmentLoss.forward`.

        Returns:
            The weighted sum of the pairs' losses, and the reports of `AlignmentLoss`: their means over the
            pairs that have rows, and with more than one pair also each by `NAME_PAIR`.
        """
        embedded = {name: tower(batch[name]) for name, tower in self.towers.items()}
        step = int(batch.get("step", 0))
        total = zero_touching(*self._trained())
        reports: dict[str, dict[str, Tensor]] = {}
        for name, loss in self.losses.items():
            sides = (
                self._fused_sides(embedded, batch) if name == FUSED else _sides(PAIRS[name], embedded, batch)
            )
            value, report = loss(*sides, step, with_diagnostics)
            total = total + self.weights[name] * value
            if len(sides[0]):
                reports[name] = report
        return total, _mean_report(reports, several=len(self.losses) > 1)

    def _trained(self) -> Iterator[nn.Parameter]:
        """Find the trained parameters without a walk through frozen encoders, which took 7 ms a step."""
        for child in self.children():
            for part in child.children() if isinstance(child, Tower) else (child,):
                if not getattr(part, "frozen", False):
                    yield from (parameter for parameter in part.parameters() if parameter.requires_grad)

    def fuse(self, embedded: Mapping[str, Tensor]) -> Tensor:
        """Make one query of embeddings of several modalities.

        Args:
            embedded: Modality → `[B, D]`, as the towers give them.

        Returns:
            `[B, D]`, not normalised: the trained fusion, or the mean of the normalised embeddings.
        """
        unit = {name: truncate_and_normalize(vectors) for name, vectors in embedded.items()}
        if self.fusion is not None:
            return self.fusion.fuse(unit)
        return torch.stack(list(unit.values())).mean(0)

    def _fused_sides(
        self, embedded: Mapping[str, Tensor], batch: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return fused queries and what they are to find, for rows that have every modality."""
        complete = batch["rows"][self.modalities[0]]
        for name in self.modalities[1:]:
            complete = complete[torch.isin(complete, batch["rows"][name])]
        kept = {name: torch.isin(batch["rows"][name], complete) for name in self.modalities}
        vectors = {name: embedded[name][kept[name]] for name in self.modalities}
        groups = {name: batch["groups"][name][kept[name]] for name in self.modalities}
        sides = [
            (
                self.fuse({name: vectors[name] for name in asked}),
                vectors[wanted],
                groups[asked[0]],
                groups[wanted],
            )
            for wanted, asked in fused_queries(self.modalities).items()
        ]
        turn = int(batch.get("step", 0)) % len(sides)  # one modality is looked for per step, in turn
        return sides[turn]

    @torch.no_grad()
    def encode(self, modality: str, raw: Raw | TokenFeatures, dim: int | None = None) -> Tensor:
        """Map inputs or features of one modality → embeddings for search `[B, dim]` of norm 1, in eval mode.

        Args:
            modality: One of `modalities`.
            raw: See `Tower.features`; or what it gives.
            dim: Matryoshka dimension; None for the full one.
        """
        inputs = raw._asdict() if isinstance(raw, TokenFeatures) else raw
        with evaluating(self):
            return truncate_and_normalize(self.towers[modality](inputs), dim)

    def encode_images(self, images: Tensor | TokenFeatures, dim: int | None = None) -> Tensor:
        """Map pixels `[B, 3, H, W]` or features → embeddings `[B, dim]` of norm 1."""
        return self.encode("vision", {"pixels": images} if isinstance(images, Tensor) else images, dim)

    def encode_text(self, text: list[str] | Raw | TokenFeatures, dim: int | None = None) -> Tensor:
        """Map texts, tokenised texts or features → embeddings `[B, dim]` of norm 1."""
        if isinstance(text, list):
            tower = self.towers["text"]
            text = {name: value.to(tower.device) for name, value in tower.encoder.tokenize(text).items()}
        return self.encode("text", text, dim)

    def encode_audio(self, audio: Raw | TokenFeatures, dim: int | None = None) -> Tensor:
        """Return what the audio encoder's `collate` gives, or features → embeddings `[B, dim]` of norm 1."""
        return self.encode("audio", audio, dim)

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters that must not decay."""
        return {
            f"losses.{pair}.{name}"
            for pair, loss in self.losses.items()
            for name in loss.no_weight_decay()  # type: ignore[operator]
        }

    def parameter_counts(self) -> list[ParameterCount]:
        """Return one row per component."""
        rows = []
        for name, tower in self.towers.items():
            parts = (("encoder", tower.encoder), ("pooling", tower.pooling), ("projection", tower.projection))
            rows += [count_parameters(f"{name} {part}", module) for part, module in parts]
        if self.fusion is not None:
            rows.append(count_parameters("fusion", self.fusion))
        return [*rows, count_parameters("temperature", self.losses)]

    def print_parameter_counts(self) -> str:
        """Log the table of parameters per component (total, trained, frozen, dtype) and return it."""
        table = format_parameter_table(self.parameter_counts())
        logger.info("parameters\n%s", table)
        return table

    def trainable_state_dict(self) -> dict[str, Tensor]:
        """Return what training may change: all parameters and buffers outside frozen encoders.

        Contiguous, as safetensors wants them (convolutions are kept channels-last).
        """
        frozen = tuple(
            f"{name}_tower.encoder." for name, tower in self.towers.items() if tower.encoder.frozen
        )
        return {
            name: value.contiguous()
            for name, value in self.state_dict().items()
            if not name.startswith(frozen)
        }

    def load_trainable_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load what `trainable_state_dict` gave.

        Raises:
            CheckpointError: A tensor is missing, left over or of another shape; nothing is loaded then.
        """
        own = self.trainable_state_dict()
        missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if missing or unexpected:
            raise CheckpointError(
                f"weights do not fit the model: {len(missing)} missing {missing[:2]}, "
                f"{len(unexpected)} unexpected {unexpected[:2]}; was it trained with the same configuration?"
            )
        for name, value in own.items():
            if state[name].shape != value.shape:
                found = f"{tuple(state[name].shape)}, the model has {tuple(value.shape)}"
                raise CheckpointError(f"weights do not fit the model: {name} is {found}")
        self.load_state_dict(dict(state), strict=False)


def fused_queries(modalities: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Map what is looked for → what is fused into the query: all the other modalities, at least two."""
    others = {wanted: tuple(name for name in modalities if name != wanted) for wanted in modalities}
    return {wanted: asked for wanted, asked in others.items() if len(asked) > 1}


def _sides(
    pair: tuple[str, str], embedded: Mapping[str, Tensor], batch: Mapping[str, Any]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return embeddings and groups of the rows that have both modalities."""
    rows, groups = batch["rows"], batch["groups"]
    first, second = pair
    kept = torch.isin(rows[first], rows[second]), torch.isin(rows[second], rows[first])
    return (
        embedded[first][kept[0]],
        embedded[second][kept[1]],
        groups[first][kept[0]],
        groups[second][kept[1]],
    )


def _mean_report(reports: Mapping[str, dict[str, Tensor]], several: bool) -> dict[str, Tensor]:
    """Take means over the pairs, and keep each pair's own values where there are several."""
    names = list(dict.fromkeys(name for report in reports.values() for name in report))
    joined = {
        name: torch.stack([report[name] for report in reports.values() if name in report]).mean()
        for name in names
    }
    if several:
        joined |= {
            f"{name}_{pair}": value for pair, report in reports.items() for name, value in report.items()
        }
    return joined


def build_alignment_model(
    config: AlignmentConfig, vision: VisionEncoder, text: TextEncoder, audio: AudioEncoder | None = None
) -> MultimodalAlignmentModel:
    """Put heads on the encoders; the first weights are a function of `config.seed` and of nothing else.

    Raises:
        ConfigError: Settings that do not fit the encoders.
    """
    picture, losses, sound = config.vision_encoder, config.losses, config.audio_encoder
    dimensions = matryoshka_dimensions(picture.projection_dim, picture.mrl_dimensions)
    picture_pooling = picture.pooling_type or ("simple" if picture.use_attention_pooling else "mean")

    def tower(name: str, encoder: Any, section: Any, pooling: str) -> Tower:
        return build_tower(name, encoder, pooling, section.perceiver, section.head, dimensions, config.seed)

    towers = {"vision": tower("vision_encoder", vision, picture, picture_pooling)}
    if audio is not None and sound is not None:
        towers["audio"] = tower("audio_encoder", audio, sound, sound.pooling_type)
    towers["text"] = tower("text_encoder", text, config.text_encoder, config.text_encoder.pooling_type)
    fusion = None
    if config.fusion is not None:
        with seeded(config.seed, "fusion"):
            fusion = MultimodalFusion(
                dimensions[0], list(towers), kind=config.fusion.kind, num_heads=config.fusion.num_heads
            )
    weights = {
        name: weight
        for name, weight in losses.pairs.model_dump().items()
        if weight > 0 and all(side in towers for side in PAIRS[name])
    }
    if config.fusion is not None and config.fusion.weight > 0:
        weights[FUSED] = config.fusion.weight
    terms = {
        name: AlignmentLoss(
            dimensions,
            kind=losses.kind,
            contrastive=losses.contrastive,
            mrl=losses.mrl,
            sample_single_mrl_dim=losses.sample_single_mrl_dim,
            temperature=losses.temperature,
            seed=config.seed,
        )
        for name in weights
    }
    return MultimodalAlignmentModel(towers, terms, weights, fusion)
