# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     notebook_metadata_filter: -jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Detection, lesson 3: what is trained, and with what
#
# A vision-language model finds things by *writing* where they are. Training it needs little more than a
# function that turns pictures and boxes into a batch of numbers, a *collator*. Most of what goes wrong in
# such projects goes wrong in there, and none of it raises an error: the loss falls, and the tuned model is
# worse than the untouched one.
#
# You will put three collators side by side, train the same model on all words and on answers only, and then
# give the same batches to two trainers.
#
# With the environment variable `EDGE_GLASS_TINY=1` everything is toy-sized: drawn shapes, and a random
# model of the real Qwen2-VL class with 0.4 million weights (seconds, no download). Without it, a somewhat
# larger model learns emoji on plain backgrounds (minutes on two cores). **The outputs stored in this file
# come from the tiny form.** Both learn a handful of pictures by heart: that is enough to compare trainings,
# and says nothing about new pictures (lesson 4 does).

# %%
import os

TINY = os.environ.get("EDGE_GLASS_TINY", "") == "1"

# %%
import html
import json
import logging
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import torch
from IPython.display import HTML, Markdown, display
from PIL import Image

warnings.filterwarnings("ignore")  # of libraries; tqdm would like ipywidgets, for one

import datasets
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

import edge_glass
from edge_glass import (
    Qwen2VLCollatorV1,
    Qwen2VLCollatorV2,
    Qwen2VLCollatorV3,
    convert_to_conversation_format,
    visualize_bbox_on_image,
)
from edge_glass.core.errors import ConfigError, DataError
from edge_glass.data.labels import NOT_TRAINED
from edge_glass.detection.boxes.codec import box_codec
from edge_glass.detection.collators import check_detection_labels, planned_size
from edge_glass.detection.data.conversations import _has_image
from edge_glass.detection.data.splits import load_scenes
from edge_glass.detection.data.table import DetectionDataset
from edge_glass.detection.measure.metrics import DetectionSet, detection_values
from edge_glass.detection.report.inspection import inspected_detections
from edge_glass.detection.use.detect import Detector
from edge_glass.reporting.inspection import chips
from edge_glass.vlm.model import build_detection_model
from edge_glass_scenes.emoji_scenes import build_emoji_scenes

logging.getLogger("transformers").setLevel(logging.ERROR)
datasets.disable_progress_bars()

# Paths in the experiment files start at the root of the project.
ROOT = next(folder for folder in [Path.cwd(), *Path.cwd().parents] if (folder / "configs").is_dir())
os.chdir(ROOT)
Path("runs").mkdir(exist_ok=True)
if TINY:
    scratch = tempfile.TemporaryDirectory(dir="runs", prefix="lesson-")
    WORK = Path(os.path.relpath(scratch.name))
    pio.renderers.default = "plotly_mimetype"  # keeps 5 MB of JavaScript out of the stored outputs
else:
    WORK = Path("runs") / time.strftime("detection-03-%Y%m%d-%H%M%S")
    WORK.mkdir()


# %%
def table(header: list[str], rows: list[list]) -> None:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    display(Markdown("\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)))


def show_pictures(pictures: list[Image.Image], height: int = 170) -> None:
    """Pictures in one row, in few colours, which keeps the stored outputs small."""
    scaled = [one.resize((round(one.width * height / one.height), height)) for one in pictures]
    strip = Image.new("RGB", (sum(one.width + 8 for one in scaled), height), "white")
    for place, one in enumerate(scaled):
        strip.paste(one, (sum(before.width + 8 for before in scaled[:place]), 0))
    display(strip.quantize(64, method=Image.Quantize.MAXCOVERAGE, kmeans=1))


def refused(action) -> None:
    """Do something that must fail, and print why it did."""
    try:
        action()
    except (ConfigError, DataError) as error:
        print(f"{type(error).__name__}: {error}")
    else:
        print("this was accepted!")


# %% [markdown]
# ## 1 Eight rows
#
# The experiment file says which model, which data and how boxes are written. The overrides make it small
# enough for a lesson: all weights are trained, from random ones.

# %%
file = "configs/emoji_scenes_qwen2_vl.yaml"
overrides = ["training.device=cpu", "training.precision=fp32", "detection.box_format=json"]
overrides += [
    "detection.prompt=\"Locate every instance that belongs to the following categories: '{categories}'. "
    'Report bbox coordinates in JSON format."'
]
overrides += ["generation.max_new_tokens=96"]
if TINY:
    ROWS, STEPS, EVERY = 8, 60, 6
    overrides += ["vlm.size.width=64", "vlm.size.vision_width=64", "vlm.size.vision_heads=2"]
    overrides += ["optimization.lr=0.003"]
else:
    ROWS, STEPS, EVERY = 32, 300, 30
    scenes = build_emoji_scenes(WORK / "scenes", rows=64)
    overrides += [f"dataset.{split}={path}" for split, path in scenes.items()]
config = edge_glass.load_config(file, overrides, tiny=TINY)

tables = load_scenes(config)
few = tables["train"].select(range(ROWS))
print(f"{len(few)} pictures; looked for: {', '.join(few.categories)}")

# %% [markdown]
# True boxes are blue. They are pixels of the source picture, x1 y1 x2 y2; look whether they fit.

# %%
show_pictures(
    [
        visualize_bbox_on_image(few.rgb(row), None, truth=few.boxes[row], truth_labels=few.labels[row])
        for row in range(5)
    ]
)

# %% [markdown]
# Three things belong together and must be of one family: the model, its *processor* (tokenizer, chat
# template, resizing) and the *codec*, which knows how this family writes boxes. A row is a conversation,
# with a placeholder where the picture goes.

# %%
untouched = build_detection_model(config)
processor, codec = untouched.processor, box_codec(config.vlm.family, config.detection.box_format)
dataset = DetectionDataset(few, codec, config.detection.prompt, seen=partial(planned_size, processor))
rows = [dataset[row] for row in range(ROWS)]
print(json.dumps(rows[1]["messages"], indent=1, ensure_ascii=False))

# %% [markdown]
# ## 2 Three collators side by side
#
# | | trains on | how |
# |---|---|---|
# | V1, *basic* | all words | the processor does everything, once |
# | V2, *right masking* | the answer | twice, with and without the answer: what is more is the answer |
# | V3, *efficient* | the answer | the prompt once for all rows; the picture is a token, repeated |
#
# All three are short, and meant to be read, in this order:
# [`basic.py`](../src/edge_glass/detection/collators/basic.py),
# [`masking.py`](../src/edge_glass/detection/collators/masking.py),
# [`efficient.py`](../src/edge_glass/detection/collators/efficient.py). Each says what was wrong before it.
#
# Below is the same row as each of them gives it to the model. **Blue tokens are trained**: the model is
# asked to predict them. Grey ones are only read; yellow ones stand for the picture. Look at two places: the
# question, and the end of the answer.


# %%
def show_tokens(batch: dict, mask: str, row: int = 0) -> None:
    """Tokens of a row, trained ones blue and bold; `·` is a blank, `↵` a new line."""
    sample = inspected_detections(batch, rows, processor, codec, split="train", mask=mask)[row]
    style = "display:inline-block;margin:1px;padding:1px 4px;border-radius:3px;font-family:monospace;"
    spans = []
    for chip in chips(sample.tokens):
        tag, colour = "span", "background:#e4e7eb;color:#22262b"
        if chip.token.trained:
            tag, colour = "b", "background:#1f5fbf;color:#ffffff"
        elif chip.token.id == processor.image_token_id:
            colour = "background:#f4d58d;color:#22262b"
        spans.append(f"<{tag} style='{style}{colour}'>{html.escape(chip.text)}</{tag}>")
    display(HTML(" ".join(spans)))


collators = {
    "V1": Qwen2VLCollatorV1(processor, codec),
    "V2": Qwen2VLCollatorV2(processor, codec),
    "V3": Qwen2VLCollatorV3(processor, codec),
}
batches = {name: collate(rows) for name, collate in collators.items()}
for name, batch in batches.items():
    display(Markdown(f"**{name}**"))
    show_tokens(batch, collators[name].mask)

# %% [markdown]
# V1 trains on the question as well, and on the words that every conversation has. They are the same in every
# row. V2 and V3 train on the answer **and on the token that ends it**; a model that never learns to stop
# goes on writing boxes.
#
# Nobody trains on the yellow ones. Many home-made collators do, since `labels = input_ids.clone()` is so
# short: the model then learns to predict hundreds of equal tokens, and the loss looks splendid.
#
# How much of what is trained says something? *Numbers* are the digits, which alone tell where things are.


# %%
def counted(batch: dict) -> list:
    trained = batch["input_ids"][batch["labels"] != NOT_TRAINED].tolist()
    digits = sum(text.isdigit() for text in processor.tokenizer.batch_decode([[token] for token in trained]))
    return [batch["input_ids"].numel(), len(trained), digits, f"{digits / len(trained):.0%}"]


naive = dict(batches["V1"])
naive["labels"] = naive["input_ids"].masked_fill(naive["attention_mask"] == 0, NOT_TRAINED)
table(
    ["collator", "tokens of the batch", "trained", "of them numbers", "share"],
    [[name, *counted(batch)] for name, batch in [("`labels = input_ids`", naive), *batches.items()]],
)
same = {key: torch.equal(batches["V2"][key], batches["V3"][key]) for key in batches["V2"]}
print("V2 and V3 are the same, bit for bit:", same)

# %% [markdown]
# The naive one has a fault that would have stayed silent. Every collator here reads its batches back before
# it hands them out, so each of these is refused, by name. The last one is the fault that costs most: a
# `max_length` that cuts.

# %%
check = partial(check_detection_labels, processor=processor, rows=rows, codec=codec)
refused(lambda: check(naive, mask="all_tokens"))
refused(lambda: check(batches["V1"], mask="assistant_only"))
cut = {name: part[:, :-12] if part.shape[0] == ROWS else part for name, part in batches["V3"].items()}
cut["image_grid_thw"] = batches["V3"]["image_grid_thw"]
refused(lambda: check(cut, mask="assistant_only"))
refused(lambda: Qwen2VLCollatorV1(processor, codec, mask="assistant_only"))

# %% [markdown]
# Then what should be done with a row that is too long? V3 knows the length of a row from the header of its
# picture, and lowers *the picture's* pixels until it fits. For families that write pixels it writes the
# answer anew, for the smaller picture. What cannot fit is refused.

# %%
longest = max(rows, key=lambda row: row["width"] * row["height"])
whole = collators["V3"]([longest])
limit = whole["input_ids"].shape[1] - 5
shrunk = Qwen2VLCollatorV3(processor, codec, max_tokens=limit)([longest])
for name, batch in (("as it is", whole), (f"max_tokens={limit}", shrunk)):
    _, down, across = batch["image_grid_thw"][0].tolist()
    pixels = f"{across * 14}×{down * 14} pixels"
    print(f"{name:>14}: {batch['input_ids'].shape[1]} tokens, the picture at {pixels}")
refused(lambda: Qwen2VLCollatorV3(processor, codec, max_tokens=40)([longest]))

# %% [markdown]
# What do they cost? The collator runs for every batch, on the CPU, while a GPU waits. Look at V2, which
# pays twice, and at how much V3 gets back.


# %%
def milliseconds(collate, repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        collate(rows)
        times.append(1000 * (time.perf_counter() - started))
    return min(times)


costs = {name: milliseconds(collate) for name, collate in collators.items()}
figure = go.Figure(
    go.Bar(x=list(costs), y=[round(cost, 1) for cost in costs.values()], marker_color="#1f5fbf")
)
figure.update_layout(
    title=f"Milliseconds for a batch of {ROWS} rows", yaxis_title="ms", template="none", height=320
)
figure.show()

# %% [markdown]
# With photographs the share of resizing grows, which V2 does twice, and V1 and V3 once.
#
# ## 3 All words against answers only
#
# Two trainings from the same random weights, with the same rows, in the same order. Only the labels differ.
# The loss of one is no measure for the other: it is a mean over *other tokens*. So both are measured alike,
# by the loss on the answers, and by the boxes that they write.

# %%
answers_only = batches["V3"]
pictures = [few.rgb(row) for row in range(ROWS)]


def look(model) -> dict[str, float]:
    """Metrics of the boxes that a model writes for our pictures."""
    found = Detector(model, config).detect_all(pictures, categories=few.categories)
    return detection_values(
        DetectionSet(
            boxes=[one.boxes for one in found],
            labels=[one.labels for one in found],
            scores=None,
            true_boxes=few.boxes,
            true_labels=few.labels,
            units=range(ROWS),
            parsed=[one.problem is None for one in found],
        )
    )


def train_by_hand(mask: str) -> dict[str, list[float]]:
    """The whole of training: predict, compare, improve; what was measured on the way."""
    torch.manual_seed(config.seed)
    model = build_detection_model(config)  # the same weights each time: they follow from the seed
    batch = Qwen2VLCollatorV3(processor, codec, mask)(rows)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.optimization.lr, betas=(0.9, 0.95))
    warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10))
    course = {"step": [], "own loss": [], "loss on the answers": [], "IoU": []}
    for step in range(STEPS + 1):
        output = model(batch)
        loss = output.loss_sum / output.count
        if step % EVERY == 0:
            with torch.no_grad():
                measured = model(answers_only)
            course["step"].append(step)
            course["own loss"].append(loss.item())
            course["loss on the answers"].append((measured.loss_sum / measured.count).item())
            course["IoU"].append(look(model)["mean_iou"])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimization.max_grad_norm)
        optimizer.step()
        warmup.step()
    return course


courses = {mask: train_by_hand(mask) for mask in ("all_tokens", "assistant_only")}
table(
    ["step", *(f"{mask}: {name}" for mask in courses for name in ("own loss", "loss on the answers", "IoU"))],
    [
        [step]
        + [
            f"{course[name][place]:.3f}"
            for course in courses.values()
            for name in ("own loss", "loss on the answers", "IoU")
        ]
        for place, step in enumerate(courses["all_tokens"]["step"])
    ],
)

# %%
figure = go.Figure()
colours = {"all_tokens": "#D55E00", "assistant_only": "#0072B2"}
for mask, course in courses.items():
    for name, dash in (("own loss", "dot"), ("loss on the answers", "solid")):
        figure.add_scatter(
            x=course["step"],
            y=[round(value, 4) for value in course[name]],
            name=f"{mask}, {name}",
            line={"color": colours[mask], "dash": dash},
        )
figure.update_layout(xaxis_title="step", yaxis_title="loss", yaxis_type="log", template="none", height=380)
figure.show()

# %% [markdown]
# How to read it:
#
# - Look at the orange lines. The *dotted* one is what a training on all words shows you; the *solid* one is
#   what it knows of the answers. The dotted one lies below: the question is known by heart after a few
#   steps and pulls the mean down. Whoever looks at it believes more than is true.
# - Compare the two *solid* lines, and the IoU, at equal steps. That is the comparison of masks. With a
#   model that knows language already the question costs little of its ability, and the two may come out
#   close; with long questions and short answers they do not.
# - The IoU stays at 0 for a long time while the loss falls: first the model learns *how* answers look, then
#   *where* things are. An answer with three digits wrong is no box at all. So a loss alone is no evidence
#   that something was found.
#
# (These are pictures that were trained on. `edge-glass train configs/detection_all_tokens.yaml` and
# `…/detection_assistant_only.yaml` make the same comparison on others, with intervals.)
#
# ## 4 Our trainer, and TRL's
#
# The collators are plain functions from rows to tensors, so any trainer takes them. Here are the same weights
# and the same rows twice: once in `edge_glass.train`, once in `SFTTrainer` of
# [TRL](https://huggingface.co/docs/trl/sft_trainer). Every step sees all rows, so their order cannot matter.

# %%
own_rows = len(tables["train"])
SHARED_STEPS = 8 if TINY else 30
run_config = edge_glass.load_config(
    file,
    [
        *overrides,
        f"dataset.batch_size={own_rows}",
        "training.gradient_accumulation_steps=1",
        *(f"training.{name}={SHARED_STEPS}" for name in ("epochs", "eval_epochs")),
        *("training.logging_steps=1", "optimization.schedule=constant", "optimization.warmup_ratio=0"),
        *("optimization.weight_decay=0", "evaluation.validation_rows=8", "evaluation.test_rows=8"),
        *("generation.max_new_tokens=32", f"detection.iou_steps={SHARED_STEPS // 2}"),
    ],
    tiny=TINY,
)
run = edge_glass.train(run_config, output=WORK / "run", progress=False)
lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
ours = [line["train/loss"] for line in lines if "train/loss" in line]
print(sorted(path.name for path in run.folder.iterdir()))

# %% [markdown]
# For TRL the rows come as a `datasets.Dataset`, as they would from a hub. What runs *once* is written once:
# rows without a picture are filtered out, and each example becomes a conversation. What runs for *every
# batch* is the collator, which puts the pictures back.

# %%
train_table = tables["train"]
examples = [train_table.example(row) | {"image": train_table.rgb(row)} for row in range(own_rows)]
for example in examples:
    example["boxes"] = example["boxes"].tolist()
stored = datasets.Dataset.from_list(examples).cast_column("image", datasets.Image())
prompt = config.detection.prompt.replace("{categories}", ", ".join(train_table.categories))
written = stored.filter(_has_image).map(
    partial(convert_to_conversation_format, codec=codec, prompt=prompt), keep_in_memory=True
)
print(written)

# %% [markdown]
# Three options keep TRL from preparing the rows a second time: no `max_length` (it cuts), all columns stay,
# and `skip_prepare_dataset`. The rest is the same as above: AdamW, learning rate, clipping.

# %%
plain = build_detection_model(run_config).vlm  # the transformers model, without anything of ours around it
optimization = run_config.optimization
trainer = SFTTrainer(
    model=plain,
    processing_class=processor,
    train_dataset=written,
    data_collator=Qwen2VLCollatorV3(processor, codec),
    args=SFTConfig(
        output_dir=str(WORK / "sft"),
        max_steps=SHARED_STEPS,
        per_device_train_batch_size=own_rows,
        max_length=None,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        learning_rate=optimization.lr,
        adam_beta1=optimization.betas[0],
        adam_beta2=optimization.betas[1],
        max_grad_norm=optimization.max_grad_norm,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
    ),
)
trainer.remove_callback(PrinterCallback)
trainer.train()
theirs = [line["loss"] for line in trainer.state.log_history if "loss" in line]

# %% [markdown]
# Look whether the two lines are one. If they were not, one of the trainers would do something that it does
# not say: another mean over tokens, other labels, a dtype that changed.

# %%
table(
    ["step", *range(1, SHARED_STEPS + 1)],
    [
        ["`edge_glass.train`", *(f"{loss:.4f}" for loss in ours)],
        ["`SFTTrainer`", *(f"{loss:.4f}" for loss in theirs)],
    ],
)
print(f"largest difference: {np.abs(np.array(ours) - np.array(theirs)).max():.1e}")

# %% [markdown]
# The same numbers; so what does our own add?
#
# - It measures the *untouched* model first, and ends with a verdict against it.
# - It writes the gradient norm of each component and looks after step 1 that everything that is trained has
#   a gradient, and nothing else. (`GradNormCallback` and `IoUEvalCallback` work in TRL's trainer too.)
# - A run that was interrupted resumes to equal weights.
# - It needs less memory: the *head*, which gives a number to each word of the vocabulary, runs on trained
#   tokens only. Look what that means for the vocabulary of Qwen2-VL and four photographs:

# %%
verdict = run.results["verdict"]
print(
    f"after {SHARED_STEPS} steps, against the untouched model: {verdict['status']} "
    f"({verdict['metric']} {verdict['difference']:+.3f} [{verdict['low']:+.3f}, {verdict['high']:+.3f}])"
)
gradients = {name: value for name, value in lines[1].items() if "grad_norm/" in name}
table(["gradient norm, early", *gradients], [["", *(f"{value:.3f}" for value in gradients.values())]])
VOCABULARY, LENGTH, ANSWER, PHOTOGRAPHS = 151_936, 1400, 35, 4
table(
    ["the head runs on", "logits", "as float32"],
    [
        [name, f"{count:,}", f"{count * 4 / 2**30:.2f} GiB"]
        for name, count in (
            ("all tokens of four rows", PHOTOGRAPHS * LENGTH * VOCABULARY),
            ("the trained ones", PHOTOGRAPHS * ANSWER * VOCABULARY),
        )
    ],
)

# %% [markdown]
# The gradients of all steps: look for a component that stays at the bottom. It is not learning.

# %%
path = edge_glass.TrainingVisualizer(run.folder).plot_gradient_norms()
if path is not None:
    plot = Image.open(path).convert("RGB")
    plot.thumbnail((800, 800))
    display(plot.quantize(32))

# %% [markdown]
# ## Questions
#
# 1. A colleague's loss is 0.02 after one epoch and no answer is a box. Which tokens are in the mean?
# 2. Why does it not suffice to mask the token *with the id of the padding*? (Some tokenizers pad with the end
#    token.)
# 3. V2 finds the answer by comparing prefixes. When would a search for the word “assistant” go wrong?
# 4. Why must the answer of Qwen2.5-VL be written anew when its picture is shrunk, and that of Qwen2-VL not?
# 5. The two trainers agreed to several digits. Which differences would you expect with dropout, or on a GPU?
#
# ## Exercises
#
# 1. **Another family.** `vlm.family=qwen2_5_vl` and `qwen3_vl`: what changes in the tokens of section 2?
# 2. **Box tokens.** `detection.box_format=tokens`: fewer trained tokens per box. Is the IoU there sooner?
# 3. **Untrained end.** Set the label of the last token of each answer to −100, leave the check out, and
#    train. What do the answers look like?
# 4. **A longer question.** Make the prompt three times as long and compare the masks again.
# 5. **Look at your own rows** before an hour is spent on training:
#    `edge-glass inspect configs/detection_assistant_only.yaml -n 8`, then `edge-glass overfit … -n 8`.

# %%
if TINY:
    scratch.cleanup()
else:
    print("the run of this lesson, with its report.html, is in", WORK)
