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
# # Fine-tuning a vision-language model for object detection, from end to end
#
# One story in one notebook: photographs of packages, a model that is to find the nutrition table on them,
# and the question that decides everything: *is the tuned model better than the untouched one?* Read it from
# top to bottom; nothing is hidden in between. Lessons 1 to 4 (`detection_01` … `detection_04`) go deeper
# into each step.
#
# ```
# rows with boxes ─→ conversations ─→ collator ─→ model + LoRA ─→ trained ─→ merged, plain
#      (once)            (once)      (each batch)       │             │
#                                                       └─ measured ──┴─→ verdict
# ```
#
# With the environment variable `EDGE_GLASS_TINY=1` it runs in seconds on one core, without downloads:
# packages are rendered, and the model is of the real Qwen2-VL class but toy-sized. **The outputs stored in
# this file come from that form.** Without it, Qwen2-VL-2B is tuned on the real photographs of OpenFoodFacts;
# that needs a GPU (16 GB should do; not measured) and a model hub. The code is the same, line by line. The
# last section says what to change for the 7B model.

# %%
import os

TINY = os.environ.get("EDGE_GLASS_TINY", "") == "1"

# %%
import json
import logging
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pyarrow.parquet as pq
import torch
from IPython.display import Markdown, display
from PIL import Image, ImageDraw

warnings.filterwarnings("ignore")  # of libraries; tqdm would like ipywidgets, for one

import datasets
import transformers
from transformers import AutoModelForImageTextToText, AutoProcessor, PrinterCallback
from trl import SFTConfig, SFTTrainer

import edge_glass
from edge_glass import (
    GradNormCallback,
    IoUEvalCallback,
    Qwen2VLCollatorV3,
    convert_to_conversation_format,
    find_available_gpus,
    parse_qwen_bbox_output,
    restore_images_in_conversations,
    run_qwen2vl_inference,
    visualize_bbox_on_image,
)
from edge_glass.config.sections.detection import LORA_PRESETS, VlmSizeConfig
from edge_glass.data.labels import NOT_TRAINED
from edge_glass.detection.boxes.codec import box_codec, seen_size
from edge_glass.detection.collators import planned_size, prompt_batch, token_counts
from edge_glass.detection.data.conversations import _has_image
from edge_glass.detection.data.generated import generated_scenes
from edge_glass.detection.data.splits import load_scenes
from edge_glass.detection.data.table import DetectionDataset
from edge_glass.detection.iou_callback import within
from edge_glass.detection.measure.metrics import (
    DetectionSet,
    detection_values,
    estimate_detections,
    picture_scores,
)
from edge_glass.detection.use.detect import Detector
from edge_glass.evaluation.verdict import compare
from edge_glass.vlm.family import build_processor, build_vlm, load_family
from edge_glass.vlm.loading import load_vlm
from edge_glass.vlm.model import DetectionModel, as_detection_model
from edge_glass.vlm.pixel_budget import set_pixel_budget
from edge_glass_scenes.nutrition_scenes import build_nutrition_scenes

logging.getLogger("transformers").setLevel(logging.ERROR)
transformers.utils.logging.disable_progress_bar()
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
    WORK = Path("runs") / time.strftime("fine-tuning-%Y%m%d-%H%M%S")
    WORK.mkdir()


# %%
def table(header: list[str], rows: list[list]) -> None:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    display(Markdown("\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)))


def show_pictures(
    pictures: list[Image.Image], titles: list[str], columns: int = 6, height: int = 190
) -> None:
    """Pictures with a line above each, in few colours, which keeps the stored outputs small."""
    scales = [min(height / one.height, 1.3 * height / one.width) for one in pictures]
    scaled = [
        one.resize((round(one.width * scale), round(one.height * scale)))
        for one, scale in zip(pictures, scales, strict=True)
    ]
    cell = max(one.width for one in scaled) + 10, height + 18
    columns = min(columns, len(scaled))
    sheet = Image.new("RGB", (cell[0] * columns, cell[1] * -(-len(scaled) // columns)), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (one, title) in enumerate(zip(scaled, titles, strict=True)):
        corner = cell[0] * (place % columns), cell[1] * (place // columns)
        draw.text((corner[0] + 2, corner[1] + 2), title, fill="black")
        sheet.paste(one, (corner[0] + 2, corner[1] + 16))
    display(sheet.quantize(64, method=Image.Quantize.MAXCOVERAGE, kmeans=1))


# %% [markdown]
# ## 1 Where it runs
#
# Look for free GPUs first. With several, start the notebook with `CUDA_VISIBLE_DEVICES` set to one of them;
# `edge-glass train` can use all.

# %%
gpus = find_available_gpus(min_free_gb=14)
print("GPUs with room:", gpus or "none; the tiny form needs none")
device = torch.device("cuda" if gpus and not TINY else "cpu")

# %% [markdown]
# ## 2 The data
#
# [OpenFoodFacts](https://huggingface.co/datasets/openfoodfacts/nutrition-table-detection) publishes 1,200
# photographs with the place of the nutrition table. We render packages *in the same schema*, so that the
# same code reads both. Look at `bbox`: the order is y before x, and the numbers are shares of the sides. A
# reader who takes them for x, y teaches his model nonsense, without any error.

# %%
if TINY:
    sources = build_nutrition_scenes(WORK / "scenes", rows=32, progress=False)
    raw = pq.read_table(sources["train"]).slice(0, 1).to_pylist()[0]
    raw["image"]["bytes"] = f"<{len(raw['image']['bytes']):,} bytes>"
    print(json.dumps(raw, indent=1))
    data = [f"dataset.{split}={path}" for split, path in sources.items()]
else:  # validation is theirs; a test split is taken off by barcode
    data = ["dataset.train=openfoodfacts/nutrition-table-detection", "dataset.val=null", "dataset.test=null"]

# %% [markdown]
# ## 3 The model that we start from
#
# A fine-tuning starts from a model that can already do something. In the tiny form there is none, so the
# next cell makes a stand-in, in half a minute at most: a random model of the real class, taught to point at
# drawn shapes in the format of Qwen's answers. It has never seen a package. **With a real model, leave
# this cell out**; all that follows takes the name of a folder or of a hub.

# %%
PROMPT = (
    "Locate every instance that belongs to the following categories: '{categories}'. "
    "Report bbox coordinates in JSON format."
)


def train_a_stand_in(folder: Path) -> Path:
    processor = build_processor("qwen2_vl", min_pixels=12544, max_pixels=12544)
    size = VlmSizeConfig(width=64, layers=2, heads=2, vision_width=64, vision_layers=2, vision_heads=2)
    model = DetectionModel(build_vlm("qwen2_vl", size, processor, seed=0), processor, mode="full")
    shapes = generated_scenes()["train"].select(range(0, 24, 2))
    shapes = replace(shapes, labels=[("nutrition-table",) for _ in shapes.labels])
    rows = DetectionDataset(shapes, box_codec("qwen2_vl"), PROMPT.replace("{categories}", "nutrition-table"))
    batch = Qwen2VLCollatorV3(processor, box_codec("qwen2_vl"))([rows[row] for row in range(len(rows))])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95))
    for step in range(90):
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1.0, (step + 1) / 10)
        output = model(batch)
        optimizer.zero_grad()
        (output.loss_sum / output.count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.vlm.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


torch.manual_seed(0)
MODEL = train_a_stand_in(WORK / "stand-in") if TINY else "Qwen/Qwen2-VL-2B-Instruct"
print(MODEL.name if TINY else MODEL)

# %% [markdown]
# One file holds all settings, and what we say here wins. Every key is explained in `configs/schema.json`.

# %%
overrides = [f"vlm.source={MODEL}", "vlm.quantization=none", *data]
if TINY:
    overrides += ["vlm.dtype=float32", "vlm.gradient_checkpointing=false", "training.device=cpu"]
    overrides += ["vlm.min_pixels=12544", "vlm.max_pixels=12544"]  # 16 tokens a picture
    overrides += [
        "vlm.lora.projector=[all-linear]",
        "vlm.lora.vision=[attention,mlp]",
        "optimization.lr=5e-3",
    ]
    overrides += ["generation.max_new_tokens=64"]
config = edge_glass.load_config("configs/detection_assistant_only.yaml", overrides)
model, processor = load_vlm(config)
model = model.to(device)
codec = box_codec(config.vlm.family)
print(type(model).__name__, type(processor).__name__, f"{model.num_parameters():,} parameters")

# %% [markdown]
# ### The pixel budget
#
# The model does not see your photograph. It sees a *resized* one whose sides are multiples of 28 and whose
# area lies between two limits; every 28×28 pixels are one token. The limits are set **once**, on the
# processor, and belong to the model from then on: trained with one budget and used with another, boxes go
# wrong. Compare the rows: what you pay in tokens, and whether small print would still be there.

# %%
for most in (12_544, 100_352, 1_003_520):
    trial = build_processor("qwen2_vl")
    budget = set_pixel_budget(trial, 3136, most, "qwen2_vl")
    width, height = planned_size(trial, 2592, 1944)
    tokens = token_counts([(2592, 1944)], trial)[0]
    print(f"max_pixels {most:>9,}: a photograph of 2592×1944 is seen at {width}×{height}, {tokens:,} tokens")
limits = processor.image_processor.size
print("ours:", limits["shortest_edge"], "to", limits["longest_edge"])

# %% [markdown]
# ## 4 Rows with boxes
#
# Reading turns every source into the same table: boxes are x1 y1 x2 y2 in pixels of the upright picture, and
# what cannot be used is named and counted. Pictures of one product are never on two sides of a split. On
# the way the edges of boxes are compared with the edges in the pictures; swapped axes would be refused here.

# %%
tables = load_scenes(config)
train, val, test = (tables[name] for name in ("train", "val", "test"))
categories = train.categories
table(
    ["split", "pictures", "products", "boxes", "left out"],
    [
        [name, len(one), len(set(one.groups)), sum(map(len, one.boxes)), len(one.rejected)]
        for name, one in tables.items()
    ],
)
show_pictures(
    [visualize_bbox_on_image(train.rgb(row), None, truth=train.boxes[row]) for row in range(5)],
    [f"{train.sizes[row][0]} x {train.sizes[row][1]}" for row in range(5)],
)

# %% [markdown]
# ## 5 What can the untouched model do?
#
# Ask it *before* training; without this number there is no “better”. The answer is text. The parser reads
# the boxes out of it and says so when it cannot; the codec turns the numbers (thousandths of the sides) into
# pixels. Look whether the format is right, and whether the place is.

# %%
question = PROMPT.replace("{categories}", ", ".join(categories))
picture = train.rgb(0)
answer = run_qwen2vl_inference(model, processor, picture, question, max_new_tokens=64)
read = parse_qwen_bbox_output(answer)
seen = planned_size(processor, *picture.size)
boxes = codec.decode(read.numbers, picture.size, seen)
print("answer: ", answer)
print("read:   ", read.numbers.tolist(), read.labels, "problem:", read.problem)
print("pixels: ", boxes.round().tolist(), "of", picture.size)
show_pictures([visualize_bbox_on_image(picture, boxes, truth=train.boxes[0])], ["true: blue, found: orange"])

# %% [markdown]
# Now all of them, in batches. In the tiny form training will use the first few pictures only, and we
# measure on these (*seen*) and on those of test and validation (*new*), and keep the two apart.

# %%
ROWS = 8 if TINY else len(train)
seen_rows = train.select(range(min(ROWS, 64)))
parts = {
    "seen": [(seen_rows, row) for row in range(len(seen_rows))],
    "new": [(one, row) for one in (test, val) for row in range(len(one))],
}


def detect(detector: DetectionModel, rows: list) -> DetectionSet:
    """What a model finds on these pictures, beside what is there."""
    pictures = (one.rgb(row) for one, row in rows)
    with torch.autocast(device.type, torch.bfloat16, enabled=not TINY):  # as in training
        found = Detector(detector, config).detect_all(pictures, batch_size=8, categories=categories)
    return DetectionSet(
        boxes=[one.boxes for one in found],
        labels=[one.labels for one in found],
        scores=[np.array(one.scores) for one in found],
        true_boxes=[one.boxes[row] for one, row in rows],
        true_labels=[one.labels[row] for one, row in rows],
        units=list(np.unique([one.groups[row] for one, row in rows], return_inverse=True)[1]),
        parsed=[one.problem is None or bool(one.labels) for one in found],
        ended=[not one.cut_off for one in found],
        dropped=[one.dropped for one in found],
    )


plain = DetectionModel(model, processor, mode="frozen")
before = {name: detect(plain, rows) for name, rows in parts.items()}
for name, one in before.items():
    values = detection_values(one)
    print(name, {key: round(values[key], 3) for key in ("mean_iou", "f1_50", "unparsable")})

# %% [markdown]
# ## 6 Conversations: once
#
# What the model is to learn is a dialogue: the user shows a picture and asks, the assistant answers with
# boxes. `convert_to_conversation_format` writes it, once per row. Pictures do not belong into JSON, so only a
# placeholder stands there. Rows without a picture (real sets have some; we add one) are filtered out first.

# %%
examples = [train.example(row) | {"image": train.rgb(row)} for row in range(ROWS)]
examples = [example | {"boxes": example["boxes"].tolist()} for example in examples]
examples.append(examples[0] | {"id": "broken", "image": None})
stored = datasets.Dataset.from_list(examples).cast_column("image", datasets.Image())
kept = stored.filter(_has_image)
print(f"{len(stored)} rows, {len(stored) - len(kept)} without a picture")
conversations = kept.map(
    partial(convert_to_conversation_format, codec=codec, prompt=question), keep_in_memory=True
)
print(json.dumps(conversations[0]["messages"], indent=1))

# %% [markdown]
# ## 7 Pictures back in their places: every batch
#
# The chat template wants real pictures. `restore_images_in_conversations` puts them where the placeholders
# stand, and nothing else into any part. That matters: tables often give all parts of a list the same keys, so
# that a stored conversation comes back as below, with `None`s. A template that asks “is there a key `image`?”
# then sees two pictures, and one that writes the text of every part writes “None”.

# %%
stored_as = [
    {"role": turn["role"], "content": [{"image": None, "text": None} | part for part in turn["content"]]}
    for turn in conversations[0]["messages"]
]
restored = restore_images_in_conversations([stored_as], [[conversations[0]["image"]]])
for name, one in (("stored", stored_as), ("restored", restored[0])):
    for part in one[0]["content"]:
        print(f"{name:>8}:", {key: getattr(value, "size", value) for key, value in part.items()})
print(processor.apply_chat_template(restored[0], tokenize=False))

# %% [markdown]
# ## 8 The batch
#
# The collator makes tensors of it, puts in as many picture tokens as the resize gives, and says which tokens
# are **trained**: the answer with the token that ends it, nothing else. Before it hands a batch out, it
# reads the boxes back from the labels. Check by eye:

# %%
collator = Qwen2VLCollatorV3(processor, codec)
batch = collator([conversations[row] for row in range(4)])
table(["tensor", "shape"], [[f"`{name}`", tuple(value.shape)] for name, value in batch.items()])
trained = batch["labels"][0] != NOT_TRAINED
print("trained:", repr(processor.tokenizer.decode(batch["input_ids"][0][trained])))
picture_size = seen_size(batch["image_grid_thw"][0], processor.image_processor.patch_size)
print("seen at:", picture_size, "tokens:", Counter(batch["input_ids"][0].tolist())[processor.image_token_id])
prompts = prompt_batch(processor, [conversations[row] for row in range(4)])
print("the prompt ends with:", repr(processor.tokenizer.decode(prompts["input_ids"][0][-3:])))

# %% [markdown]
# ## 9 LoRA
#
# The weights stay frozen; beside each chosen layer two narrow matrices are trained, whose product is added.
# At the start it is zero, so that nothing changes before the first step. Where to put them is a choice:

# %%
for name, preset in LORA_PRESETS.items():
    print(name, preset)
detector = as_detection_model(model, processor, config)
print(detector.print_parameter_counts())
with torch.no_grad():
    same = detect(detector, parts["seen"][:2])
print("unchanged before the first step:", all(map(np.array_equal, same.boxes, before["seen"].boxes)))

# %% [markdown]
# ## 10 Training
#
# Any trainer will do; here it is TRL's `SFTTrainer`, told to leave the rows alone. Two callbacks watch:
#
# - `GradNormCallback` logs how large the gradient of each component is. A component at 0 is not learning.
# - `IoUEvalCallback` lets the model *write* boxes in between, within a time budget. A falling loss does not
#   say that boxes are found.


# %%
def measure(_, seconds: float) -> dict[str, float]:
    """As many pictures as fit into the time."""
    rows = parts["seen"][:8]
    done = [row for part in within([rows[:4], rows[4:]], seconds) for row in part]
    values = detection_values(detect(detector, done))
    return {"mean_iou": values["mean_iou"], "unparsable": values["unparsable"]}


STEPS = 60 if TINY else 400
trainer = SFTTrainer(
    model=detector.vlm,
    processing_class=processor,
    train_dataset=conversations,
    data_collator=collator,
    callbacks=[
        GradNormCallback(load_family("qwen2_vl").component_of),
        IoUEvalCallback(measure, every_steps=STEPS // 6, seconds=30),
    ],
    args=SFTConfig(
        output_dir=str(WORK / "checkpoints"),
        max_steps=STEPS,
        per_device_train_batch_size=8 if TINY else 2,
        gradient_accumulation_steps=1 if TINY else 8,
        learning_rate=config.optimization.lr,
        warmup_steps=STEPS // 10,
        lr_scheduler_type="cosine",
        max_grad_norm=1.0,
        logging_steps=2 if TINY else 10,
        max_length=None,  # never cut a row
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        gradient_checkpointing=False,  # load_vlm's own setting counts: vlm.gradient_checkpointing
        bf16=not TINY,
        use_cpu=device.type == "cpu",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    ),
)
trainer.remove_callback(PrinterCallback)
trainer.train()
detector.eval()
history = [line for line in trainer.state.log_history if "loss" in line]
print(f"loss {history[0]['loss']:.3f} → {history[-1]['loss']:.3f}")

# %% [markdown]
# Look at three things: does the loss fall, does the IoU rise, and has every trained component a gradient?

# %%
figure = go.Figure()
steps = [line["step"] for line in history]
figure.add_scatter(x=steps, y=[round(line["loss"], 4) for line in history], name="loss")
measured = [line for line in history if "val_iou/mean_iou" in line]
figure.add_scatter(
    x=[line["step"] for line in measured],
    y=[round(line["val_iou/mean_iou"], 3) for line in measured],
    name="mean IoU",
    yaxis="y2",
    mode="lines+markers",
)
for name in sorted({name for line in history for name in line if name.startswith("grad_norm/")}):
    figure.add_scatter(
        x=steps, y=[round(line.get(name, 0.0), 4) for line in history], name=name, line={"dash": "dot"}
    )
figure.update_layout(
    xaxis_title="step", yaxis={"title": "loss, gradient norms", "type": "log"}, template="none", height=400,
    yaxis2={"title": "mean IoU", "overlaying": "y", "side": "right", "range": [0, 1], "showgrid": False},
)  # fmt: skip
figure.show()

# %% [markdown]
# ## 11 Better than before?
#
# The same pictures, the same question, and a *paired* comparison: the interval is that of the difference.
# Read the two lines apart. On *seen* pictures a rise shows that data, labels, training and reading fit
# together. Only *new* pictures say whether something was learned about nutrition tables; from eight pictures
# a toy learns nothing of the kind, and the verdict must not pretend that it did.

# %%
after = {name: detect(detector, rows) for name, rows in parts.items()}
lines = []
for name in parts:
    estimates = [estimate_detections(one[name], samples=1000) for one in (before, after)]
    verdict = compare("mean_iou", estimates[1], estimates[0])
    shown = [one["mean_iou"].interval() for one in estimates]
    lines.append(
        [
            f"{name} ({len(parts[name])})",
            *(f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]" for one in shown),
            f"{verdict.difference:+.3f} [{verdict.low:+.3f}, {verdict.high:+.3f}]",
            f"**{verdict.status}**",
        ]
    )
table(["pictures", "untouched", "trained", "difference in mean IoU", "verdict"], lines)
names = ("precision_50", "recall_50", "f1_50", "f1_75", "unparsable", "boxes_per_picture")
columns = {
    f"{name}, {when}": detection_values(one[name])
    for name in parts
    for when, one in (("before", before), ("after", after))
}
table(["metric", *columns], [[name, *(f"{one[name]:.3f}" for one in columns.values())] for name in names])

# %% [markdown]
# Never end with a number. The worst pictures of each kind come first; blue is true, orange is found.

# %%
for name, rows in parts.items():
    scores = picture_scores(after[name])
    worst = np.argsort(scores, kind="stable")[:5]
    drawn = []
    for at in worst:
        one, row = rows[at]
        drawn.append(visualize_bbox_on_image(one.rgb(row), after[name].boxes[at], truth=one.boxes[row]))
    show_pictures(drawn, [f"{name}, IoU {scores[at]:.2f}" for at in worst])

# %% [markdown]
# ## 12 Merge, and leave
#
# Adapters can be added to the weights for good. What comes out is a plain model of transformers that needs
# neither LoRA nor this package. Merging is refused when it changes the logits; and the folder is only
# believed when it gives the same answers.

# %%
asked = [rows[0][0].rgb(rows[0][1]) for rows in parts.values()]
unmerged = [run_qwen2vl_inference(detector, processor, one, question, max_new_tokens=64) for one in asked]
difference = detector.merge(bound=1e-3 if TINY else 5e-2)
detector.vlm.save_pretrained(WORK / "merged")
processor.save_pretrained(WORK / "merged")
print(f"logits differ by {difference:.1e} of the largest")
print(sorted(path.name for path in (WORK / "merged").iterdir()))

# %%
loaded = AutoModelForImageTextToText.from_pretrained(WORK / "merged", dtype="auto").to(device)
own_processor = AutoProcessor.from_pretrained(WORK / "merged")
limits = own_processor.image_processor.size
print("pixel budget, as trained:", limits["shortest_edge"], "to", limits["longest_edge"])
for one, text in zip(asked, unmerged, strict=True):
    again = run_qwen2vl_inference(loaded, own_processor, one, question, max_new_tokens=64)
    print("equal:", again == text, again)

# %% [markdown]
# ## 13 With a real model and real photographs
#
# Run this notebook without `EDGE_GLASS_TINY`, on a machine with a GPU and access to a hub. What changes:
#
# | | here, tiny | Qwen2-VL-2B, as written above | Qwen2-VL-7B |
# |---|---|---|---|
# | `MODEL` | the stand-in | `Qwen/Qwen2-VL-2B-Instruct` | `Qwen/Qwen2-VL-7B-Instruct` |
# | weights | 2 MB | about 4.4 GB in bfloat16 | about 16 GB in bfloat16; `vlm.quantization=4bit`: 6 GB |
# | `vlm.max_pixels` | 12,544 | 1,003,520, from the file | the same; less where memory is short |
# | data | rendered | `openfoodfacts/nutrition-table-detection` | the same |
# | `STEPS`, learning rate | 60, 5e-3 | 400, 1e-4 | 400, 1e-4 |
# | LoRA | everywhere | attention and MLP of the language model | `vlm.lora.preset=lightweight` first |
#
# (Sizes of weights are counted, not measured.) Quantised weights cannot be merged as they are; `edge-glass
# merge` loads the base again without quantisation. Pictures of your own: `dataset.train=coco:FILE.json`,
# `yolo:data.yaml` or `voc:FOLDER`. Another family, such as Qwen2.5-VL, writes *pixels of the resized
# picture*: set `vlm.family`, and give `seen=planned_size(…)` to `convert_to_conversation_format`.
#
# The same story from the command line, with checkpoints, resuming and a report:
#
# ```
# edge-glass data build nutrition-scenes --rows 2000
# edge-glass inspect configs/detection_assistant_only.yaml -n 8     # look before you train
# edge-glass overfit configs/detection_assistant_only.yaml -n 8     # can it learn anything at all?
# edge-glass train configs/detection_assistant_only.yaml
# edge-glass evaluate runs/detection_assistant_only
# edge-glass detect runs/detection_assistant_only product.jpg --save out.png
# edge-glass merge runs/detection_assistant_only
# ```
#
# ## If the tuned model is worse than the untouched one
#
# 1. Draw the boxes **read back from the labels** onto the picture *as the model sees it* (`inspect`). Wrong
#    place: the box order, or another resize.
# 2. Look at the colours of the tokens. Trained prompt: the wrong mask. No trained end: it never stops.
# 3. Learn eight pictures by heart (`overfit`). If that fails, more data will not help.
# 4. Count unreadable answers before you look at the IoU.
# 5. Load what you saved and compare answers. Adapters that are not loaded raise no error in many libraries.
# 6. Then, and only then, turn at the learning rate.

# %%
if TINY:
    scratch.cleanup()
else:
    print("the merged model is in", WORK / "merged")
