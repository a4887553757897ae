"""Using finished models: searching, answering, detecting, merging."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from edge_glass import api


@click.command()
@click.argument("run", type=Path)
@click.argument("words", required=False)
@click.option("--image", type=Path, metavar="FILE", help="Search with a picture, alone or beside words.")
@click.option("--audio", type=Path, metavar="FILE", help="Search with a sound (WAV, FLAC, MP3, Ogg).")
@click.option(
    "--pictures", type=Path, metavar="FOLDER", help="Search in this folder instead of the run's pictures."
)
@click.option("-k", default=10, show_default=True, type=click.IntRange(1, 1000), help="How many pictures.")
@click.option("--dim", type=int, help="Matryoshka dimension; default: the full one.")
@click.option("--page", type=Path, metavar="FILE", help="Where the HTML page goes; default: RUN/search.html.")
def search(
    run: Path,
    words: str | None,
    image: Path | None,
    audio: Path | None,
    pictures: Path | None,
    k: int,
    dim: int | None,
    page: Path | None,
) -> None:
    """Find pictures by WORDS, a picture or a sound, or by several of them at once.

    \b
    edge-glass search runs/quickstart "a sad animal"
    edge-glass search runs/quickstart --image photo.jpg
    edge-glass search runs/quickstart "my dog" --pictures ~/Pictures
    edge-glass search runs/trimodal_emoji --audio question.wav
    edge-glass search runs/trimodal_emoji "in the snow" --image dog.jpg
    """
    if words is None and image is None and audio is None:
        raise click.UsageError('give words, as in `search RUN "a sad animal"`, --image FILE or --audio FILE')
    from edge_glass.alignment.report.page import write_search_page
    from edge_glass.alignment.report.summary import hits_table
    from edge_glass.alignment.use.search import AlignmentModel

    model = AlignmentModel(run)
    index = model.index_pictures(pictures) if pictures else None
    hits = model.search(words, k, dim, index, image=image, audio=audio)
    click.echo(hits_table(hits))
    asked = [part for part in (words, audio and audio.name, image and image.name) if part]
    shown: Any = model.thumbnail(image) if image is not None and len(asked) == 1 else " + ".join(asked)
    where = write_search_page(page or model.run / "search.html", shown, hits)
    click.echo(f"pictures: {where}")


@click.command()
@click.argument("run", type=Path)
@click.argument("asked", nargs=-1, metavar="[PICTURE] QUESTION")
@click.option("--audio", type=Path, metavar="FILE", help="A sound that the question is about, too.")
@click.option("--max-new-tokens", type=click.IntRange(1), help="Longest answer in tokens.")
@click.option("--sample", is_flag=True, help="Draw words at random instead of taking the best.")
@click.option("--temperature", type=float, help="Of sampling; below 1 is more careful.")
@click.option("--top-p", type=float, help="Of sampling: only the most probable words, up to this share.")
@click.option("--seed", type=click.IntRange(0), help="Of sampling.")
@click.option("--beams", type=click.IntRange(1), help="Beam search; the answer then comes in one piece.")
@click.option("--no-stream", is_flag=True, help="Print the answer in one piece.")
def answer(
    run: Path,
    asked: tuple[str, ...],
    audio: Path | None,
    sample: bool,
    beams: int | None,
    no_stream: bool,
    **choices: Any,
) -> None:
    """Ask RUN a QUESTION about a PICTURE; the answer is printed while it is written.

    RUN is a run folder, a model folder or what `merge` wrote. Without a picture, leave it out.

    \b
    edge-glass answer runs/easy_vqa_trm picture.png "what color is the triangle?"
    edge-glass answer runs/easy_vqa_smollm2/merged picture.png "is there a circle?" --beams 4
    edge-glass answer runs/trimodal_trm emoji.png "which emoji is it?" --audio spoken.wav
    edge-glass answer runs/easy_vqa_trm/compared/blind "what color is the triangle?"
    """
    forgotten = len(asked) == 1 and os.path.isfile(asked[0])  # noqa: PTH113 - takes questions of any length
    if forgotten or not 1 <= len(asked) <= 2:
        raise click.UsageError('give a picture and a question, as in `answer RUN photo.png "what is it?"`')
    from edge_glass.instruction.use.answer import AnswerModel
    from edge_glass.reporting.inspection import visible

    model = AnswerModel(run)
    choices |= {"do_sample": sample or None, "num_beams": beams}
    picture = asked[0] if len(asked) == 2 else None
    if picture is None and "vision" in model.model.modalities:
        click.echo("note: this model sees pictures, and the question comes without one", err=True)
    ask: Any = model.answer if no_stream else model.stream
    said = ask(picture, asked[-1], audio, **choices)
    words = False
    for piece in [said] if no_stream else said:
        words = words or bool(piece)
        click.echo(visible(piece, keep=" \n\t\N{ZERO WIDTH JOINER}"), nl=False)
    click.echo()
    if not words:
        click.echo("note: the answer is empty: the model ended it at once", err=True)


@click.command()
@click.argument("run", type=Path)
@click.argument("pictures", type=Path, nargs=-1, required=True)
@click.option("--save", type=Path, metavar="FILE", help="Draw the boxes; a folder for several pictures.")
@click.option("--coco", type=Path, metavar="FILE", help="Write the boxes as COCO JSON.")
@click.option("--batch-size", type=click.IntRange(1), help="Pictures at a time; default: as in training.")
def detect(
    run: Path, pictures: tuple[Path, ...], save: Path | None, coco: Path | None, batch_size: int | None
) -> None:
    """Find things in PICTURES (files or folders) with the model of RUN.

    RUN is a run folder, a model folder or what `merge` wrote.

    \b
    edge-glass detect runs/detection_assistant_only product.jpg --save out.png
    edge-glass detect runs/detection_assistant_only photos/ --save drawn/ --coco boxes.json
    """
    from edge_glass.detection.report.summary import detection_lines
    from edge_glass.detection.use.detect import DetectModel, picture_files, to_coco
    from edge_glass.reporting.boxes import save_drawn

    files = picture_files(pictures)
    model = DetectModel(run)
    found = model.detect_all(files, batch_size)
    for line in detection_lines(files, found):
        click.echo(line)
    if coco is not None:
        coco.write_text(json.dumps(to_coco(found, files, model.categories), indent=1), encoding="utf-8")
        click.echo(f"boxes: {coco}")
    if save is not None:
        for path in save_drawn(files, found, save):
            click.echo(f"picture: {path}")


@click.command()
@click.argument("run", type=Path)
@click.option("--output", type=Path, metavar="DIR", help="Where to; default: RUN/merged.")
@click.option(
    "--bound",
    type=click.FloatRange(0),
    help="Largest difference of logits, as a share of the largest; default: 0.001, for bfloat16 0.05.",
)
@click.option(
    "--rows",
    type=click.IntRange(0),
    default=64,
    show_default=True,
    help="Test rows that both models answer; 0 compares logits alone.",
)
def merge(run: Path, output: Path | None, bound: float | None, rows: int) -> None:
    """Write the model of a LoRA RUN as a plain Hugging Face folder, with the adapters merged.

    Merged and unmerged model are compared first; nothing is written when they answer otherwise.

    \b
    edge-glass merge runs/easy_vqa_smollm2
    edge-glass merge runs/detection_assistant_only
    edge-glass answer runs/easy_vqa_smollm2/merged picture.png "what color is the triangle?"
    edge-glass merge runs/easy_vqa_smollm2 --output models/shapes --rows 500
    """
    merged = api.merge(run, output, bound, rows)
    for line in merged.lines():
        click.echo(line)
    click.echo(f"merged: {merged.folder}")
