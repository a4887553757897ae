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
# # Lesson 3: a tiny model that answers questions about pictures
#
# Lesson 1 made pictures and words comparable. Now a picture is shown, a question is asked, and the model
# *writes* the answer. Such a model has two halves that were not made for each other: one that sees, and one
# that writes. Between them stands a small *projector*, which turns what was seen into something that reads
# like words:
#
# ```
# picture  → frozen encoder → pooling → projector ─┐
#                                                  ├→ decoder → answer, word by word
# question → tokenizer → embedding ────────────────┘
# ```
#
# The decoder is a *Tiny Recursive Model* (TRM): one small block that is applied again and again
# ([Jolicoeur-Martineau 2025, “Less is More: Recursive Reasoning with Tiny
# Networks”](https://arxiv.org/abs/2510.04871)). You will follow one question from the columns of a file to
# the last number, write the training loop yourself, and then ask the uncomfortable questions: does the model
# look at the picture at all? And does the recursion do anything that a plain decoder does not?
#
# With the environment variable `EDGE_GLASS_TINY=1` everything is toy-sized: drawn shapes and an encoder with
# random weights (seconds, no download). Without it, real weights and a part of
# [easy-VQA](https://github.com/vzhou842/easy-VQA) are used (minutes on two cores). **The outputs stored in
# this file come from the tiny form**; a model of that size learns little, and no conclusion about TRMs can be
# drawn from it.

# %%
import os

TINY = os.environ.get("EDGE_GLASS_TINY", "") == "1"

# %%
import html
import io
import math
import tempfile
import textwrap
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from IPython.display import HTML, Markdown, display
from PIL import Image, ImageDraw

warnings.filterwarnings(
    "ignore", message="IProgress not found"
)  # tqdm would like ipywidgets; we do not need it

import edge_glass
from edge_glass.core.errors import DataError
from edge_glass.corpora.easy_vqa import build_easy_vqa
from edge_glass.data.conversation_batches import ConversationCollator
from edge_glass.data.labels import NOT_TRAINED, ConversationTokenizer, check_labels
from edge_glass.data.pictures import decode_image
from edge_glass.decoders import GenerationSettings, PlainDecoder, Projector, QwenDecoder, TRMConfig
from edge_glass.decoders.blocks import AttentionContext
from edge_glass.decoders.small_decoder import DecoderSteps
from edge_glass.decoders.tokenizers import train_tokenizer
from edge_glass.encoders.normalization import Standardizer
from edge_glass.encoders.pooling import build_pooling
from edge_glass.instruction.data.datasets import ConversationDataset
from edge_glass.instruction.data.readers import read_question_parquet
from edge_glass.instruction.data.sources import generated_conversations
from edge_glass.instruction.data.table import split_conversations
from edge_glass.instruction.measure.answers import most_frequent_answers
from edge_glass.instruction.measure.text import AnswerSet, estimate_answers
from edge_glass.instruction.model.answering import AnsweringModel, PrefixTower
from edge_glass.tasks.sources import load_vision
from edge_glass.training.sampler import EpochBatchSampler

# Paths in the experiment files start at the root of the project.
ROOT = next(folder for folder in [Path.cwd(), *Path.cwd().parents] if (folder / "configs").is_dir())
os.chdir(ROOT)
Path("runs").mkdir(exist_ok=True)
if TINY:
    scratch = tempfile.TemporaryDirectory(dir="runs", prefix="lesson-")
    WORK = Path(os.path.relpath(scratch.name))
    pio.renderers.default = "plotly_mimetype"  # keeps 5 MB of JavaScript out of the stored outputs
else:
    WORK = Path("runs") / time.strftime("lesson-03-%Y%m%d-%H%M%S")
    WORK.mkdir()


# %%
def show(pictures: list, titles: list[str], columns: int = 6) -> None:
    """Pictures in a grid with what is said about them."""
    rows = -(-len(pictures) // columns)
    _, axes = plt.subplots(rows, columns, figsize=(1.7 * columns, 2.3 * rows), squeeze=False, dpi=60)
    for axis in axes.ravel():
        axis.axis("off")
    for axis, picture, title in zip(axes.ravel(), pictures, titles, strict=False):
        axis.imshow(picture if isinstance(picture, Image.Image) else decode_image(picture))
        lines = [part for line in title.split("\n") for part in textwrap.wrap(line, 19)]
        axis.set_title("\n".join(lines[:5]), fontsize=8)
    buffer = io.BytesIO()
    plt.savefig(buffer, bbox_inches="tight")
    plt.close()
    show_picture(Image.open(buffer))


def show_picture(picture: Image.Image) -> None:
    """A picture in few colours, which keeps the stored outputs small."""
    display(picture.convert("RGB").quantize(64, method=Image.Quantize.MAXCOVERAGE, kmeans=1))


def show_plot(path: Path | None) -> None:
    """A plot of the run folder, smaller than the file."""
    if path is not None:
        picture = Image.open(path).convert("RGB")
        picture.thumbnail((800, 800))
        show_picture(picture)


def table(header: list[str], rows: list[list]) -> None:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    display(Markdown("\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)))


def rms(x: torch.Tensor) -> float:
    """Root of the mean square: how large the numbers are."""
    return x.detach().float().square().mean().sqrt().item()


# %% [markdown]
# ## 1 The file
#
# [PixMo](https://huggingface.co/datasets/allenai/pixmo-cap-qa)'s questions come as a parquet file with four
# columns: `image_bytes`, `question` (beginning with `[USER]`), `answer` (beginning with `[ASSISTANT]`) and
# `source`. We write our own file in that form, from easy-VQA (or from drawn shapes). Since real files are
# never clean, three rows come with it that no model should be trained on: a picture that breaks off
# half-way, an answer of blanks, and an answer that goes on and on.

# %%
if TINY:
    asked = [
        (part.picture(row), part.question(row), part.answer(row), part.answer_types[row])
        for part in generated_conversations().values()
        for row in range(len(part))
    ]
else:
    source = Path("data/easy-vqa/train.parquet")
    if not source.exists():
        build_easy_vqa(source.parent)
    columns = ["image_id", "image_bytes", "question", "answer", "answer_type"]
    rows = pq.read_table(source, columns=columns).to_pylist()
    chosen = set(list(dict.fromkeys(row["image_id"] for row in rows))[:700])  # so many pictures
    asked = [tuple(row[name] for name in columns[1:]) for row in rows if row["image_id"] in chosen]

picture, question, answer, kind = asked[0]
asked += [
    (picture[: len(picture) // 2], question, answer, kind),
    (picture, question, "   ", kind),
    (picture, question, "and so on " * 60, kind),
]
images, questions, answers, kinds = zip(*asked, strict=True)
parquet = WORK / "pixmo_qa_with_bytes.parquet"
pq.write_table(
    pa.table(
        {
            "image_bytes": list(images),
            "question": [f"[USER] {text}" for text in questions],
            "answer": [f"[ASSISTANT] {text}" for text in answers],
            "source": ["drawn-shapes" if TINY else "easy-vqa"] * len(images),
            "answer_type": list(kinds),  # more than PixMo has; numbers can then be broken down
        }
    ),
    parquet,
)
print(f"{len(images)} rows, {parquet.stat().st_size / 1000:,.0f} kB")
print(pq.read_schema(parquet).to_string())

# %% [markdown]
# **To use a file of your own**, leave the cell above out and set `parquet`. From here on nothing depends on
# where it came from.
#
# Reading it takes the markers off and makes each row a *conversation*: turns of a user and an assistant.
# What cannot be used is named, and does not vanish:

# %%
rows_read = read_question_parquet(parquet)
print(f"{len(rows_read)} usable rows of {len(images)}")
for rejected in rows_read.rejected:
    print(repr(rejected))
for turn in rows_read.turns[0]:
    print(turn)

# %% [markdown]
# One picture has several questions. If rows were drawn at random into training, validation and test, the
# model would be examined on pictures that it has been told about. So a picture stays on one side with all
# its questions; the side is a function of its content, not of chance.

# %%
FRACTIONS = {"test": 0.15, "val": 0.1}
tables = split_conversations(rows_read, FRACTIONS)
train, test = tables["train"], tables["test"]
table(
    ["split", "questions", "pictures", "kinds of answers"],
    [
        [name, len(part), len(set(part.picture_hashes)), ", ".join(sorted(set(part.answer_types)))]
        for name, part in tables.items()
    ],
)
shown = np.linspace(0, len(train) - 2, 6).astype(int).tolist()
show(
    [train.picture(row) for row in shown], [f"{train.question(row)}\n→ {train.answer(row)}" for row in shown]
)

# %% [markdown]
# ## 2 From words to tokens, and what is trained
#
# A decoder reads numbers. A *tokenizer* cuts text into pieces and numbers them. Ours learns its pieces from
# the training texts alone (byte-pair encoding): whatever is frequent becomes one piece, and anything else
# can still be spelled in bytes. A language model that was trained by others brings its own.

# %%
overrides = ["training.device=cpu"]  # so that the lesson repeats, with or without a GPU
if TINY:
    overrides += ["decoder.size.width=64", "dataset.batch_size=32"]
    overrides += ["generation.batch_size=32", "generation.max_new_tokens=16"]
    overrides += ["training.epochs=40", "training.eval_epochs=10", "optimization.lr=0.004"]
else:
    overrides += [f"dataset.train_parquet={parquet}", "dataset.val_parquet=null", "dataset.test_parquet=null"]
    overrides += [f"dataset.{name}_fraction={share}" for name, share in FRACTIONS.items()]
    overrides += ["dataset.id_column=null", "dataset.batch_size=64", "decoder.size.width=128"]
    overrides += ["training.epochs=6", "optimization.lr=0.002", "evaluation.validation_rows=200"]
overrides += ["evaluation.compare_with=[]"]
config = edge_glass.load_config("configs/easy_vqa_trm.yaml", overrides, tiny=TINY)

texts = [turn.text for turns in train.turns for turn in turns]
tokenizer = train_tokenizer(texts, config.decoder.vocabulary)
last_learned = tokenizer.convert_ids_to_tokens(range(len(tokenizer) - 8, len(tokenizer)))
print(f"{len(tokenizer)} tokens; learned last: {last_learned}")
print(tokenizer.tokenize(train.question(0)))

# %% [markdown]
# A conversation is written with *markers* between the turns, so that the model knows who speaks. Below is
# the whole of it, token by token. Blue tokens are **trained**: the model is asked to predict them. Grey ones
# are only read.

# %%
conversation = ConversationTokenizer(tokenizer)
print(conversation.template(train.turns[0], False))


def show_tokens(tokens, prefix: int = 0) -> None:
    """Tokens of a conversation, trained ones blue and bold; `·` is a blank."""
    style = "display:inline-block;margin:2px;padding:2px 5px;border-radius:4px;font-family:monospace;"
    looks = {
        True: "background:#1f5fbf;color:#ffffff",
        False: "background:#e4e7eb;color:#22262b",
    }
    chips = [f"<span style='{style}background:#f4d58d;color:#22262b'>picture</span>"] * prefix
    for number, label in zip(tokens.ids.tolist(), tokens.labels.tolist(), strict=True):
        piece = html.escape(tokenizer.decode([number]).replace(" ", "·"))
        tag = "b" if label != NOT_TRAINED else "span"
        chips.append(f"<{tag} style='{style}{looks[label != NOT_TRAINED]}'>{piece}</{tag}>")
    display(HTML(" ".join(chips)))


for row in (0, len(train) // 2):
    show_tokens(conversation(train.turns[row]), prefix=1)

# %% [markdown]
# (The yellow token is the place of the picture; we come to it in section 4.)
#
# Why just these?
#
# - *The question is not trained.* It is given at the time of use. A model that spends its effort on
#   predicting questions learns what people ask, not what is right. (Some train on everything; with few and
#   short answers the questions then make up most of the loss.)
# - *The answer is trained*, and so is **the token that ends it**. Forget that one and the model never learns
#   to stop. It is a common mistake, and one sees it only when the model is asked.
# - *Nothing else is*: no marker, no picture, no padding.
#
# In numbers: `labels` repeats the token where it is trained and is −100 where it is not. A label stands at
# its own token, and is predicted from what comes *before* it.

# %%
tokens = conversation(train.turns[0])
table(
    ["position", *range(len(tokens.ids))],
    [
        ["token", *(f"`{piece}`" for piece in tokenizer.convert_ids_to_tokens(tokens.ids.tolist()))],
        ["id", *tokens.ids.tolist()],
        ["label", *tokens.labels.tolist()],
    ],
)
prompt = conversation.prompt(train.turns[0][:-1])
print("the prompt at the time of use is that of training:", torch.equal(prompt, tokens.ids[: tokens.prompt]))

# %% [markdown]
# Answers that are too long would have to be cut, and a cut answer teaches the model to stop in the middle. So
# lengths are looked at before training, and what does not fit is left out as a whole and named: here is our
# third bad row. (`edge_glass.PixmoQADataset(parquet, tokenizer, …)` does all of this in one call.)

# %%
limits = {"max_question": config.dataset.max_question_length, "max_answer": config.dataset.max_answer_length}
datasets = {name: ConversationDataset(part, conversation, **limits) for name, part in tables.items()}
tables = {name: dataset.table for name, dataset in datasets.items()}
train, test = tables["train"], tables["test"]
for dataset in datasets.values():
    print("\n".join(dataset.lengths.lines()))

# %% [markdown]
# A batch is padded to its longest row. Whether the labels are right is checked for every first batch of a
# run; let us break one, and leave the end token of the first row untrained:

# %%
collate = ConversationCollator(tokenizer.pad_token_id)
words = collate([datasets["train"][row] for row in range(4)])
print({name: tuple(words[name].shape) for name in ("input_ids", "attention_mask", "labels")})
check_labels(words, conversation.end, conversation.special, words["ids"])
broken = words | {"labels": words["labels"].clone()}
broken["labels"][0, tokens.ids.tolist().index(conversation.end)] = NOT_TRAINED
try:
    check_labels(broken, conversation.end, conversation.special, words["ids"])
except DataError as error:
    print(error)

# %% [markdown]
# All of this can be seen for any experiment, in colours in the terminal and as a page, before an hour is
# spent on training:
#
# ```
# edge-glass inspect configs/easy_vqa_trm.yaml -n 8
# ```
#
# ## 3 The encoder, and how much of the picture to keep
#
# The encoder gives a token for each region of the picture. A decoder pays for every token in its prefix,
# in each layer and for each word. What should it get?

# %%
encoder = load_vision(config.model_copy(update={"vision_encoder": type(config.vision_encoder)()}))
pixels = torch.stack([encoder.preprocess(train.image(row)) for row in shown])  # [B, 3, H, W]
regions = encoder.frozen_forward(pixels)
vision = load_vision(config)  # that of the experiment: features of several layers, the maximum over places
layered = vision.frozen_forward(pixels)
poolings = {
    "`none`: every region": regions,
    "`grid`, 2 × 2": build_pooling("grid", encoder.width, grid_size=2)(*regions),
    "`mean`": build_pooling("mean", encoder.width)(*regions),
    "`feature_layers`, `max`": layered,
}
table(
    ["kept", "tokens", "numbers per token", "numbers in all"],
    [
        [name, *(kept.shape[1:] if kept.ndim == 3 else (1, kept.shape[1])), f"{kept[0].numel():,}"]
        for name, kept in ((name, getattr(one, "tokens", one)) for name, one in poolings.items())
    ],
)

# %% [markdown]
# *Every region* keeps where things are, and costs most. The *mean* keeps what there is, but a small shape on
# a large background is averaged away. The experiment takes the last line: the strongest response of each
# channel anywhere in the picture, in shallow layers (colours, edges) as in deep ones (shapes). One token
# that knows what there is, and not where. For questions like “what color is the circle?” that is enough; for
# “what is left of the circle?” it could never be. Pooling decides which questions *can* be answered.
#
# The encoder is frozen, so a picture always gives the same features. We compute them once per picture, not
# once per question and epoch (the package keeps them on disk):

# %%
digests = list(dict.fromkeys(digest for part in tables.values() for digest in part.picture_hashes))
place_of = {digest: number for number, digest in enumerate(digests)}
row_of = {part.picture_hashes[row]: (part, row) for part in tables.values() for row in range(len(part))}
started, kept = time.perf_counter(), []
for start in range(0, len(digests), 32):
    images = [part.image(row) for part, row in (row_of[digest] for digest in digests[start : start + 32])]
    kept.append(vision.frozen_forward(torch.stack([vision.preprocess(image) for image in images])).tokens)
features = torch.cat(kept)  # [pictures, 1, D]
print(f"{tuple(features.shape)} in {time.perf_counter() - started:.1f} s,", end=" ")
print(f"{sum(map(len, tables.values())) / len(digests):.1f} questions per picture")

# %% [markdown]
# A batch holds each of its pictures once; `place` says which of them each question is about. Training pads
# on the right; prompts that are to be continued are padded on the left, so that all of them end where the
# answer begins.

# %%
collators = {prompts: ConversationCollator(tokenizer.pad_token_id, prompts) for prompts in (False, True)}


def batch_of(split: str, rows, prompts: bool = False, swap: dict | None = None) -> dict:
    """These rows as a batch; with `swap` (picture → other picture) they are shown other pictures."""
    batch = collators[prompts]([datasets[split][row] for row in rows])
    shown = [tables[split].picture_hashes[row] for row in rows]
    numbers = [place_of[digest if swap is None else swap[digest]] for digest in shown]
    distinct, place = np.unique(numbers, return_inverse=True)
    seen = features[torch.from_numpy(distinct)]
    mask = torch.ones(seen.shape[:2], dtype=torch.bool)
    return batch | {
        "inputs": {"vision": {"tokens": seen, "mask": mask}},
        "place": {"vision": torch.from_numpy(place)},
    }


batch = batch_of("train", range(8))
print("questions", len(batch["input_ids"]), "pictures", len(batch["inputs"]["vision"]["tokens"]), end=" ")
print("place", batch["place"]["vision"].tolist())

# %% [markdown]
# ## 4 The projector: the same language, at the same loudness
#
# The decoder reads vectors of a certain width and, which is easily forgotten, of a certain *size*. Compare
# the root mean square (RMS) of what the encoder gives with that of the words it is to stand beside:

# %%
torch.manual_seed(config.seed)
settings = TRMConfig(**config.decoder.size.model_dump(), **config.decoder.recursion.model_dump())
decoder = edge_glass.TRMDecoder(tokenizer, settings)
projector = Projector(vision.width, decoder.width, kind="mlp", scale=1.0)
naive = torch.nn.Linear(vision.width, decoder.width)  # as PyTorch makes it
language_model = QwenDecoder.tiny()  # toy-sized, but with embeddings of a language model's scale
for_language_model = Projector(vision.width, language_model.width, scale=language_model.embedding_rms)
own = [place_of[digest] for digest in dict.fromkeys(tables["train"].picture_hashes)]
standardizer = Standardizer(vision.width)
standardizer.measure([features[own].flatten(0, 1)])  # of training pictures only
tower = PrefixTower(vision, build_pooling("none", vision.width), projector, standardizer)
with torch.no_grad():
    seen = tower.features(batch["inputs"]["vision"])
    brighter = seen._replace(tokens=10 * seen.tokens)
    spoken = decoder.embed_tokens(batch["input_ids"])
    ids = torch.arange(language_model.vocabulary)[None]
    table(
        ["vectors", "RMS"],
        [
            ["features of the encoder", f"{rms(seen.tokens):.3f}"],
            ["…of ten times brighter features", f"{rms(brighter.tokens):.3f}"],
            ["words, as the TRM reads them", f"{rms(spoken):.3f}"],
            ["features after a plain `nn.Linear`", f"{rms(naive(seen.tokens)):.3f}"],
            ["features after the projector", f"{rms(projector(seen).tokens):.3f}"],
            ["…of ten times brighter features", f"{rms(projector(brighter).tokens):.3f}"],
            ["words of a language model", f"{rms(language_model.embed_tokens(ids)):.3f}"],
            ["a projector made for it", f"{rms(for_language_model(seen).tokens):.3f}"],
        ],
    )

# %% [markdown]
# The first layer adds up and compares vectors. A prefix much larger than the words drowns them, one much
# smaller is not heard, and either way training spends its first hundreds of steps on repairing the scale.
# So the projector normalises what comes in and brings it to the RMS of the embeddings, whatever the encoder
# and whatever the decoder. A TRM of our own starts with words at 1; a language model's are far smaller.
#
# The same holds within a feature vector: a few small numbers of the shallow layers tell the colour, and
# thousands of larger ones the rest. The `standardizer` before the projector brings each number to mean 0 and
# deviation 1, measured on the training pictures. Without it colours are learned long after shapes; take it
# away (`prefix.standardize=false`) and look at the curves by type of answer.
#
# ## 5 The decoder: thinking twice with the same few layers
#
# A Tiny Recursive Model has one small block *f* of two layers and uses it many times. It keeps three things,
# each a vector per position:
#
# - **x**, what it was given: prefix and words,
# - **y**, its answer so far,
# - **z**, a scratch pad (“latent”) that nobody ever reads but the model itself.
#
# ```
#             ┌──────────────── one supervision step ─────────────────┐
#             │  cycle 1 … T−1             cycle T                    │
#             │  no gradient               gradient                   │
#  x, y, z ──→│  z ← f(x + y + z)  n ×     z ← f(x + y + z)  n ×      │──→ y → LM head → loss
#             │  y ← f(y + z)              y ← f(y + z)               │
#             └───────────────────────────────────────────────────────┘
#                      ↑                                    │
#                      └──── the next step starts from y, z (detached), N_sup times in all
# ```
#
# A *cycle* is: think n times about question, answer and scratch pad, then improve the answer once. In code,
# that is all:


# %%
def recursion(x: torch.Tensor, sight: AttentionContext) -> list[torch.Tensor]:
    """x `[B, S, D]` → the answer y `[B, S, D]` after each supervision step."""
    y, z = decoder.y_start.expand_as(x), decoder.z_start.expand_as(x)
    found = []
    for _ in range(settings.supervision_steps):
        for cycle in range(settings.cycles):
            with torch.set_grad_enabled(cycle == settings.cycles - 1):
                for _ in range(settings.refinements):
                    z = decoder.block(x + y + z, sight)
                y = decoder.block(y + z, sight)
        found.append(y)
        y, z = y.detach(), z.detach()
    return found


model = AnsweringModel(decoder, {"vision": tower})
x, real = decoder.join(model.prefix(batch), batch["input_ids"], batch["attention_mask"])
sight = AttentionContext(real, x.shape[1], decoder.rotary)  # who sees whom, and positions
print(f"x: {batch['input_ids'].shape[1]} words and {x.shape[1] - batch['input_ids'].shape[1]} picture token")
by_hand, packaged = recursion(x, sight), decoder.answers(x, sight)
print("by hand as in the package:", all(map(torch.equal, by_hand, packaged)))

# %% [markdown]
# Where does the gradient flow? A forward hook tells how each application of the block was run:

# %%
graded: list[str] = []
hook = decoder.block.register_forward_hook(lambda *_: graded.append("✓" if torch.is_grad_enabled() else "–"))
decoder.answers(x, sight)
hook.remove()
per_cycle = settings.refinements + 1
names = ["z"] * settings.refinements + ["**y**"]
table(
    ["supervision step", "cycle", *names],
    [
        [
            1 + start // (per_cycle * settings.cycles),
            1 + start // per_cycle % settings.cycles,
            *graded[start : start + per_cycle],
        ]
        for start in range(0, len(graded), per_cycle)
    ],
)

# %% [markdown]
# Only the last cycle before each loss is learned from (✓); what came before it is taken as given. It saves
# time and above all memory: what has no gradient need not be kept for the backward pass. Here is what is
# kept, with and without that cut:


# %%
def kept_for_backward(run) -> int:
    """Bytes of activations that autograd keeps; weights are there anyway and do not count."""
    weights, count = {parameter.data_ptr() for parameter in model.parameters()}, []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        count.append(0 if tensor.data_ptr() in weights else tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        run()
    return sum(count)


def without_cut() -> None:
    y, z = decoder.y_start.expand_as(x), decoder.z_start.expand_as(x)
    for _ in range(settings.supervision_steps * settings.cycles):
        for _ in range(settings.refinements):
            z = decoder.block(x + y + z, sight)
        y = decoder.block(y + z, sight)


cut, whole = kept_for_backward(lambda: decoder.answers(x, sight)), kept_for_backward(without_cut)
print(f"gradient through the last cycles: {cut / 2**20:.2f} MiB, through everything: {whole / 2**20:.2f} MiB")

# %% [markdown]
# What does the recursion cost in weights? Nothing: the block is the same each time. Two plain decoders stand
# beside it: one with the same weights used once, one with as many layer applications, each with weights of
# its own. In time it is the other way round: a TRM costs as much as the deep one.


# %%
def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


rivals = {
    "TRM": decoder,
    "plain, same size": PlainDecoder.same_size(decoder),
    "plain, same compute": PlainDecoder.same_compute(decoder),
}
table(
    ["decoder", "parameters", "of these embedding", "layer applications for a word"],
    [
        [name, f"{parameters(one):,}", f"{parameters(one.embedding):,}", one.applications]
        for name, one in rivals.items()
    ],
)
print(model.print_parameter_counts())

# %% [markdown]
# The paper's model solves puzzles: it sees a whole board at once, with T = 3 cycles, n = 6 refinements and up
# to 16 supervision steps. Ours writes text, so it is *causal*: no position may see a later one, through
# however many applications. Change the last word, and nothing before it changes:

# %%
changed = x.clone()
changed[:, -1] += 1.0
before, after = decoder.answers(x, sight)[-1], decoder.answers(changed, sight)[-1]
print("all but the last position the same:", torch.allclose(before[:, :-1], after[:, :-1], atol=1e-6))
print("the last position the same:", torch.allclose(before[:, -1], after[:, -1], atol=1e-6))

# %% [markdown]
# Because of that, writing is cheap. To add a word, attention needs the *keys and values* of all earlier
# positions, and they never change: they can be kept (the KV cache). In a TRM the same layer runs many times
# in one pass, and each time it reads something else. So there is one slot **per application**, not per
# layer:

# %%
asking = batch_of("train", range(8), prompts=True)
with torch.no_grad():
    prefix = model.prefix(asking)
    steps = DecoderSteps(decoder, prefix, asking["input_ids"], asking["attention_mask"], room=8, cached=True)
    steps.start()
keys = steps.cache.keys[:, :, :, : steps.cache.length]  # [slots, B, heads, positions, d]
print("[slots, B, heads, positions, numbers]:", tuple(keys.shape))
print(f"layer 1, application 1 against 2: keys differ by {rms(keys[0] - keys[settings.layers]):.3f} (RMS)")
size = 2 * 4 * 1000 * decoder.applications * decoder.width  # keys and values, 4 bytes a number
print(f"cache of one row of 1,000 positions: {size / 2**20:.1f} MiB")

# %% [markdown]
# ## 6 The loss
#
# At each trained token: minus the logarithm of the probability that the model gave it. By hand, with
# everything shifted by one, because a token is predicted from the position before it; and for both
# supervision steps, whose losses are averaged:

# %%
output = model(batch)
labels = F.pad(batch["labels"], (x.shape[1] - batch["labels"].shape[1], 0), value=NOT_TRAINED)
losses = []
for y in decoder.answers(x, sight):
    logits = decoder.lm_head(y)[:, :-1].transpose(1, 2)  # [B, V, S - 1]
    losses.append(F.cross_entropy(logits, labels[:, 1:], ignore_index=NOT_TRAINED, reduction="sum"))
by_hand = torch.stack(losses).mean()
print(f"by hand {by_hand:.4f}, model {output.loss_sum:.4f}, both for {output.count} trained tokens")
print(f"per token {output.loss_sum / output.count:.3f};", end=" ")
print(f"guessing among all tokens: ln(V) = {math.log(len(tokenizer)):.3f}")
print(f"logits that were needed: {output.count} of {labels.numel()} positions")

# %% [markdown]
# (The package computes the logits at the trained positions only. For a vocabulary of 150,000 words that is
# the difference between megabytes and gigabytes.)
#
# The model gives the **sum** and the count, not the mean, and that is not pedantry. When a batch does not fit
# into memory it is cut into parts whose gradients are added up (*accumulation*). Answers differ in length. If
# each part takes its own mean, a token in a part with few of them weighs more than the others, and the result
# depends on how the batch was cut. Divide by the count of the *whole* batch, and it does not:


# %%
def gradient(parts: list[list[int]], own_mean: bool) -> torch.Tensor:
    """Of the block's weights, when a batch is cut into these parts."""
    model.zero_grad()
    outputs = [model(batch_of("train", part)) for part in parts]
    total = sum(one.count for one in outputs)
    for one in outputs:
        (one.loss_sum / one.count / len(outputs) if own_mean else one.loss_sum / total).backward()
    return torch.cat([parameter.grad.flatten() for parameter in decoder.block.parameters()])


trained_tokens = [int((datasets["train"][row]["labels"] != NOT_TRAINED).sum()) for row in range(len(train))]
eight = sorted(range(len(train)), key=trained_tokens.__getitem__)
eight = [int(row) for row in eight[:5] + eight[-3:]]  # five of the shortest answers, three of the longest
parts = [eight[:2], eight[2:5], eight[5:]]
print("trained tokens in the three parts:", [sum(trained_tokens[row] for row in part) for part in parts])
whole = gradient([eight], own_mean=False)
for name, own_mean in (("each part its own mean", True), ("divided by the count of all", False)):
    error = (gradient(parts, own_mean) - whole).norm() / whole.norm()
    print(f"{name}: the gradient is off by {error:.2e} of its length")
model.zero_grad()

# %% [markdown]
# ## 7 Training, written out by hand

# %%
BATCH, EPOCHS = config.dataset.batch_size, config.training.epochs


@torch.no_grad()
def validate(model: AnsweringModel) -> float:
    """Mean loss over the trained tokens of the validation rows."""
    model.eval()
    rows = range(len(tables["val"]))
    outputs = [model(batch_of("val", rows[start : start + BATCH])) for start in rows[::BATCH]]
    model.train()
    return (sum(one.loss_sum for one in outputs) / sum(one.count for one in outputs)).item()


def train_by_hand(model: AnsweringModel, title: str) -> tuple[list, list]:
    """Train; give back (step, loss) of training and of validation."""
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    options = config.optimization
    optimizer = torch.optim.AdamW(trained, options.lr, options.betas, weight_decay=options.weight_decay)
    sampler = EpochBatchSampler(len(train), BATCH, config.seed)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.lr, EPOCHS * len(sampler), pct_start=options.warmup_ratio, cycle_momentum=False
    )  # a short warm-up, then down along a cosine
    history, validation, started = [], [(0, validate(model))], time.perf_counter()
    for epoch in range(EPOCHS):
        sampler.epoch = epoch  # the order is a function of (seed, epoch)
        for keys in sampler:
            output = model(batch_of("train", [row for _, row in keys]))
            optimizer.zero_grad()
            (output.loss_sum / output.count).backward()
            torch.nn.utils.clip_grad_norm_(trained, options.max_grad_norm)
            optimizer.step()
            schedule.step()
            history.append((len(history) + 1, (output.loss_sum / output.count).item()))
        validation.append((len(history), validate(model)))
    seconds = time.perf_counter() - started
    rate = EPOCHS * len(train) / seconds
    print(f"{title}: {len(history)} steps, {seconds:.0f} s, {rate:.0f} questions per second;", end=" ")
    print(f"validation loss {validation[0][1]:.3f} → {validation[-1][1]:.3f}")
    return history, validation


curves = {"TRM": train_by_hand(model, "TRM")}

# %% [markdown]
# ## 8 Writing an answer
#
# Predict a token, append it, predict the next, until the end token comes. By hand, computing everything anew
# for each word:

# %%
model.eval()
longest = config.generation.max_new_tokens or config.dataset.max_answer_length
rule = GenerationSettings(max_new_tokens=longest, end=conversation.end)  # greedy: always the best token


@torch.no_grad()
def write_by_hand(row: int) -> list[int]:
    """Tokens of the answer to one test question."""
    batch = batch_of("test", [row], prompts=True)
    prefix, ids, written = model.prefix(batch), batch["input_ids"], []
    while len(written) < longest:
        x, real = decoder.join(prefix, ids, torch.ones_like(ids, dtype=torch.bool))
        y = decoder.answers(x, AttentionContext(real, x.shape[1], decoder.rotary))[-1]
        token = decoder.lm_head(y[0, -1]).argmax()
        if token == conversation.end:
            break
        written.append(int(token))
        ids = torch.cat([ids, token.view(1, 1)], dim=1)
    return written


asked_rows = np.linspace(0, len(test) - 1, 16).astype(int).tolist()
started = time.perf_counter()
by_hand = [write_by_hand(row) for row in asked_rows]
seconds = {"by hand, nothing kept": time.perf_counter() - started}
started = time.perf_counter()
singly = [model.generate(batch_of("test", [row], prompts=True), rule) for row in asked_rows]
seconds["one by one, with the cache"] = time.perf_counter() - started
started = time.perf_counter()
together = model.generate(batch_of("test", asked_rows, prompts=True), rule)
seconds["all in one batch, with the cache"] = time.perf_counter() - started
print("by hand = one by one:", by_hand == [one.tokens[0] for one in singly])
print("one by one = batch:  ", [one.tokens[0] for one in singly] == together.tokens)
table(["16 answers", "seconds"], [[name, f"{value:.3f}"] for name, value in seconds.items()])

# %% [markdown]
# A batch must never change an answer. Prompts of different lengths are padded, and a model that sees its
# padding, or counts its positions from the wrong place, answers differently in company than alone. (How much
# the cache saves grows with the length of prompt and answer. Ours are short, and in the tiny form looking
# after the cache can cost more than it saves.)

# %%
titles = []
for row, tokens in list(zip(asked_rows, together.tokens, strict=True))[:12]:
    said, right = tokenizer.decode(tokens), test.answer(row)
    titles.append(f"{test.question(row)}\n→ {said}" + (f"\n(right: {right})" if said != right else ""))
show([test.picture(row) for row in asked_rows[:12]], titles)

# %% [markdown]
# ## 9 Does it look? Does recursion help?
#
# A number alone says nothing. “Is there a red shape?” can be answered “no” without looking, and is right
# most of the time. So we measure beside the model:
#
# - **the most frequent answer**: to each question the answer it had most often in training; no model at all,
# - **a blind model**: the same decoder, trained in the same way, without the picture,
# - **a plain decoder of the same size**: the same layers, applied once,
# - the **untouched** model, which nobody has trained,
# - and our model with **swapped pictures**: the right question about a wrong picture.


# %%
def before_a_decoder() -> dict[str, PrefixTower]:
    own = Projector(vision.width, decoder.width)
    return {"vision": PrefixTower(vision, tower.pooling, own, standardizer)}


torch.manual_seed(config.seed)  # the same first weights as in section 4
untouched = AnsweringModel(edge_glass.TRMDecoder(tokenizer, settings), before_a_decoder())
torch.manual_seed(config.seed)
blind = AnsweringModel(edge_glass.TRMDecoder(tokenizer, settings))
torch.manual_seed(config.seed)
plain = AnsweringModel(PlainDecoder.same_size(decoder), before_a_decoder())
curves["blind TRM"] = train_by_hand(blind, "blind TRM")
curves["plain decoder"] = train_by_hand(plain, "plain decoder")

# %%
figure = go.Figure()
colours = {"TRM": "#0072B2", "blind TRM": "#9AA1AC", "plain decoder": "#D55E00"}
for name, (history, validation) in curves.items():
    for points, dash, what in ((history, "dot", "training"), (validation, "solid", "validation")):
        every = max(1, len(points) // 60)  # a mean over a few steps each
        groups = [points[start : start + every] for start in range(0, len(points), every)]
        figure.add_scatter(
            x=[group[-1][0] for group in groups],
            y=[round(float(np.mean([loss for _, loss in group])), 4) for group in groups],
            name=f"{name}, {what}",
            mode="lines",
            line={"color": colours[name], "dash": dash, "width": 1 if dash == "dot" else 2},
        )
figure.update_layout(
    title="Loss per trained token", xaxis_title="step", yaxis_title="loss", yaxis_type="log", template="none"
)
figure.show()


# %%
def answers_of(model: AnsweringModel, swap: dict | None = None) -> list[str]:
    """The model's answers to all test questions."""
    model.eval()
    size, written = config.generation.batch_size, []
    for start in range(0, len(test), size):
        rows = range(start, min(start + size, len(test)))
        batch = batch_of("test", rows, prompts=True, swap=swap)
        written += [tokenizer.decode(tokens).strip() for tokens in model.generate(batch, rule).tokens]
    return written


test_pictures = list(dict.fromkeys(test.picture_hashes))
next_picture = dict(zip(test_pictures, test_pictures[1:] + test_pictures[:1], strict=True))
learned = [(train.question(row), train.answer(row)) for row in range(len(train))]
candidates = {
    "untouched TRM": answers_of(untouched),
    "most frequent answer": most_frequent_answers(learned, [test.question(row) for row in range(len(test))]),
    "blind TRM": answers_of(blind),
    "TRM, swapped pictures": answers_of(model, swap=next_picture),
    "plain decoder": answers_of(plain),
    "TRM": answers_of(model),
}
references = [[test.answer(row)] for row in range(len(test))]
units = datasets["test"].groups  # the questions of one picture are drawn together


def estimates(texts: list[str]) -> dict:
    answered = AnswerSet(texts, references, units, answer_types=test.answer_types)
    return estimate_answers(answered, ["vqa_accuracy"], config.evaluation.bootstrap_samples)


measured = {name: estimates(texts) for name, texts in candidates.items()}


def with_interval(estimate) -> str:
    found = estimate.interval()
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


of_types = [f"vqa_accuracy/type/{kind}" for kind in sorted(set(test.answer_types))]
table(
    ["test accuracy", "all", *(name.rpartition("/")[2] for name in of_types)],
    [
        [
            name,
            with_interval(one["vqa_accuracy"]),
            *(f"{one[kind].value:.3f}" if kind in one else "–" for kind in of_types),
        ]
        for name, one in measured.items()
    ],
)
print(f"{len(test)} questions about {len(set(test.picture_hashes))} pictures")
for name in ("most frequent answer", "blind TRM", "TRM, swapped pictures", "plain decoder"):
    gain = measured["TRM"]["vqa_accuracy"].minus(measured[name]["vqa_accuracy"])
    print(f"TRM against {name}: {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")

# %% [markdown]
# How to read it:
#
# - *Blind* and *most frequent answer* show what the questions give away. Only what lies above is seeing. The
#   kinds of questions differ much in this; an average over all of them is made of both.
# - With *swapped pictures* a model that looks falls **below** the blind one on questions that need the
#   picture: it is sure, and of the wrong thing. One that stays where it was has not looked.
# - *TRM against plain decoder* asks whether applying the layers again pays. Look at the interval before
#   answering. One seed of one small data set is no proof either way; `edge-glass ablate` repeats a
#   comparison over seeds.
# - The intervals come from drawing *pictures* with all their questions, since ten questions about one picture
#   are not ten independent trials. With a handful of test pictures (tiny form) they span nearly everything.
#
# ## 10 The same in one line
#
# `edge_glass.train` does the same from the file `configs/easy_vqa_trm.yaml`, and adds what the loop by hand
# lacks: checkpoints that resume to equal weights, lower precision, several GPUs, validation by written
# answers, and a verdict against the untouched model. (In the tiny form `dataset.train_parquet` is dropped,
# and the same shapes are taken in another split, so its numbers are not those of section 9.)

# %%
run = edge_glass.train(config, output=WORK / "run", progress=not TINY)
print(sorted(path.name for path in run.folder.iterdir()))

# %%
results = run.results
verdict = results["verdict"]
print(f"against the untouched model: {verdict['status']}, {verdict['metric']} {verdict['difference']:+.3f} "
      f"[{verdict['low']:+.3f}, {verdict['high']:+.3f}]")  # fmt: skip


def cell(entry: dict | None) -> str:
    return f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]" if entry else "–"


names = ["vqa_accuracy", "exact_match", "token_f1", "never_ended"]
names += [name for name in results["metrics"] if name.startswith("vqa_accuracy/type/")]
parts = [results["baseline"], results["most_frequent_answer"]["metrics"], results["metrics"]]
table(
    ["metric", "untouched", "most frequent answer", "trained"],
    [[name, *(cell(part.get(name)) for part in parts)] for name in names],
)
print({name: part["rows"] for name, part in results["data"].items()}, "questions")
print({name: round(value, 1) for name, value in results["cost"].items() if value is not None})

# %%
visualizer = edge_glass.TrainingVisualizer(run.folder)
show_plot(visualizer.plot_training_curves())
show_plot(visualizer.plot_answer_types())

# %% [markdown]
# `report.html` in the run's folder shows this and the pictures with questions, right and wrong answers.
# `samples.jsonl` has a few answers of each validation: look there first when a number is odd.
#
# The controls of section 9 are one line too. With
# `evaluation.compare_with: [blind, same_size, same_compute]`, as the file has it (we switched it off to save
# time), they are trained beside the model and stand in its report.
#
# ## 11 Use it
#
# `edge_glass.load` opens a finished run; it needs nothing but the run's folder. Put the path of a picture of
# your own into `OWN`. Without one we draw something that is in no data set.

# %%
OWN: Path | None = None

if OWN is None:
    own = Image.new("RGB", (320, 200), "white")
    ImageDraw.Draw(own).polygon([(60, 170), (160, 30), (260, 170)], fill="blue")
else:
    own = Image.open(OWN)
answerer = edge_glass.load(run.folder)
if TINY:
    own_questions = ["what colour is it?", "what shape is it?", "what is it?"]
else:
    own_questions = ["what color is the shape?", "what shape is in the image?", "is there a red shape?"]
own_questions.append("what animal is it?")
show([own, answerer.model.vision_tower.encoder.preprocess.crop(own)], ["the file", "what is seen"], columns=2)
for question, words in zip(own_questions, answerer.answer_all((own, q) for q in own_questions), strict=True):
    print(f"{question} → {words!r}")

# %% [markdown]
# The last question has no right answer, and the model answers all the same: it has never been shown that one
# can say “I do not know”. It has learned 13 answers (in the tiny form: colours, shapes and their names) about
# drawn shapes on a plain ground, and this is all it knows of the world. A photograph gets one of the 13, too.
#
# In the terminal, word by word:
#
# ```
# edge-glass answer RUN picture.png "what color is the shape?"
# ```
#
# ## Questions
#
# 1. A colleague's model gives perfect answers and then goes on talking. Which label is missing?
# 2. Suppose the blind model is right in two of three cases. Is it a good model? Is the *data set* good?
# 3. Why do losses of two tokenizers not compare, even for the same answers? What does?
# 4. The prompt of training and that of use differ by one blank. What can happen?
# 5. Each application of the block has its own slot in the cache. How would memory and time compare with a
#    plain decoder of the same compute?
# 6. Why must the picture be *before* the question in a causal decoder if the question is to be read in its
#    light? What could be said for the other order?
#
# ## Exercises
#
# Change the `overrides` and run again, or use `edge-glass train configs/easy_vqa_trm.yaml KEY=VALUE`.
#
# 1. **Scale.** Make the projector with `scale=20` and `scale=0.05`, and draw the loss of the first 100
#    steps beside ours.
# 2. **How often to think?** `decoder.recursion.refinements`, `.cycles` and `.supervision_steps`: 1, 2 and 4.
#    What do accuracy and questions per second do? When is it worth it?
# 3. **Gradient through everything.** Write a subclass of `TRMDecoder` whose `answers` lets the gradient flow
#    through all cycles. Is it better? What does it cost?
# 4. **Where things are.** `vision_encoder.feature_layers=[]` with `pooling_type=none`, `grid` and `mean`.
#    Which questions gain?
# 5. **Train on everything.** Set the labels of the question, too. What happens to the loss, and what to the
#    answers?
# 6. **Halting.** `decoder.recursion.halting=true` lets the model stop early. How often does it?
# 7. **A language model.** `configs/easy_vqa_smollm2.yaml` gives the same prefix to SmolLM2 with LoRA.
#    Compare accuracy, trained parameters and seconds (`results.json`, `cost`).
# 8. **Your own file.** Parquet with the four columns of section 1: look at it with `edge-glass inspect
#    configs/trm_vlm_qa.yaml dataset.train_parquet=my.parquet`, then train. Which rows were left out, and why?

# %%
if TINY:
    scratch.cleanup()
else:
    print("the run of this lesson, with its report.html, is in", WORK)
