"""`AnsweringModel`: pictures and sounds as a prefix, questions as words, answers out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edge_glass.core.gathering import zero_touching
from edge_glass.core.parameters import ParameterCount, count_parameters, format_parameter_table
from edge_glass.core.passes import evaluating
from edge_glass.data.conversation_batches import stack_pixels
from edge_glass.decoders.decoder import (
    Decoder,
    DecoderOutput,
    Generation,
    GenerationSettings,
    OnToken,
    PlacedPrefix,
    Prefix,
    check_names_and_shapes,
)
from edge_glass.decoders.projector import Projector
from edge_glass.encoders.features import TokenFeatures
from edge_glass.encoders.fusion import MultimodalFusion, join_tokens
from edge_glass.encoders.normalization import Standardizer
from edge_glass.encoders.pooling import Pooling
from edge_glass.encoders.tower import Encoder, EncoderTower, Raw

logger = logging.getLogger(__name__)


class PrefixTower(EncoderTower[Encoder]):
    """Encoder → pooling (→ standardiser) → projector (with a Perceiver, where wanted).

    Args:
        encoder: Gives token features.
        pooling: Keeps all tokens, fewer, or one; nothing in it is learned.
        projector: Features → the decoder's embedding space.
        standardizer: Brings each of the features' numbers to one scale first: what only a few small numbers
            tell, such as a colour, is then learned as soon as the rest.
    """

    def __init__(
        self,
        encoder: Encoder,
        pooling: Pooling,
        projector: Projector,
        standardizer: Standardizer | None = None,
    ) -> None:
        super().__init__(encoder, pooling)
        self.projector = projector
        self.standardizer = standardizer

    @property
    def device(self) -> torch.device:
        return self.projector.scale.device

    def forward(self, raw: Raw) -> TokenFeatures:
        """Map what `features` takes, or gives → prefix tokens `[n, P, width]` with their mask."""
        tokens, mask = self.features(raw)
        if self.standardizer is not None:
            tokens = self.standardizer(tokens)
        return self.projector(TokenFeatures(tokens, mask))


def features_of_rows(distinct: TokenFeatures, place: Tensor) -> TokenFeatures:
    """Map tokens of a batch's distinct items `[n, P, D]` → of its rows `[B, P, D]`; -1 in `place` is none."""
    tokens, mask = distinct
    nothing = tokens.new_zeros(1, *tokens.shape[1:])
    return TokenFeatures(
        torch.cat([tokens, nothing])[place], torch.cat([mask, mask.new_zeros(1, mask.shape[1])])[place]
    )


class AnsweringModel(nn.Module):
    """Towers that make a prefix, and a decoder that reads it before the words.

    Args:
        decoder: Any `Decoder`.
        towers: Modality (`vision`, `audio`) → its tower; none for a model that sees nothing.
        fusion: Joins the prefixes of several modalities; without one they stand one after the other.
    """

    def __init__(
        self,
        decoder: Decoder,
        towers: Mapping[str, PrefixTower] | None = None,
        fusion: MultimodalFusion | None = None,
    ) -> None:
        super().__init__()
        towers = towers or {}
        for name, tower in towers.items():
            self.add_module(f"{name}_tower", tower)
        self.modalities = tuple(towers)
        self.fusion = fusion
        self.decoder: Any = decoder

    @property
    def towers(self) -> dict[str, PrefixTower]:
        """Return modality → tower."""
        return {name: self.get_submodule(f"{name}_tower") for name in self.modalities}  # type: ignore[misc]

    @property
    def preprocess(self) -> dict[str, Callable[[Any], Tensor]]:
        """Return modality → what makes a tensor of an opened picture or sound."""
        return {name: tower.encoder.preprocess for name, tower in self.towers.items()}

    @property
    def collate(self) -> dict[str, Callable[[list[Any]], dict[str, Tensor]]]:
        """Return modality → what makes a batch of such tensors."""
        return {
            name: stack_pixels if name == "vision" else tower.encoder.collate
            for name, tower in self.towers.items()
        }

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the decoder's frozen weights."""
        return next(self.decoder.parameters()).dtype

    def merge(self, bound: float = 1e-3, logits: Callable[[], Tensor] | None = None) -> float:
        """Add the decoder's adapters to its weights; see `PretrainedModel.merge`."""
        return float(self.decoder.merge(bound, logits))

    def prefix(self, batch: Mapping[str, Any]) -> Prefix | None:
        """Return the prefix of each row, `[B, P, width]`; None when no row has anything to see or hear.

        Args:
            batch: `inputs`: modality → inputs of the batch's distinct items (see `EncoderTower.features`);
                `place`: modality → int64 `[B]`, which of them each row has, -1 for none; `opening`: int64
                `[B]`, tokens of text before a prefix that stands within it.
        """
        towers = {name: tower for name, tower in self.towers.items() if name in batch["inputs"]}
        if not towers:
            return None
        parts = {
            name: features_of_rows(tower(batch["inputs"][name]), batch["place"][name])
            for name, tower in towers.items()
        }
        features = self.fusion(parts) if self.fusion is not None else join_tokens(list(parts.values()))
        if self.decoder.prefix_first:
            return features
        return PlacedPrefix(features.tokens, features.mask, batch["opening"])

    def forward(self, batch: Mapping[str, Any]) -> DecoderOutput:
        """Return the summed loss of a batch (see `Decoder.forward`).

        Args:
            batch: As for `prefix`, with `input_ids`, `labels` int64 and `attention_mask` bool `[B, L]`.
        """
        mask = batch["attention_mask"].bool()  # a batch of no rows may come with any type
        output = self.decoder(self.prefix(batch), batch["input_ids"], mask, batch["labels"])
        # Processes wait for each other's gradients of all parameters, also of towers that had nothing to see.
        beside = [
            parameter
            for name, parameter in self.named_parameters()
            if parameter.requires_grad and not name.startswith("decoder.")
        ]
        return output._replace(loss_sum=output.loss_sum + zero_touching(*beside)) if beside else output

    def generate(
        self, batch: Mapping[str, Any], settings: GenerationSettings, on_token: OnToken | None = None
    ) -> Generation:
        """Write answers to prompts, padded on the left (see `Decoder.generate`); the mode is kept."""
        with evaluating(self), torch.no_grad():
            prefix = self.prefix(batch)
            return self.decoder.generate(
                prefix, batch["input_ids"], batch["attention_mask"], settings, on_token
            )

    @torch.no_grad()
    def logits(self, batch: Mapping[str, Any]) -> Tensor:
        """Return logits float32 `[K, V]` that predict the K supervised tokens of a batch, in eval mode."""
        with evaluating(self):
            return self.decoder.supervised_logits(
                self.prefix(batch), batch["input_ids"], batch["attention_mask"], batch["labels"]
            )

    def parameter_counts(self) -> list[ParameterCount]:
        """Return one row per component."""
        rows = []
        for name, tower in self.towers.items():
            rows.append(count_parameters(f"{name} encoder", tower.encoder))
            rows.append(count_parameters(f"{name} projector", tower.projector))
        if self.fusion is not None:
            rows.append(count_parameters("fusion", self.fusion))
        return [*rows, count_parameters("decoder", self.decoder)]

    def print_parameter_counts(self) -> str:
        """Log the table of parameters per component (total, trained, frozen, dtype) and return it."""
        table = format_parameter_table(self.parameter_counts())
        logger.info("parameters\n%s", table)
        return table

    def trainable_state_dict(self) -> dict[str, Tensor]:
        """Return everything that training may change: the decoder's part, and all outside frozen encoders."""
        frozen = tuple(
            f"{name}_tower.encoder." for name, tower in self.towers.items() if tower.encoder.frozen
        )
        own = {
            name: value.contiguous()
            for name, value in self.state_dict().items()
            if not name.startswith(("decoder.", *frozen))
        }
        part = self.decoder.trainable_state_dict()
        return own | {f"decoder.{name}": value.contiguous() for name, value in part.items()}

    def load_trainable_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load what `trainable_state_dict` gave.

        Raises:
            CheckpointError: A tensor is missing, left over or of another shape; nothing is loaded then.
        """
        check_names_and_shapes(self.trainable_state_dict(), state, "answering model")
        part = {
            name.removeprefix("decoder."): value
            for name, value in state.items()
            if name.startswith("decoder.")
        }
        self.decoder.load_trainable_state_dict(part)
        own = {name: value for name, value in state.items() if not name.startswith("decoder.")}
        self.load_state_dict(own, strict=False)
