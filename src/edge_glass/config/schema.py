"""The experiment file as types: every option of a run, declared once.

Reading order: `ExperimentConfig` at the bottom names the sections; each section stands above it.
Nothing here imports torch, so that `edge-glass config check` answers at once.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """Base of every section: unknown keys are errors, values are not coerced, nothing changes later."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class DatasetConfig(Section):
    """Where the rows of pictures, captions and sounds come from and how they are batched."""

    train_parquet: str | None = Field(None, description="Parquet file with picture bytes, for training.")
    val_parquet: str | None = Field(None, description="Parquet file that chooses the best epoch.")
    test_parquet: str | None = Field(None, description="Parquet file for the final numbers.")
    extra_train_parquet: list[str] = Field(
        default=[],
        description="Further files to train on; with an audio encoder their rows may lack a modality.",
    )
    image_folder: str | None = Field(None, description="Folder of pictures, instead of parquet files.")
    metadata_file: str | None = Field(
        None, description="JSON, JSONL or CSV beside image_folder: columns file_name and the text column."
    )
    image_column: str = Field("image_bytes", description="Column of picture bytes (or {bytes, path}).")
    text_column: str = Field("caption", description="Column with the caption.")
    extra_captions_column: str | None = Field(
        None, description="Column with a list of further captions; training draws one of all of them."
    )
    audio_column: str = Field(
        "audio", description="Column of sound bytes, or of lists of them (takes); read with an audio encoder."
    )
    max_audio_seconds: float = Field(600.0, gt=0.0, description="Longer sounds are bad rows.")
    id_column: str | None = Field(
        None, description="Column that names a row in messages; default: row number."
    )
    group_column: str | None = Field(
        None, description="Column whose equal values stay on one side of a split, such as client_id."
    )
    val_fraction: float = Field(0.1, ge=0.0, lt=1.0, description="Share split off when no val file is given.")
    test_fraction: float = Field(
        0.1, ge=0.0, lt=1.0, description="Share split off when no test file is given."
    )
    shared_pictures: Literal["error", "leave_out"] = Field(
        "error",
        description="Training rows whose picture is also in val or test.",
    )
    max_bad_fraction: float = Field(
        0.01, ge=0.0, le=1.0, description="More bad rows than this share of a split is an error."
    )
    batch_size: int = Field(64, ge=2, description="Pairs per step: each sees batch_size - 1 negatives.")
    num_workers: int = Field(0, ge=0, description="Processes that read and decode pictures.")
    text_dropout_prob: float = Field(
        0.0, ge=0.0, lt=1.0, description="Training only: chance that a caption is replaced by an empty one."
    )
    max_text_length: int = Field(512, ge=2, description="Caption tokens; longer captions are cut.")
    augmentation: Literal["none", "flip", "crop_flip"] = Field(
        "none", description="Random transform of training pictures; anything but none turns the cache off."
    )
    audio_augmentation: Literal["none", "spec_augment"] = Field(
        "none", description="Masks in training sounds' spectrograms; spec_augment turns the cache off."
    )


class HeadConfig(Section):
    """The trained part on top of an encoder: pooled features → embedding."""

    kind: Literal["linear", "mlp", "residual"] = Field(
        "linear", description="Shape of the projection; residual is linear plus an mlp that starts at zero."
    )
    hidden_dim: int = Field(1024, ge=1, description="Width of the hidden layer (mlp, residual).")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Dropout on the features and inside the mlp.")
    components: int | None = Field(
        None,
        ge=1,
        description="Standardise the pooled features and keep so many principal components, measured on the "
        "training rows; default: features as they are.",
    )


class PerceiverConfig(Section):
    """The resampler behind pooling_type perceiver: any number of tokens in, a fixed number of latents out."""

    num_latents: int = Field(16, ge=1, description="Latents, which are averaged into one vector.")
    depth: int = Field(2, ge=1, description="Blocks of cross attention and feed-forward.")
    num_heads: int = Field(8, ge=1, description="Attention heads; they divide the encoder's width.")
    positions: Literal["none", "fourier", "learned"] = Field(
        "none", description="What tells the latents where a token stands."
    )


class VisionEncoderConfig(Section):
    """The picture side: frozen encoder, pooling, projection, Matryoshka dimensions."""

    source: str = Field(
        "asset:efficientnet-lite0",
        description="asset:NAME, a local folder, timm/NAME or hf-hub:ID for timm, or a Hugging Face hub id.",
    )
    image_size: int | None = Field(
        None, ge=16, description="Side of the square picture; default: the encoder's."
    )
    frozen: bool = Field(True, description="Keep the encoder's weights as they are.")
    feature_layers: list[str] = Field(
        default=[],
        description="Join features of these layers, each pooled over its places, instead of the last one; "
        "* stands for anything between two dots.",
    )
    layer_pooling: Literal["max", "mean"] = Field("max", description="How feature_layers are pooled.")
    pooling_type: Literal["cls", "mean", "simple", "multihead", "perceiver"] | None = Field(
        None, description="How tokens become one vector; default: mean, or simple with use_attention_pooling."
    )
    perceiver: PerceiverConfig = PerceiverConfig()
    use_attention_pooling: bool = Field(
        False, description="Learn the pooling (simple unless pooling_type says)."
    )
    projection_dim: int = Field(1024, ge=1, le=4096, description="Width of the shared embedding space.")
    mrl_dimensions: list[int] = Field(
        default=[1024, 512, 256, 128], description="Matryoshka dimensions; the full one is always among them."
    )
    head: HeadConfig = HeadConfig()


class TextEncoderConfig(Section):
    """The words side: frozen encoder, pooling, projection into the pictures' space."""

    source: str = Field("asset:all-minilm-l6-v2", description="asset:NAME, a local folder or a hub id.")
    frozen: bool = Field(True, description="Keep the encoder's weights as they are.")
    feature_layers: list[int] = Field(
        default=[], description="Join the hidden states of these layers instead of the last; 0: embeddings."
    )
    pooling_type: Literal["cls", "mean", "simple", "multihead", "perceiver"] = Field(
        "mean", description="How tokens become one vector."
    )
    perceiver: PerceiverConfig = PerceiverConfig()
    head: HeadConfig = HeadConfig()


class AudioEncoderConfig(Section):
    """The sound side: a Whisper encoder, pooling, projection into the pictures' space."""

    source: str = Field(
        "asset:whisper-tiny-en",
        description="asset:NAME, a local folder (transformers or CTranslate2 Whisper) or a hub id.",
    )
    frozen: bool = Field(True, description="Keep the encoder's weights as they are.")
    pooling_type: Literal["mean", "mean_max", "codebook", "simple", "multihead", "perceiver"] = Field(
        "mean_max",
        description="How tokens become one vector; codebook: their mean and a histogram of typical ones, "
        "measured on the training rows.",
    )
    perceiver: PerceiverConfig = PerceiverConfig()
    head: HeadConfig = HeadConfig()


class FusionConfig(Section):
    """Two modalities as one query for the third, such as a picture and words for a sound."""

    kind: Literal["concat", "cross_attention", "gated"] = Field("gated", description="How they are joined.")
    num_heads: int = Field(8, ge=1, description="Attention heads of cross_attention.")
    weight: float = Field(1.0, ge=0.0, description="Weight of the loss between fused queries and the third.")


class PairWeightsConfig(Section):
    """Weights of the losses between two modalities; 0 leaves a pair out."""

    vision_text: float = Field(1.0, ge=0.0, description="Pictures and words.")
    audio_text: float = Field(1.0, ge=0.0, description="Sounds and words, with an audio encoder.")
    vision_audio: float = Field(1.0, ge=0.0, description="Pictures and sounds, with an audio encoder.")


class LossesConfig(Section):
    """What is minimised: contrastive * L(full) + mrl * mean over dimensions of L(d)."""

    kind: Literal["infonce", "siglip"] = Field("infonce", description="Form of the contrastive loss.")
    contrastive: float = Field(0.25, ge=0.0, description="Weight of the loss on the full embedding.")
    mrl: float = Field(1.0, ge=0.0, description="Weight of the Matryoshka loss.")
    sample_single_mrl_dim: bool = Field(
        False, description="Draw one Matryoshka dimension per step instead of summing all of them."
    )
    temperature: float = Field(0.07, gt=0.0, description="Starting temperature; each pair learns its own.")
    pairs: PairWeightsConfig = PairWeightsConfig()


class OptimizationConfig(Section):
    """AdamW and its schedule."""

    lr: float = Field(2e-4, gt=0.0, description="Peak learning rate.")
    weight_decay: float = Field(0.01, ge=0.0, description="On matrices only, never on the temperature.")
    betas: tuple[float, float] = Field((0.9, 0.95), strict=False, description="AdamW's two decays.")
    max_grad_norm: float = Field(1.0, ge=0.0, description="Gradients are clipped to this norm; 0 is off.")
    warmup_ratio: float = Field(0.1, ge=0.0, lt=1.0, description="Share of the steps that warm up.")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="Shape after warm-up.")


class TrainingConfig(Section):
    """How long, how precisely, and what is kept."""

    epochs: int = Field(10, ge=1, description="Passes over the training rows.")
    max_steps: int | None = Field(None, ge=1, description="Stop after this many steps, whatever epochs says.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="Of the trained part; auto: bf16 on GPUs that have it, else fp32."
    )
    gradient_accumulation_steps: int = Field(
        1, ge=1, description="Refused above 1 with in-batch negatives: it adds none."
    )
    eval_epochs: float = Field(1.0, gt=0.0, description="Measure and save every so many epochs.")
    logging_steps: int | None = Field(
        None, ge=1, description="Steps per log line; default: about 200 lines a run."
    )
    warm_start: Literal["none", "closed_form"] = Field(
        "none", description="Where the heads start: at random, or at the solution of regularised CCA."
    )
    early_stopping_patience: int | None = Field(
        None, ge=1, description="Stop after this many evaluations without a better primary metric."
    )
    keep_checkpoints: int = Field(2, ge=1, description="Newest checkpoints kept, besides the best.")
    feature_cache: str = Field(
        "auto", description="auto, off, or a folder: frozen features are computed once and kept there."
    )
    sharding: Literal["none", "fsdp"] = Field(
        "none", description="fsdp spreads weights, gradients and optimizer state over the processes."
    )
    device: Literal["auto", "cpu"] = Field("auto", description="cpu keeps the run off the GPU.")
    num_threads: int | None = Field(None, ge=1, description="CPU threads of torch; default: torch's own.")
    report_to: list[Literal["tensorboard", "wandb"]] = Field(
        default=["tensorboard"], description="Loggers besides metrics.jsonl."
    )
    wandb_project: str = Field("edge-glass", description="W&B project, when report_to has wandb.")


class EvaluationConfig(Section):
    """How the numbers are made."""

    primary_metric: str = Field(
        "mean_r1", description="Chooses the best epoch and the verdict, such as mean_r1, i2t_r1, a2t_r10."
    )
    bootstrap_samples: int = Field(2000, ge=100, description="Resamples behind each 95 % interval.")
    closed_form_baseline: bool = Field(
        True, description="Also fit regularised CCA in closed form; a trained model has to beat it."
    )
    closed_form_regularization: tuple[float, float] = Field(
        (0.2, 1.0),
        strict=False,
        description="Of pictures and of words, as multiples of their features' mean variance.",
    )
    closed_form_audio_regularization: float = Field(
        1.0, gt=0.0, description="Of sounds, as a multiple of their features' mean variance."
    )


class AblationConfig(Section):
    """Variants of this experiment, run by `edge-glass ablate`."""

    variants: dict[str, dict[str, Any]] = Field(description="Name → dotted overrides.")
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1, description="Each variant runs once per seed.")
    metrics: list[str] = Field(
        default=["i2t_r1", "t2i_r1"], min_length=1, description="Columns of the table."
    )


class ExperimentConfig(Section):
    """One experiment: what `edge-glass train FILE` reads."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Names the run folder runs/NAME.")
    task: Literal["alignment"] = Field("alignment", description="What is trained.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="All randomness is a function of it.")
    output_dir: str = Field("runs", description="Where run folders go.")
    tiny: bool = Field(False, description="Toy-sized random models and generated rows; what --tiny sets.")
    dataset: DatasetConfig = DatasetConfig()
    vision_encoder: VisionEncoderConfig = VisionEncoderConfig()
    text_encoder: TextEncoderConfig = TextEncoderConfig()
    audio_encoder: AudioEncoderConfig | None = None
    fusion: FusionConfig | None = None
    losses: LossesConfig = LossesConfig()
    optimization: OptimizationConfig = OptimizationConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    ablation: AblationConfig | None = None
