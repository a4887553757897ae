"""`MultimodalAlignmentModel`: two towers into one embedding space."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from edge_glass.config.schema import ExperimentConfig, HeadConfig
from edge_glass.encoders.features import TokenFeatures, fast_dtype
from edge_glass.encoders.freezing import ParameterCount, count_parameters, format_parameter_table
from edge_glass.encoders.mrl import MRLProjection, matryoshka_dimensions, truncate_and_normalize
from edge_glass.encoders.pooling import Pooling, build_pooling
from edge_glass.encoders.text import TextEncoder
from edge_glass.encoders.vision import VisionEncoder
from edge_glass.errors import CheckpointError, ConfigError
from edge_glass.models.losses import AlignmentLoss
from edge_glass.models.normalization import FeatureNormalizer

logger = logging.getLogger(__name__)

Raw = Mapping[str, Tensor]
Encoder = TypeVar("Encoder", VisionEncoder, TextEncoder)


class Tower(nn.Module, Generic[Encoder]):
    """Encoder → pooling (→ normaliser) → projection, for one modality.

    Args:
        encoder: Gives token features.
        pooling: Tokens → one vector.
        projection: Vector → embedding.
        normalizer: Brings pooled features to one scale before the projection.
    """

    encoder: Encoder

    def __init__(
        self,
        encoder: Encoder,
        pooling: Pooling,
        projection: MRLProjection,
        normalizer: FeatureNormalizer | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.normalizer = normalizer
        self.projection = projection

    @property
    def frozen_dtype(self) -> torch.dtype:
        """Arithmetic of a frozen encoder: one rule for training, cache, evaluation and search."""
        return fast_dtype(next(self.encoder.parameters()).device)

    def features(self, raw: Raw) -> TokenFeatures:
        """The part that a feature cache may keep when the encoder is frozen.

        Args:
            raw: `{"pixels"}` or `{"input_ids", "attention_mask"}`; `{"tokens", "mask"}` are features already.

        Returns:
            Tokens `[B, N, D]`; pooled to N = 1 when the pooling has nothing to learn.
        """
        if "tokens" in raw:
            features = TokenFeatures(raw["tokens"], raw["mask"])
        else:
            inputs: Any = raw.get("pixels", raw)
            if self.encoder.frozen:
                features = self.encoder.frozen_forward(inputs, dtype=self.frozen_dtype)
            else:
                features = self.encoder(inputs)
        if self.pooling.learned:
            return features
        pooled = self.pooling(*features).unsqueeze(1)
        return TokenFeatures(pooled, features.mask.any(dim=1, keepdim=True))

    def embed(self, features: TokenFeatures) -> Tensor:
        """Tokens `[B, N, D]` → `[B, out_dim]`, not normalised. Pooling what is pooled changes nothing."""
        return self.projection(self.normalized(self.pooling(*features)))

    def normalized(self, pooled: Tensor) -> Tensor:
        """Pooled features `[B, D]` as the projection expects them."""
        return pooled if self.normalizer is None else self.normalizer(pooled)

    def forward(self, raw: Raw) -> Tensor:
        """`[B, out_dim]`, not normalised; `raw` as for `features`, or `{"vectors"}` from `normalized`."""
        if "vectors" in raw:
            return self.projection(raw["vectors"])
        return self.embed(self.features(raw))


class MultimodalAlignmentModel(nn.Module):
    """A tower of pictures, a tower of words, and the loss between them.

    Args:
        vision_tower: For pictures.
        text_tower: For words, with an embedding of the same width.
        loss: Holds the learned temperature.
    """

    def __init__(
        self, vision_tower: Tower[VisionEncoder], text_tower: Tower[TextEncoder], loss: AlignmentLoss
    ) -> None:
        super().__init__()
        self.vision_tower = vision_tower
        self.text_tower = text_tower
        self.loss = loss

    @property
    def dimensions(self) -> list[int]:
        """Matryoshka dimensions, descending, the full one first."""
        return self.vision_tower.projection.dimensions

    def forward(
        self, batch: Mapping[str, Any], with_diagnostics: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a batch of pairs.

        Args:
            batch: `image` and `text` (see `Tower.features`), `image_group` and `text_group` `[B]` int64,
                and `step`.
            with_diagnostics: See `AlignmentLoss.forward`.

        Returns:
            Scalar loss and the report of `AlignmentLoss`.
        """
        image, text = self.vision_tower(batch["image"]), self.text_tower(batch["text"])
        groups = batch["image_group"], batch["text_group"]
        return self.loss(image, text, *groups, int(batch.get("step", 0)), with_diagnostics)

    def encode_images(self, images: Tensor | TokenFeatures, dim: int | None = None) -> Tensor:
        """Pictures → embeddings for search, in eval mode without gradients.

        Args:
            images: Pixels `[B, 3, H, W]` or features of `vision_tower.features`.
            dim: Matryoshka dimension; None for the full one.

        Returns:
            `[B, dim]` of norm 1.
        """
        raw = images._asdict() if isinstance(images, TokenFeatures) else {"pixels": images}
        with _evaluating(self):
            return truncate_and_normalize(self.vision_tower(raw), dim)

    def encode_text(self, text: list[str] | Raw | TokenFeatures, dim: int | None = None) -> Tensor:
        """Texts, tokenised texts or features → embeddings `[B, dim]` of norm 1."""
        if isinstance(text, list):
            encoder: Any = self.text_tower.encoder
            device = next(encoder.parameters()).device
            raw: Raw = {name: value.to(device) for name, value in encoder.tokenize(text).items()}
        else:
            raw = text._asdict() if isinstance(text, TokenFeatures) else text
        with _evaluating(self):
            return truncate_and_normalize(self.text_tower(raw), dim)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that must not decay."""
        return {f"loss.{name}" for name in self.loss.no_weight_decay()}

    def parameter_counts(self) -> list[ParameterCount]:
        """One row per component."""
        rows = []
        for name, tower in (("vision", self.vision_tower), ("text", self.text_tower)):
            parts = (("encoder", tower.encoder), ("pooling", tower.pooling), ("projection", tower.projection))
            rows += [count_parameters(f"{name} {part}", module) for part, module in parts]
        return [*rows, count_parameters("temperature", self.loss)]

    def print_parameter_counts(self) -> str:
        """Log the table of parameters per component (total, trained, frozen, dtype) and return it."""
        table = format_parameter_table(self.parameter_counts())
        logger.info("parameters\n%s", table)
        return table

    def trainable_state_dict(self) -> dict[str, Tensor]:
        """Everything that training may change: all parameters and buffers outside frozen encoders.

        Contiguous, as safetensors wants them (convolutions are kept channels-last).
        """
        frozen = tuple(
            f"{name}.encoder."
            for name in ("vision_tower", "text_tower")
            if self.get_submodule(f"{name}.encoder").frozen
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


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients, restored afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


@contextmanager
def _seeded(seed: int, component: str) -> Iterator[None]:
    """Draw a component's first weights from (seed, its name), leaving the global generator alone."""
    digest = hashlib.sha256(f"{seed}-{component}".encode()).digest()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int.from_bytes(digest[:8], "big"))
        yield


def _build_tower(
    name: str,
    encoder: Encoder,
    pooling_type: str,
    head: HeadConfig,
    dimensions: list[int],
    seed: int,
) -> Tower[Encoder]:
    """A tower with fresh pooling and projection.

    Raises:
        ConfigError: Class-token pooling over an encoder without one.
    """
    if pooling_type == "cls" and not encoder.has_cls_token:
        raise ConfigError(
            f"{name}.pooling_type is cls, but this encoder has no class token; mean would be right"
        )
    with _seeded(seed, f"{name}.pooling"):
        pooling = build_pooling(pooling_type, encoder.width)
    with _seeded(seed, f"{name}.normalizer"):
        normalizer = FeatureNormalizer(encoder.width, head.components) if head.components else None
    with _seeded(seed, f"{name}.projection"):
        projection = MRLProjection(
            encoder.width if normalizer is None else normalizer.out_dim,
            dimensions[0],
            dimensions,
            kind=head.kind,
            hidden_dim=head.hidden_dim,
            dropout=head.dropout,
        )
    return Tower(encoder, pooling, projection, normalizer)


def build_alignment_model(
    config: ExperimentConfig, vision: VisionEncoder, text: TextEncoder
) -> MultimodalAlignmentModel:
    """Put heads on two encoders; the first weights are a function of `config.seed` and of nothing else.

    Raises:
        ConfigError: Settings that do not fit the encoders.
    """
    picture, words, losses = config.vision_encoder, config.text_encoder, config.losses
    dimensions = matryoshka_dimensions(picture.projection_dim, picture.mrl_dimensions)
    picture_pooling = picture.pooling_type or ("simple" if picture.use_attention_pooling else "mean")
    vision_tower = _build_tower(
        "vision_encoder", vision, picture_pooling, picture.head, dimensions, config.seed
    )
    text_tower = _build_tower("text_encoder", text, words.pooling_type, words.head, dimensions, config.seed)
    loss = AlignmentLoss(
        dimensions,
        kind=losses.kind,
        contrastive=losses.contrastive,
        mrl=losses.mrl,
        sample_single_mrl_dim=losses.sample_single_mrl_dim,
        temperature=losses.temperature,
        seed=config.seed,
    )
    return MultimodalAlignmentModel(vision_tower, text_tower, loss)
