"""The command line: one short command each, no logic. Heavy imports happen inside the commands."""

from __future__ import annotations

import logging
import os
import sys
import time

import click

from edge_glass import __version__
from edge_glass.cli import data, experiments, models, runs, stores
from edge_glass.cli.base import Commands
from edge_glass.core.errors import EdgeGlassError

SECONDS_TO_SPEAK = 2.0  # an error that all processes meet is said by rank 0; torchrun then ends the others


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="edge-glass")
@click.option("--debug", is_flag=True, help="Show tracebacks and more log lines.")
@click.option("--quiet", "-q", is_flag=True, help="Only warnings, errors and results.")
def cli(debug: bool, quiet: bool) -> None:
    """Train small multimodal models from one YAML file, and see whether training helped.

    \b
    edge-glass data build emoji                     # 1,918 pictures with names
    edge-glass train configs/quickstart.yaml        # align pictures and words
    edge-glass search runs/quickstart "a sad animal"

    \b
    edge-glass data build easy-vqa                  # questions about pictures of shapes
    edge-glass inspect configs/easy_vqa_trm.yaml    # what the model will see
    edge-glass train configs/easy_vqa_trm.yaml      # a small model that answers
    edge-glass answer runs/easy_vqa_trm picture.png "what color is the triangle?"

    \b
    edge-glass data build nutrition-scenes          # packages with nutrition tables
    edge-glass overfit configs/detection_assistant_only.yaml -n 8   # does the setup fit together?
    edge-glass train configs/detection_assistant_only.yaml
    edge-glass detect runs/detection_assistant_only product.jpg --save out.png
    """
    quiet = quiet or os.environ.get("RANK", "0") != "0"  # of several processes, one talks
    level = logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO
    logging.basicConfig(format="%(message)s", stream=sys.stderr, level=logging.WARNING)
    logging.getLogger("edge_glass").setLevel(level)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of slow kernels whether used or not


for command in (
    *(runs.inspect, runs.overfit, runs.train, runs.evaluate, runs.ablate, runs.report),
    *(models.search, models.answer, models.detect, models.merge),
    *(data.data, stores.assets, stores.cache, experiments.config_group),
):
    cli.add_command(command)


def main() -> None:
    """Run the command line; errors of users end with a message and a code, bugs with a traceback."""
    debug = "--debug" in sys.argv
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except EdgeGlassError as error:
        if debug:
            raise
        if os.environ.get("RANK", "0") != "0":
            time.sleep(SECONDS_TO_SPEAK)
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
