"""`edge-glass data`: building, downloading and checking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_glass.cli.base import Commands

BOX_SPECS = ("yxyx_relative", "xyxy_relative", "xyxy", "xywh", "xywh_relative", "cxcywh_relative")


@click.group(cls=Commands)
def data() -> None:
    """Build or download data sets and check them."""


@data.command()
@click.argument("corpus", type=click.Choice(["emoji", "easy-vqa", "nutrition-scenes", "emoji-scenes"]))
@click.option("--output", type=Path, metavar="DIR", help="Default: data/CORPUS.")
@click.option("--speech", is_flag=True, help="emoji: add spoken names, made with libespeak-ng.")
@click.option("--rows", type=click.IntRange(20), help="Scenes: how many pictures.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Scenes: other pictures.")
def build(corpus: str, output: Path | None, speech: bool, rows: int | None, seed: int) -> None:
    """Build a data set that installs anywhere.

    \b
    edge-glass data build emoji            # data/emoji/{train,val,test}.parquet
    edge-glass data build emoji --speech   # the same with spoken names, 16 kHz
    edge-glass data build easy-vqa         # questions about 5,000 pictures of shapes
    edge-glass data build nutrition-scenes --rows 2000   # packages with nutrition tables, and boxes
    edge-glass data build emoji-scenes --rows 20000      # emoji on backgrounds, and boxes
    """
    from edge_glass.corpora.building import build_corpus

    for file in build_corpus(corpus, output or Path("data") / corpus, speech, rows, seed).values():
        click.echo(file)


@data.command()
@click.argument("corpus", type=click.Choice(["pixmo-cap", "pixmo-cap-qa", "common-voice", "instruction"]))
@click.option("--output", type=Path, metavar="DIR", help="Default: data/CORPUS.")
@click.option("--limit", type=click.IntRange(1), help="Only the first so many rows of the index.")
@click.option("--index", type=Path, multiple=True, metavar="FILE", help="PixMo: rows from here, not the hub.")
@click.option("--archive", type=Path, metavar="FILE", help="Common Voice: the release, packed or unpacked.")
@click.option("--language", metavar="CODE", help="Common Voice: needed when the release has several.")
@click.option("--annotations", type=Path, multiple=True, metavar="FILE", help="Instruction: LLaVA's JSON.")
@click.option("--image-root", type=Path, metavar="DIR", help="Instruction: the pictures are files here.")
@click.option("--image-url-prefix", metavar="URL", help="Instruction: the pictures are files there.")
@click.option("--retry-rejected", is_flag=True, help="Also try again what was rejected for good.")
@click.option("--delete-parts", is_flag=True, help="Delete the kept pictures once the parquet file is there.")
@click.option("--workers", default=16, show_default=True, type=click.IntRange(1, 256), help="URLs at once.")
@click.option("--per-host", default=4, show_default=True, type=click.IntRange(1, 256), help="Of one host.")
@click.option("--attempts", default=4, show_default=True, type=click.IntRange(1, 20), help="For each URL.")
@click.option("--seconds", default=120.0, show_default=True, type=click.FloatRange(1), help="For one URL.")
@click.option("--max-mb", default=32.0, show_default=True, type=click.FloatRange(0.001), help="For one file.")
@click.option("--allow-private", is_flag=True, hidden=True)
def download(
    corpus: str,
    workers: int,
    per_host: int,
    attempts: int,
    seconds: float,
    max_mb: float,
    allow_private: bool,
    **options: Any,
) -> None:
    """Download a data set of pictures by URL, or read a Common Voice release.

    A second call goes on where the first stopped. Rows that gave no picture are in rejects.csv, with reasons.

    \b
    edge-glass data download pixmo-cap --limit 20000          # data/pixmo-cap/train.parquet
    edge-glass data download pixmo-cap-qa --index rows.parquet --workers 32
    edge-glass data download common-voice --archive cv-corpus-22.0-en.tar.gz
    edge-glass data download instruction --annotations llava.json --image-root coco/train2017
    edge-glass data download instruction --annotations llava.json \\
        --image-url-prefix http://images.cocodataset.org/train2017 --output data/llava
    """
    from edge_glass.corpora.downloading.downloads import download as run
    from edge_glass.corpora.downloading.fetching import Limits

    limits = Limits(
        workers=workers,
        per_host=per_host,
        attempts=attempts,
        total_seconds=seconds,
        max_bytes=int(max_mb * 2**20),
        allow_private=allow_private,
    )
    for line in run(corpus, limits=limits, **options):
        click.echo(line)


@data.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--image-column", default="image_bytes", show_default=True)
@click.option("--text-column", default="caption", show_default=True)
@click.option("--boxes", is_flag=True, help="Parquet FILES hold boxes in OpenFoodFacts' form.")
@click.option(
    "--box-spec",
    type=click.Choice(BOX_SPECS),
    default=BOX_SPECS[0],
    show_default=True,
    help="How parquet files write boxes.",
)
@click.option("--image-root", type=Path, metavar="DIR", help="Folder of the pictures that annotations name.")
@click.option(
    "--rejects",
    type=Path,
    metavar="FILE",
    help="Table of bad rows; default: rejects.csv beside the first file.",
)
@click.pass_context
def check(
    ctx: click.Context,
    files: tuple[str, ...],
    image_column: str,
    text_column: str,
    boxes: bool,
    box_spec: str,
    image_root: Path | None,
    rejects: Path | None,
) -> None:
    """Validate every row of FILES; several files are also checked against each other.

    \b
    edge-glass data check data/emoji/train.parquet data/emoji/val.parquet data/emoji/test.parquet
    edge-glass data check data/easy-vqa/train.parquet --text-column question
    edge-glass data check --boxes data/nutrition-scenes/train.parquet data/nutrition-scenes/val.parquet
    edge-glass data check coco:annotations.json --image-root pictures
    """
    from edge_glass.data.checking import check_parquet, split_names, write_rejects
    from edge_glass.detection.data.checking import check_boxes, is_box_source

    if boxes or all(map(is_box_source, files)):
        found = check_boxes(files, box_spec, image_root)
    else:
        paths = [Path(file) for file in files]
        found = check_parquet(split_names(paths), image_column=image_column, text_column=text_column)
    click.echo("\n".join(found.lines()))
    if found.findings:
        beside = Path(files[0].partition(":")[2] if is_box_source(files[0]) else files[0])
        target = rejects or beside.with_name("rejects.csv")
        write_rejects(found, target)
        click.echo(f"rows: {target}")
    if not found.ok:
        ctx.exit(3)
