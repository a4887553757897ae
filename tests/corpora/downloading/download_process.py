"""A download in a process of its own, which can be interrupted, killed or kept from writing.

Usage: download_process.py FILE_SIZE_LIMIT CORPUS OUTPUT KEYWORDS_AS_JSON
"""

from __future__ import annotations

import json
import logging
import resource
import subprocess
import sys
from pathlib import Path

from edge_glass.core.errors import EdgeGlassError
from edge_glass.corpora.downloading.downloads import download
from edge_glass.corpora.downloading.fetching import Limits


def start(corpus: str, output: Path, file_size: int = -1, **keywords: object) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        __file__,
        str(file_size),
        corpus,
        str(output),
        json.dumps(keywords, default=str),
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def main() -> int:
    file_size, corpus, output, keywords = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(file_size), int(file_size)))
    options = json.loads(keywords)
    options["index"] = [Path(file) for file in options["index"]]
    # What a signal does not interrupt takes an hour.
    limits = Limits(workers=4, first_wait=0.05, read_seconds=3600, total_seconds=3600, allow_private=True)
    try:
        lines = download(corpus, Path(output), limits, **options)
    except EdgeGlassError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    print("\n".join(lines))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
