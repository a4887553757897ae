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
# # Detection 2: what is in the model, and what goes through it
#
# Qwen's vision-language models find things by *writing*: they are shown a picture, asked where the nutrition
# table is, and answer with four numbers, digit by digit. To train such a model one has to know what it is
# given and what its numbers mean. We take three families apart:
# [Qwen2-VL](https://arxiv.org/abs/2409.12191), [Qwen2.5-VL](https://arxiv.org/abs/2502.13923) and
# [Qwen3-VL](https://arxiv.org/abs/2511.21631).
#
# ```
# picture → patches → vision tower → projector ─┐
#                                               ├→ language model → head → the next token
# question → tokens → embedding ────────────────┘
# ```
#
# Nothing is downloaded. The models here are of the *real classes*, with real special tokens, chat format and
# picture processing, but small and with random weights: their parts are right, their answers are noise. If
# you have the weights, put their name into `SOURCE` and run everything with them.
#
# With the environment variable `EDGE_GLASS_TINY=1` the models are toys (seconds); without it they are a
# little larger. **The outputs stored in this file come from the tiny form.**

# %%
import os

TINY = os.environ.get("EDGE_GLASS_TINY", "") == "1"
SOURCE: str | None = None  # such as "Qwen/Qwen2-VL-2B-Instruct", or a folder: Qwen2-VL is read from there

# %%
import html
import io
import math
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pyarrow as pa
import torch
from IPython.display import HTML, Markdown, display
from IPython.display import Image as Shown
from PIL import Image

warnings.filterwarnings(
    "ignore", message="IProgress not found"
)  # tqdm would like ipywidgets; we do not need it

from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

from edge_glass import (
    calculate_iou,
    convert_to_conversation_format,
    parse_qwen_bbox_output,
    restore_images_in_conversations,
    run_qwen2vl_inference,
    visualize_bbox_on_image,
)
from edge_glass.config.schema import ExperimentConfig
from edge_glass.config.sections.detection import VlmSizeConfig
from edge_glass.core.errors import DataError
from edge_glass.core.parameters import format_parameter_table
from edge_glass.data.pictures import decode_image
from edge_glass.detection.boxes.codec import SeenSize, box_codec, seen_size
from edge_glass.detection.collators import Qwen2VLCollatorV2, prompt_batch
from edge_glass.detection.collators.sizes import planned_size
from edge_glass.detection.report.inspected_rows import seen_picture
from edge_glass.vlm.components import components, count_components
from edge_glass.vlm.family import build_processor, build_vlm, load_family
from edge_glass.vlm.inputs import rope_positions
from edge_glass.vlm.loading import load_vlm
from edge_glass.vlm.qwen import SPECIAL_TOKENS
from edge_glass_scenes.packages.product import draw_product

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
ROOT = next(folder for folder in [Path.cwd(), *Path.cwd().parents] if (folder / "configs").is_dir())
os.chdir(ROOT)
if TINY:
    pio.renderers.default = "plotly_mimetype"  # keeps 5 MB of JavaScript out of the stored outputs

BLUE, ORANGE, GREEN, GREY = "#1C7ED6", "#F76707", "#2B8A3E", "#868E96"


# %%
def show(figure, kind: str = "png") -> None:
    """A figure of matplotlib in the page; `jpeg` keeps photographs small."""
    buffer = io.BytesIO()
    options = {"pil_kwargs": {"quality": 68}} if kind == "jpeg" else {}
    figure.savefig(buffer, format=kind, bbox_inches="tight", dpi=72, **options)
    plt.close(figure)
    display(Shown(data=buffer.getvalue(), format=kind))


def pictures(images: list, titles: list[str], width: float = 3.2, height: float = 4.2) -> None:
    """Pictures side by side."""
    figure, axes = plt.subplots(1, len(images), figsize=(width * len(images), height), squeeze=False)
    for axis, image, title in zip(axes[0], images, titles, strict=True):
        axis.imshow(image)
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    show(figure, "jpeg")


def table(header: list[str], rows: list[list]) -> None:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    texts = (" | ".join(str(cell).replace("|", "\\|") for cell in line) for line in lines)
    display(Markdown("\n".join(f"| {text} |" for text in texts)))


def chips(pieces: list[str], colour: str = "#e4e7eb") -> None:
    """Tokens as boxes; `·` is a blank, `⏎` a new line."""
    style = f"display:inline-block;margin:1px;padding:1px 4px;background:{colour};color:#22262b;"
    texts = (html.escape(piece.replace(" ", "·").replace("\n", "⏎")) for piece in pieces)
    spans = (f"<code style='{style}'>{text}</code>" for text in texts)
    display(HTML(" ".join(spans)))


# %% [markdown]
# One rendered package with two nutrition tables goes through the whole lesson. Its boxes are known: x1, y1,
# x2, y2 in pixels.

# %%
scene = draw_product(1, 3).picture(0)
picture = decode_image(scene.data)
example = {
    "id": "package",
    "boxes": np.array(scene.boxes),
    "labels": ["nutrition-table"] * len(scene.boxes),
    "width": picture.width,
    "height": picture.height,
}
source = picture.size
drawn = visualize_bbox_on_image(picture, None, truth=example["boxes"], line_width=3)
pictures([drawn], [f"{source[0]}×{source[1]} pixels"])
print(example["boxes"].round(1))

# %% [markdown]
# ## 1 The parts
#
# For each family a *processor* (it makes numbers of pictures and texts) and a model. `MAX_PIXELS` is the
# pixel budget: larger pictures are shrunk to that area.

# %%
MAX_PIXELS = 64 * 28 * 28 if TINY else 256 * 28 * 28
size = VlmSizeConfig(width=48, layers=2, heads=4, vision_width=32, vision_layers=3, vision_heads=2)
if not TINY:
    size = VlmSizeConfig()
processors = {family: build_processor(family, 3136, MAX_PIXELS) for family in FAMILIES}
models = {family: build_vlm(family, size, processors[family], seed=0).eval() for family in FAMILIES}
if SOURCE is not None:
    section = {"family": "qwen2_vl", "source": SOURCE, "max_pixels": MAX_PIXELS}
    chosen = ExperimentConfig.model_validate({"name": "lesson", "task": "detection", "vlm": section})
    models["qwen2_vl"], processors["qwen2_vl"] = load_vlm(chosen)
    models["qwen2_vl"].eval()
print([type(model).__name__ for model in models.values()])

# %% [markdown]
# **Look where the `merger` stands**: inside the vision tower, as far as names go. But it is what joins vision
# to words: the *projector*. Whoever freezes everything called `visual` freezes it, too; whoever puts adapters
# on everything called `mlp` adapts it without wanting to. So parts are told apart explicitly.

# %%
parts = {family: components(model, family) for family, model in models.items()}
table(["component", *FAMILIES], [
    [part, *(", ".join(name.removeprefix("model.") for name in parts[family][part]) for family in FAMILIES)]
    for part in ("vision", "projector", "llm", "head")
])  # fmt: skip

# %% [markdown]
# How the families differ. **Look at the last two rows**: they decide what a box of theirs means, and are the
# reason why labels of one family are wrong for another.


# %%
def facts(family: str) -> list:
    """What a family does its own way, from the configuration of its model."""
    vision = models[family].config.vision_config
    windows, deep = (
        getattr(vision, name, None) for name in ("fullatt_block_indexes", "deepstack_visual_indexes")
    )
    return [
        vision.patch_size,
        f"{vision.spatial_merge_size}×{vision.spatial_merge_size}",
        "all of the picture" if windows is None else f"windows; all of it in layers {windows}",
        "–" if deep is None else f"of layers {deep}, into the first language layers",
        load_family(family).token_side,
        "0 to 1000" if load_family(family).boxes.range else "pixels of the seen picture",
    ]


columns = [facts(family) for family in FAMILIES]
what = ["patch, pixels", "patches merged into a token", "a patch attends to", "features also handed on"]
what += ["**token, pixels**", "**numbers of a box**"]
table(["", *FAMILIES], [[name, *values] for name, *values in zip(what, *columns, strict=True)])

# %% [markdown]
# Parameters of our little Qwen2-VL, by component:

# %%
print(format_parameter_table(count_components(models["qwen2_vl"])))

# %% [markdown]
# And of the real ones? A model can be built on the device `meta`, where tensors have shapes but no memory.
# The sizes below are those of the published Qwen2-VL-2B and 7B. **Compare the two bars**: which part grows,
# and which one is the same in both?

# %%
PUBLISHED = {  # width, width within its MLPs, heads of queries, heads of keys and values
    "2B": (1536, 8960, 12, 2),
    "7B": (3584, 18944, 28, 4),
}
NAMES = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")


def real_counts(name: str) -> dict[str, int]:
    """Parameters of a published Qwen2-VL by component; the small one shares its head with its embedding."""
    tied = name == "2B"
    text = dict(zip(NAMES, PUBLISHED[name], strict=True)) | {"num_hidden_layers": 28}
    text |= {"vocab_size": 151_936 if tied else 152_064, "tie_word_embeddings": tied}
    vision = {"hidden_size": text["hidden_size"]}
    config = Qwen2VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=tied)
    with torch.device("meta"):
        model = Qwen2VLForConditionalGeneration(config)
    return {row.component: row.total for row in count_components(model)}


real = {f"Qwen2-VL-{name}": real_counts(name) for name in PUBLISHED}
figure = go.Figure()
for part, colour in zip(("vision", "projector", "llm", "head"), (BLUE, ORANGE, GREEN, GREY), strict=True):
    figure.add_bar(
        y=list(real), x=[counts[part] / 1e9 for counts in real.values()], name=part, orientation="h",
        marker_color=colour,
    )  # fmt: skip
figure.update_layout(
    title="Billions of parameters", barmode="stack", template="none", height=260, margin={"l": 110}
)
figure.show()
print({name: f"{sum(counts.values()):,}" for name, counts in real.items()})

# %% [markdown]
# ## 2 Words: the tokenizer
#
# Besides its pieces of words the vocabulary has *special tokens*: marks that no text can spell. In the
# published models they begin at number 151,643; our vocabulary is smaller, and their order is the same.

# %%
processor, model = processors["qwen2_vl"], models["qwen2_vl"]
tokenizer = processor.tokenizer
print(f"{len(tokenizer)} tokens")
uses = {
    "<|endoftext|>": "padding",
    "<|im_start|>": "begins a turn",
    "<|im_end|>": "ends a turn: the model must learn to write it",
    "<|vision_start|>": "before a picture",
    "<|image_pad|>": "one for each token of a picture",
    "<|box_start|>": "before the corners of a box, in the older way of writing",
    "<|object_ref_start|>": "before the name of a thing, likewise",
}
table(["token", "number here", "what for"], [
    [f"`{token}`", tokenizer.convert_tokens_to_ids(token), uses[token]]
    for token in SPECIAL_TOKENS if token in uses
])  # fmt: skip

# %% [markdown]
# An answer in the two ways of writing that these models know. **Look at the digits**: each is a token of its
# own. So a number is not one choice among a thousand but three or four choices, one after another; and the
# first digit, which decides between left and right, weighs as much in the loss as the last one, which moves
# an edge by a hair.

# %%
for box_format in ("json", "tokens"):
    text = box_codec("qwen2_vl", box_format).write(example["boxes"][:1], example["labels"][:1], source)
    pieces = [tokenizer.decode([number]) for number in tokenizer(text)["input_ids"]]
    print(f"{box_format}: {len(text)} characters, {len(pieces)} tokens")
    chips(pieces)

# %% [markdown]
# ## 3 Turns: conversation and chat template
#
# An example becomes a conversation, once, before training. **Look at the picture's place**: there is only a
# placeholder. Pictures are megabytes, and do not survive being stored in JSON or Arrow structs.

# %%
PROMPT = "Locate every nutrition-table. Report bbox coordinates in JSON format."
codec = box_codec("qwen2_vl")
row = convert_to_conversation_format(example, codec, prompt=PROMPT)
for turn in row["messages"]:
    print(turn)

# %% [markdown]
# What storing does to it: Arrow gives all parts of a list the same keys. **Look for `None`.** A template that
# asks `'text' in part` takes such a picture for a text, and writes “None” into the prompt.

# %%
stored = pa.array([row["messages"]]).to_pylist()[0]
print(stored[0]["content"])

# %% [markdown]
# Per batch, the pictures are put back, and the parts get the keys they should have:

# %%
restored = restore_images_in_conversations([stored], [picture])[0]
for part in restored[0]["content"]:
    print({key: type(value).__name__ if key == "image" else value for key, value in part.items()})

# %% [markdown]
# The *chat template* makes text of it. **Find where the prompt ends**: everything up to
# `<|im_start|>assistant⏎` is given when the model is used; what follows is what it has to write, and
# `<|im_end|>` is a part of that. (The published Qwen2-VL and Qwen2.5-VL begin with a system turn of their
# own; the models from scratch have none.)

# %%
whole = processor.apply_chat_template(row["messages"], tokenize=False)
prompt = processor.apply_chat_template(row["messages"][:1], tokenize=False, add_generation_prompt=True)
print(whole)
print("the prompt is the beginning of the whole:", whole.startswith(prompt))

# %% [markdown]
# ## 4 The picture: from pixels to patches
#
# The processor resizes the picture so that its sides are multiples of a token, and cuts it into patches.
# **Follow the sizes** from left to right. `image_grid_thw` is the only record of what the model really saw.

# %%
inputs = {
    family: processors[family].image_processor(images=[picture], return_tensors="pt") for family in FAMILIES
}
seen = {
    family: seen_size(inputs[family]["image_grid_thw"][0], models[family].config.vision_config.patch_size)
    for family in FAMILIES
}
table(
    ["family", "source", "seen", "grid (time, rows, columns)", "patches × numbers", "tokens"],
    [
        [
            family,
            f"{source[0]}×{source[1]}",
            f"{seen[family].width}×{seen[family].height}",
            one["image_grid_thw"][0].tolist(),
            " × ".join(map(str, one["pixel_values"].shape)),
            int(one["image_grid_thw"].prod()) // 4,
        ]
        for family, one in inputs.items()
    ],
)

# %% [markdown]
# Why 1,176 numbers a patch? 3 colours × 2 moments in time × 14 × 14 pixels; a still picture is given twice.
# Let us look at the first rows of `pixel_values`. **In which order do the patches come?** Not line by line.

# %%
images = processor.image_processor
pixels, grid = inputs["qwen2_vl"]["pixel_values"], inputs["qwen2_vl"]["image_grid_thw"][0]
patches = pixels.reshape(-1, 3, 2, 14, 14)[:, :, 0].permute(0, 2, 3, 1).numpy()  # [patches, 14, 14, 3]
patches = (patches * np.array(images.image_std) + np.array(images.image_mean)).clip(0, 1)

_, down, across = (int(number) for number in grid)  # patches
as_given = (
    patches.reshape(down, across, 14, 14, 3).transpose(0, 2, 1, 3, 4).reshape(down * 14, across * 14, 3)
)
pictures([as_given, seen_picture(pixels, grid, images)], ["laid out line by line", "laid out in fours"])

# %% [markdown]
# The four patches of one token stand together (2×2), then comes the next token. The right picture is put
# together that way, from nothing but the model's input: if it looks right, the input *is* right. (That is
# what `edge-glass inspect` shows.) Here it is once more, with its patches and its tokens:

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 4.4))
for axis, (family, one), colour in zip(axes, inputs.items(), (BLUE, BLUE, ORANGE), strict=True):
    each = seen_picture(one["pixel_values"], one["image_grid_thw"][0], processors[family].image_processor)
    factor = load_family(family).token_side
    axis.imshow(each)
    axis.set_xticks(np.arange(0, each.width + 1, factor), [])
    axis.set_yticks(np.arange(0, each.height + 1, factor), [])
    axis.grid(color=colour, linewidth=0.8)
    axis.set_title(f"{family}: tokens of {factor}×{factor}", fontsize=9)
show(figure, "jpeg")

# %% [markdown]
# ## 5 From patches to tokens
#
# The vision tower turns each patch into a vector; the projector makes one vector of four, as wide as the
# language model's own. **Compare the last two numbers**: there must be as many vectors as there are
# `<|image_pad|>` in the text, since each takes the place of one.

# %%
batch = prompt_batch(processor, [{**row, "images": [picture]}])
with torch.no_grad():
    features = model.model.visual(pixels.to(model.dtype), grid_thw=grid[None])
print("out of the vision tower:", tuple(features.last_hidden_state.shape))
print("out of the projector:   ", tuple(features.pooler_output.shape))
print("<|image_pad|> in the text:", int((batch["input_ids"] == processor.image_token_id).sum()))

# %% [markdown]
# The token sequence of the prompt, with the picture's run shortened:

# %%
ids = batch["input_ids"][0].tolist()
begin = ids.index(processor.image_token_id)
count = ids.count(processor.image_token_id)
decoded = [tokenizer.decode([number]) for number in ids]
chips([*decoded[: begin + 2], f"… {count} in all …", *decoded[begin + count - 1 :]])

# %% [markdown]
# Now cut the row, as trainers do that know only text: here in the middle of the picture. This cannot work,
# and fortunately it fails. **A cut just behind the picture would not fail**: there would be half an answer
# left to learn, or none.

# %%
kept = begin + count // 2
short = {name: batch[name][:, :kept] for name in ("input_ids", "attention_mask", "mm_token_type_ids")}
try:
    model(**short, pixel_values=batch["pixel_values"], image_grid_thw=batch["image_grid_thw"])
except ValueError as error:
    print(error)

# %% [markdown]
# ## 6 Where is a token? M-RoPE
#
# A language model knows the place of a token by a number. These models use three: time, height and width
# (*M-RoPE*). For words all three are the same and count on. Within a picture, time stands still, height
# counts the rows and width the columns. **Look at the step behind the picture**: the words go on from the
# largest number so far, so a picture of many tokens takes up little of the count.

# %%
positions, _ = rope_positions(model, batch)  # [3, B, L]
figure, axis = plt.subplots(figsize=(8, 3))
for name, values, style in zip(
    ("time", "height", "width"), positions[:, 0].tolist(), ("-", "--", ":"), strict=True
):
    axis.plot(values, style, label=name, linewidth=1.6)
axis.axvspan(begin, begin + count, color=GREY, alpha=0.15)
axis.text(begin + count / 2, positions.max() * 0.9, "picture", ha="center", color=GREY)
axis.set(xlabel="token", ylabel="position")
axis.legend()
show(figure)
print(f"{len(ids)} tokens, but the last word has position {int(positions.max())}")

# %% [markdown]
# The same numbers laid out as the picture. **This is how the model can tell left from right at all**: the
# features of a token say what is there, its position says where.

# %%
figure, axes = plt.subplots(1, 2, figsize=(6.5, 3.6))
for axis, place, name in zip(axes, (1, 2), ("height", "width"), strict=True):
    values = positions[place, 0, begin : begin + count].reshape(down // 2, across // 2)
    drawn = axis.imshow(values, cmap="viridis")
    axis.set(title=name, xticks=[], yticks=[])
    figure.colorbar(drawn, ax=axis)
show(figure)

# %% [markdown]
# Padding must not move anything. Two prompts of different lengths in one batch are padded on the left; **the
# positions of the shorter one must be those it has alone** (older versions of the library got this wrong).

# %%
longer = convert_to_conversation_format(example, codec, prompt=PROMPT + " " + PROMPT, answer=False)
both = prompt_batch(processor, [{**row, "images": [picture]}, {**longer, "images": [picture]}])
padded, _ = rope_positions(model, both)
real_tokens = both["attention_mask"][0].bool()
print(f"{int((~real_tokens).sum())} tokens of padding; the same positions:",
      torch.equal(padded[:, 0, real_tokens], positions[:, 0]))  # fmt: skip

# %% [markdown]
# ## 7 What the untouched model answers
#
# Before anything is trained, ask. This is the number to beat, and it costs nothing. Random weights write
# noise; published ones answer in JSON (`SOURCE`). **Whatever comes, it must be counted**: an answer without a
# box that can be read is a wrong answer, not a missing one.

# %%
answer = run_qwen2vl_inference(model, processor, picture, PROMPT, max_new_tokens=24 if TINY else 64)
print(repr(answer))
parsed = parse_qwen_bbox_output(answer)
print(f"{len(parsed.numbers)} boxes; {parsed.problem}")

# %% [markdown]
# How sure is it of its first word? An untrained model should spread its bets evenly. **The first loss of a
# run tells whether that is so**: it should be near the logarithm of the vocabulary's size. Is it much higher,
# the start is bad; is it much lower without any training, the labels give themselves away.

# %%
train_batch = Qwen2VLCollatorV2(processor, codec)([{**row, "images": [picture]}])
with torch.no_grad():
    next_token = model(**batch).logits[0, -1].float().softmax(dim=-1)
    loss = float(model(**train_batch).loss)
print(f"loss of the true answer {loss:.2f}; logarithm of the vocabulary {math.log(len(tokenizer)):.2f}")

best = next_token.topk(12)
figure, axis = plt.subplots(figsize=(7, 2.2))
axis.bar(range(12), best.values, color=BLUE)
axis.set_xticks(range(12), [repr(tokenizer.decode([number])) for number in best.indices.tolist()])
axis.axhline(1 / len(tokenizer), color=ORANGE, label="all alike")
axis.tick_params(axis="x", rotation=60, labelsize=7)
axis.set_ylabel("probability")
axis.legend()
show(figure)

# %% [markdown]
# ## 8 Reading answers
#
# Models write boxes in many ways: as JSON, in a code fence, with single quotes, as special tokens, cut off in
# the middle. `parse_qwen_bbox_output` reads what can be read, says why when it cannot, and never guesses.
# **Look at the last column**, and at what became of the boxes in these cases.

# %%
FORMS = {
    "as taught": '[{"bbox_2d": [10, 20, 300, 400], "label": "table"}]',
    "in a fence, with words": 'Here:\n```json\n[{"bbox_2d": [10, 20, 300, 400], "label": "table"}]\n```',
    "single quotes, tuple": "[{'bbox_2d': (10, 20, 300, 400), 'label': 'table'}]",
    "one object, no list": '{"bbox_2d": [10, 20, 300, 400], "label": "table"}',
    "bare numbers": "[10, 20, 300, 400]",
    "nested": "[[10, 20, 300, 400], [5, 6, 7, 8]]",
    "trailing comma": '[{"bbox_2d": [10, 20, 300, 400,], "label": "table",},]',
    "special tokens": "<|object_ref_start|>table<|object_ref_end|><|box_start|>(10,20),(300,400)<|box_end|>",
    "these, markers dropped": "table(10,20),(300,400)",
    "cut off in the second": '[{"bbox_2d": [10, 20, 300, 400], "label": "table"}, {"bbox_2d": [5, 6',
    "cut off in the first": '[{"bbox_2d": [10, 20, 30',
    "nothing there": "[]",
    "inverted": '[{"bbox_2d": [300, 400, 10, 20], "label": "table"}]',
    "three numbers": '[{"bbox_2d": [10, 20, 300], "label": "table"}]',
    "not a number": '[{"bbox_2d": [10, 20, NaN, 400], "label": "table"}]',
    "talk": "I see a package with a nutrition table on it.",
    "no answer": "",
}
lines_of_table = []
for form, text in FORMS.items():
    found = parse_qwen_bbox_output(text)
    corners = "; ".join(str(box.astype(int).tolist()) for box in found.numbers) or "–"
    lines_of_table.append(
        [form, corners, ", ".join(found.labels), found.problem or ("cut off" * found.cut_off)]
    )
table(["form", "boxes", "labels", "problem"], lines_of_table)

# %% [markdown]
# Every answer can stop anywhere: generation has a limit. So take an answer with two boxes and cut it behind
# each of its characters. **A box must appear only when it is whole**, and all that is cut must be called cut.

# %%
full = codec.write(example["boxes"], example["labels"], source)
beginnings = [parse_qwen_bbox_output(full[:length]) for length in range(len(full) + 1)]
figure, axis = plt.subplots(figsize=(8, 2))
axis.step(range(len(full) + 1), [len(found.numbers) for found in beginnings], color=BLUE, label="boxes read")
axis.step(
    range(len(full) + 1), [found.cut_off for found in beginnings], ":", color=ORANGE, label="called cut off"
)
axis.set(xlabel="characters of the answer", yticks=[0, 1, 2])
axis.legend(fontsize=8)
show(figure)

# %% [markdown]
# ## 9 What the numbers mean
#
# One picture, the same two boxes, three families. **Compare the answers.** Qwen2-VL and Qwen3-VL write
# thousandths of the picture's sides. Qwen2.5-VL writes *pixels of the picture as it sees it*, after the
# resize, which is neither the source nor any fixed size.

# %%
codecs = {family: box_codec(family) for family in FAMILIES}
answers = {
    family: codecs[family].write(example["boxes"], example["labels"], source, seen[family])
    for family in FAMILIES
}
print("source pixels:", example["boxes"].round().astype(int).tolist())
table(
    ["family", "sees", "writes"],
    [
        [
            family,
            f"{seen[family].width}×{seen[family].height}",
            parse_qwen_bbox_output(text).numbers.astype(int).tolist(),
        ]
        for family, text in answers.items()
    ],
)

# %% [markdown]
# There and back: write the boxes, read them again, and compare with the truth. Rounding costs something, and
# how much at most is known beforehand (`worst_error`). **Where is it largest, and why?**

# %%
rounded = {
    family: codecs[family]
    .read(answers[family], source, seen[family])
    .boxes[np.argsort(codecs[family].order(example["boxes"], source, seen[family]))]
    for family in FAMILIES
}  # an answer goes from top to bottom; here its boxes are put back into the order of the example
table(
    ["family", "largest error, pixels", "bound (x, y)", "IoU with the truth"],
    [
        [
            family,
            f"{np.abs(boxes - example['boxes']).max():.2f}",
            ", ".join(f"{bound:.2f}" for bound in codecs[family].worst_error(source, seen[family])),
            ", ".join(f"{calculate_iou(*pair):.3f}" for pair in zip(boxes, example["boxes"], strict=True)),
        ]
        for family, boxes in rounded.items()
    ],
)

# %% [markdown]
# On the picture: blue is the truth, broken orange what came back. With numbers alone one would hardly notice
# a shift of half a box; **always look at a few**.

# %%
pictures(
    [
        visualize_bbox_on_image(picture, boxes, truth=example["boxes"], line_width=3)
        for boxes in rounded.values()
    ],
    list(rounded),
)

# %% [markdown]
# The bound for a photograph of 2592×1944 pixels, under growing pixel budgets. Thousandths are always the
# same; pixels of the seen picture get finer with the picture. **Under a small budget Qwen2.5-VL cannot write
# exact boxes at all**, however well it is trained.

# %%
PHOTO = (2592, 1944)
budgets = np.geomspace(16 * 28 * 28, 12_845_056, 24).astype(int).tolist()
budgets = sorted([*budgets, 1_003_520])
wide = {family: build_processor(family, 3136, budgets[-1]) for family in FAMILIES}
sizes = {
    family: [planned_size(wide[family], *PHOTO, max_pixels=budget) for budget in budgets]
    for family in FAMILIES
}
figure, axis = plt.subplots(figsize=(7, 2.8))
for family, style in zip(FAMILIES, ("-", "-", "--"), strict=True):
    bounds = [codecs[family].worst_error(PHOTO, each)[0] for each in sizes[family]]
    axis.plot(budgets, bounds, style, label=family)
axis.set(xscale="log", yscale="log", xlabel="max_pixels", ylabel="bound of the error in x, pixels")
axis.legend()
show(figure)

# %% [markdown]
# ## 10 Why Qwen2.5-VL needs the seen size
#
# Labels are written under one budget, and the model is used under another: a value in a script was changed,
# a checkpoint brought its own. The answer is the same text. **Look at what the boxes are worth**, for
# families with relative numbers and for Qwen2.5-VL.

# %%
box = np.array([[1200.0, 900.0, 2200.0, 1600.0]])  # of the photograph
worth = {}
for family in FAMILIES:
    made_for = planned_size(wide[family], *PHOTO, max_pixels=1_003_520)
    label = codecs[family].write(box, ["table"], PHOTO, made_for)
    back = [codecs[family].read(label, PHOTO, each).boxes[0] for each in sizes[family]]
    worth[family] = [calculate_iou(one, box[0]) for one in back]

figure, axis = plt.subplots(figsize=(7, 2.8))
for (family, values), style in zip(worth.items(), ("-", "-", "--"), strict=True):
    axis.plot(budgets, values, style, label=family)
axis.axvline(1_003_520, color=GREY, linewidth=1)
axis.set(xscale="log", xlabel="max_pixels when the answer is read", ylabel="IoU with the truth")
axis.legend()
show(figure)

# %% [markdown]
# One case of these, with two budgets that are in use: labels made with that of Qwen's own notebook (1,003,520
# pixels), read with one that published checkpoints bring (12,845,056).

# %%
made_for = planned_size(wide["qwen2_5_vl"], *PHOTO, max_pixels=1_003_520)
large = planned_size(wide["qwen2_5_vl"], *PHOTO)
label = codecs["qwen2_5_vl"].write(box, ["table"], PHOTO, made_for)
read_back = codecs["qwen2_5_vl"].read(label, PHOTO, large).boxes
print(f"written for {made_for.width}×{made_for.height}: {label}")
print(f"read for {large.width}×{large.height}: {read_back[0].round().astype(int).tolist()}, "
      f"IoU with the truth {calculate_iou(read_back[0], box[0]):.3f}")  # fmt: skip
photo = Image.new("RGB", PHOTO, "#dee2e6")
pictures([visualize_bbox_on_image(photo, read_back, truth=box, line_width=20)], ["blue: truth"], 4, 3)

# %% [markdown]
# So the size is never computed a second time: it is taken from `image_grid_thw`, what the processor really
# did. And every batch is read back before the model gets it: the labels' tokens are decoded, parsed, and
# compared with the boxes of the row. Let us write a row for a wrong size:

# %%
not_seen = SeenSize(seen["qwen2_5_vl"].width * 2, seen["qwen2_5_vl"].height * 2)
bad_row = convert_to_conversation_format(example, codecs["qwen2_5_vl"], not_seen, PROMPT)
try:
    Qwen2VLCollatorV2(processors["qwen2_5_vl"], codecs["qwen2_5_vl"])([{**bad_row, "images": [picture]}])
except DataError as error:
    print(error)

# %% [markdown]
# ## Questions
#
# 1. Which of the four components must be trained so that a model learns to write `<|im_end|>` at the right
#    place? Which could stay frozen?
# 2. A picture has 1,225 tokens. By how much does the position of the words behind it grow, if it is square?
# 3. Why is the JSON form longer than the one with special tokens, and what could speak for it all the same?
# 4. A colleague trains Qwen3-VL on labels that were made for Qwen2.5-VL. On which pictures
#    will nobody notice?
# 5. Why does the parser drop an inverted box and not just swap its corners?
# 6. The first loss of a run is 0.4 with random weights. What would you look for?
#
# ## Exercises
#
# 1. Set `MAX_PIXELS` to 16 tokens. Which of the tables can still be read in the seen picture? What is the
#    best IoU that any answer of Qwen2.5-VL can reach?
# 2. Turn the picture by 90° and follow `image_grid_thw` and the positions.
# 3. Find a text with a box in it that `parse_qwen_bbox_output` does not read. Is it right not to?
# 4. Put two pictures into one conversation and draw the positions. Where does the second begin?
# 5. With `SOURCE`: ask the published model with three prompts of your own. How many of the answers can be
#    read, and how much do the boxes differ?
