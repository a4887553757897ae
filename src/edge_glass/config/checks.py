"""What one field cannot tell alone: checks across fields, of files and of installed packages.

Each check takes a whole config and returns the problems it sees. They run before anything heavy is imported.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

from edge_glass.config.fields import nearest_word
from edge_glass.config.problems import Problem
from edge_glass.config.schema import ExperimentConfig
from edge_glass.config.yaml_loader import KeyPath

_SIDES = {
    "mean": None,
    "i2t": "vision_text",
    "t2i": "vision_text",
    "a2t": "audio_text",
    "t2a": "audio_text",
    "v2a": "vision_audio",
    "a2v": "vision_audio",
    "at2v": "fusion",
    "vt2a": "fusion",
    "va2t": "fusion",
}
_RECALLS, _MEDIAN = ("r1", "r5", "r10"), "medr"
_METRIC = re.compile(r"(?P<side>[a-z0-9]+)_(?P<measure>[a-z0-9]+)(?:@(?P<dimension>[1-9][0-9]*))?")
_EMOJI_FILES = {"train.parquet", "val.parquet", "test.parquet"}
_PARQUETS = ("train_parquet", "val_parquet", "test_parquet")


def matryoshka(config: ExperimentConfig) -> Iterator[Problem]:
    """The dimensions fit into the embedding, and the loss that needs them has some."""
    encoder, losses = config.vision_encoder, config.losses
    path: KeyPath = ("vision_encoder", "mrl_dimensions")
    for dimension in encoder.mrl_dimensions:
        if dimension > encoder.projection_dim:
            yield Problem(
                path, f"{dimension} is larger than vision_encoder.projection_dim ({encoder.projection_dim})"
            )
        if dimension < 1:
            yield Problem(path, f"{dimension} is not a dimension; expected whole numbers of at least 1")
    if encoder.mrl_dimensions:
        return
    example = [encoder.projection_dim // share for share in (2, 4, 8) if encoder.projection_dim >= 2 * share]
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


def loss_weights(config: ExperimentConfig) -> Iterator[Problem]:
    """Something is minimised."""
    if config.losses.contrastive == 0 and config.losses.mrl == 0:
        yield Problem(
            ("losses", "contrastive"),
            "is 0 and losses.mrl is 0 too: nothing would be trained; set one above 0",
        )


def accumulation(config: ExperimentConfig) -> Iterator[Problem]:
    """Accumulated batches never see each other, so they add no negatives."""
    steps = config.training.gradient_accumulation_steps
    if steps > 1:
        yield Problem(
            ("training", "gradient_accumulation_steps"),
            f"is {steps}, but losses.kind {config.losses.kind} takes its negatives from within one batch, so "
            "accumulation adds none; set it to 1 and raise dataset.batch_size",
        )


def pooling(config: ExperimentConfig) -> Iterator[Problem]:
    """use_attention_pooling and a pooling without attention contradict each other."""
    encoder = config.vision_encoder
    if encoder.use_attention_pooling and encoder.pooling_type in ("cls", "mean"):
        yield Problem(
            ("vision_encoder", "use_attention_pooling"),
            f"is true, but vision_encoder.pooling_type {encoder.pooling_type} has no attention; "
            "set pooling_type to simple or multihead, or use_attention_pooling to false",
        )


def closed_form(config: ExperimentConfig) -> Iterator[Problem]:
    """What is measured on frozen features stays true only while they and their pooling stay as they are."""
    for name in ("vision_encoder", "text_encoder", "audio_encoder"):
        encoder = getattr(config, name)
        if encoder is None:
            continue
        learned = encoder.pooling_type in ("simple", "multihead", "perceiver") or getattr(
            encoder, "use_attention_pooling", False
        )
        changing = "is trained" if not encoder.frozen else "has a learned pooling" if learned else None
        if changing and encoder.head.components is not None:
            yield Problem(
                (name, "head", "components"),
                f"is measured once on frozen, pooled features, but {name} {changing}; set it to null, "
                "or use frozen: true with pooling_type mean",
            )
        if config.training.warm_start == "closed_form" and (changing or encoder.head.kind == "mlp"):
            reason = changing or "has head.kind mlp, which is not linear"
            yield Problem(
                ("training", "warm_start"),
                f"is closed_form, a linear solution for frozen, pooled features, but {name} {reason}; "
                "set it to none",
            )
    for index, strength in enumerate(config.evaluation.closed_form_regularization):
        if strength <= 0:
            yield Problem(
                ("evaluation", "closed_form_regularization", index),
                f"expected a number above 0, found {strength}",
            )


def optimizer(config: ExperimentConfig) -> Iterator[Problem]:
    """AdamW diverges or divides by zero outside of [0, 1)."""
    for index, beta in enumerate(config.optimization.betas):
        if not 0.0 <= beta < 1.0:
            yield Problem(
                ("optimization", "betas", index), f"expected a number of at least 0 and below 1, found {beta}"
            )


def metrics(config: ExperimentConfig) -> Iterator[Problem]:
    """Metric names exist, at dimensions that are measured."""
    path: KeyPath = ("evaluation", "primary_metric")
    yield from metric_problems(config, path, config.evaluation.primary_metric, measures=_RECALLS)
    for index, name in enumerate(config.ablation.metrics if config.ablation else []):
        yield from metric_problems(config, ("ablation", "metrics", index), name)


def metric_problems(
    config: ExperimentConfig, path: KeyPath, name: str, measures: tuple[str, ...] = (*_RECALLS, _MEDIAN)
) -> Iterator[Problem]:
    """What is wrong with a metric's name, if anything: its form, or a dimension that is not measured."""
    match = _METRIC.fullmatch(name)
    if match is None or match["side"] not in _SIDES or match["measure"] not in measures:
        nearest = nearest_word(
            name.partition("@")[0], [f"{side}_{one}" for side in _SIDES for one in measures]
        )
        hint = f"did you mean {nearest}?" if nearest else "such as mean_r1, i2t_r5 or t2i_r10@256"
        endings = ", ".join(f"_{one}" for one in measures[:-1]) + f" or _{measures[-1]}"
        sides = ", ".join(_SIDES)
        yield Problem(path, f"{name!r} is not a metric: expected {sides}, then {endings}; {hint}")
        return
    yield from _unmeasured_pair(config, path, name, match["side"])
    encoder = config.vision_encoder
    dimension = int(match["dimension"] or 0)
    if dimension == encoder.projection_dim:
        plain = name.partition("@")[0]
        yield Problem(
            path, f"{name}: {dimension} is the full embedding, whose metrics have no @; write {plain}"
        )
    elif dimension and dimension not in encoder.mrl_dimensions:
        smaller = [str(one) for one in encoder.mrl_dimensions if one != encoder.projection_dim]
        known = (
            f"vision_encoder has {', '.join(smaller)}"
            if smaller
            else "vision_encoder.mrl_dimensions has none"
        )
        yield Problem(path, f"{name}: there is no dimension {dimension} below the full one; {known}")


def _unmeasured_pair(config: ExperimentConfig, path: KeyPath, name: str, side: str) -> Iterator[Problem]:
    """A direction between two modalities that this experiment does not compare."""
    pair = _SIDES[side]
    if pair is None:
        return
    if pair == "fusion":
        if config.fusion is None:
            yield Problem(path, f"{name!r} is of fused queries, but there is no fusion")
    elif "audio" in pair and config.audio_encoder is None:
        yield Problem(path, f"{name!r} needs sounds, but there is no audio_encoder")
    elif getattr(config.losses.pairs, pair) == 0:
        yield Problem(path, f"{name!r} needs the pair {pair}, whose weight losses.pairs.{pair} is 0")


def modalities(config: ExperimentConfig) -> Iterator[Problem]:
    """Every modality is compared with another one, and a fusion has something to look for."""
    weights = config.losses.pairs.model_dump()
    sides = ("vision", "text") if config.audio_encoder is None else ("vision", "text", "audio")
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
    if config.fusion is not None and config.audio_encoder is None:
        yield Problem(
            ("fusion",),
            "joins two modalities into a query for the third, but there are only pictures and words; "
            "give an audio_encoder, or leave fusion out",
        )


def precision(config: ExperimentConfig) -> Iterator[Problem]:
    """fp16 needs a GPU's loss scaling."""
    if config.training.device == "cpu" and config.training.precision == "fp16":
        yield Problem(
            ("training", "precision"),
            "is fp16, which does not train on a CPU (training.device); use auto or bf16",
        )


def loggers(config: ExperimentConfig) -> Iterator[Problem]:
    """A logger that is asked for is installed."""
    if "wandb" in config.training.report_to and importlib.util.find_spec("wandb") is None:
        yield Problem(
            ("training", "report_to"),
            "asks for wandb, which is not installed; pip install 'edge-glass[wandb]', or leave wandb out",
        )


def split_shares(config: ExperimentConfig) -> Iterator[Problem]:
    """Something is left to train on after the splits without a file of their own are taken off."""
    dataset = config.dataset
    parts = {
        "val_fraction": 0.0 if dataset.val_parquet else dataset.val_fraction,
        "test_fraction": 0.0 if dataset.test_parquet else dataset.test_fraction,
    }
    if sum(parts.values()) >= 1.0:
        yield Problem(
            ("dataset", "val_fraction"),
            f"{parts['val_fraction']:g} and test_fraction {parts['test_fraction']:g} leave nothing to train "
            "on; together they must stay below 1",
        )


def data_source(config: ExperimentConfig) -> Iterator[Problem]:
    """Pictures come from parquet files or from a folder with its metadata: one of them, and completely."""
    dataset = config.dataset
    parquets = [name for name in _PARQUETS if getattr(dataset, name) is not None]
    folder = [name for name in ("image_folder", "metadata_file") if getattr(dataset, name) is not None]
    if parquets and folder:
        yield Problem(
            ("dataset", folder[0]),
            f"stands beside {parquets[0]}; give parquet files or a folder of pictures, not both",
        )
    elif parquets and dataset.train_parquet is None:
        yield Problem(
            ("dataset", "train_parquet"), f"missing: {parquets[0]} is given, but nothing to train on"
        )
    elif folder == ["image_folder"]:
        yield Problem(
            ("dataset", "image_folder"),
            "needs dataset.metadata_file: JSON, JSONL or CSV with the columns file_name "
            f"and {dataset.text_column} (dataset.text_column)",
        )
    elif folder == ["metadata_file"]:
        yield Problem(
            ("dataset", "metadata_file"), "needs dataset.image_folder: the folder its file names are in"
        )
    elif folder:
        yield from _parquet_only(config)
    elif not parquets and not folder:
        yield Problem(
            ("dataset", "train_parquet"),
            "missing: no data is given; set dataset.train_parquet, "
            "or dataset.image_folder and dataset.metadata_file",
        )


def _parquet_only(config: ExperimentConfig) -> Iterator[Problem]:
    """What a folder of pictures with its metadata file cannot give."""
    dataset = config.dataset
    if dataset.extra_captions_column is not None:
        yield Problem(
            ("dataset", "extra_captions_column"),
            "is read from parquet files only; in a metadata file, give a picture a row for each caption",
        )
    if dataset.extra_train_parquet:
        yield Problem(
            ("dataset", "extra_train_parquet"),
            "stands beside image_folder; give parquet files or a folder of pictures, not both",
        )
    if dataset.group_column is not None:
        yield Problem(("dataset", "group_column"), "is read from parquet files only, not from image_folder")
    if config.audio_encoder is not None:
        yield Problem(
            ("audio_encoder",), "needs sounds, which are read from parquet files only, not from image_folder"
        )


def data_files(config: ExperimentConfig) -> Iterator[Problem]:
    """The files of the data set exist; relative paths start at the working directory."""
    dataset = config.dataset
    named = [(name, getattr(dataset, name)) for name in (*_PARQUETS, "metadata_file", "image_folder")]
    named += [("extra_train_parquet", written) for written in dataset.extra_train_parquet]
    for name, written in named:
        if written is None:
            continue
        path, folder_wanted = Path(written), name == "image_folder"
        if not path.exists():
            yield Problem(
                ("dataset", name), f"no such {'folder' if folder_wanted else 'file'}: {_missing(path)}"
            )
        elif path.is_dir() != folder_wanted:
            kinds = ("a folder", "a file") if folder_wanted else ("a file", "a folder")
            yield Problem(("dataset", name), f"expected {kinds[0]}, but {written} is {kinds[1]}")


def _missing(path: Path) -> str:
    """The path, and what helps: the command that writes it, or the place a relative path starts at."""
    parts = PurePath(path).parts
    if len(parts) >= 2 and parts[-2] == "emoji" and parts[-1] in _EMOJI_FILES:
        return f"{path}; `edge-glass data build emoji` writes it"
    if not path.is_absolute():
        return f"{path} (looked in the working directory {Path.cwd()})"
    return str(path)


Check = Callable[[ExperimentConfig], Iterator[Problem]]

SETTING_CHECKS: tuple[Check, ...] = (
    matryoshka,
    loss_weights,
    accumulation,
    closed_form,
    modalities,
    pooling,
    optimizer,
    metrics,
    precision,
    split_shares,
)
SURROUNDINGS_CHECKS: tuple[Check, ...] = (loggers, data_source, data_files)


def problems_across(config: ExperimentConfig, *, surroundings: bool) -> list[Problem]:
    """All problems of a valid-looking config.

    Args:
        config: the experiment.
        surroundings: also look for data files and packages; never done for tiny configs, which need neither.
    """
    checks = SETTING_CHECKS + (SURROUNDINGS_CHECKS if surroundings and not config.tiny else ())
    return [problem for check in checks for problem in check(config)]
