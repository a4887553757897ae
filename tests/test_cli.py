"""The command line as a user meets it: what it prints, its exit codes, and that nothing saved is harmed."""

from __future__ import annotations

import io
import json
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from answering_runs import write_answering_run
from edge_glass.cli import main
from edge_glass.data.generated import COLOURS, SHAPES, draw_shape, play_shape
from edge_glass.data.sounds import Sound, encode_flac
from edge_glass.reporting.inspection import visible

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call the program; gives exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edge-glass", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        code = stopped.value.code
        return int(code or 0), captured.out, captured.err

    return call


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Toy encoders as saved folders, so that real files of rows can be used without weights."""
    from edge_glass.encoders.text import TextEncoder
    from edge_glass.encoders.vision import VisionEncoder

    folder = tmp_path_factory.mktemp("encoders")
    VisionEncoder.tiny().save(folder / "vision")
    TextEncoder.tiny().save(folder / "text")
    return folder


@pytest.fixture
def experiment(tmp_path: Path, encoders: Path) -> Path:
    """A small experiment over `rows.parquet`."""
    path = tmp_path / "small.yaml"
    path.write_text(
        f"""
name: small
output_dir: {tmp_path / "runs"}
dataset:
  train_parquet: {tmp_path / "rows.parquet"}
  batch_size: 8
  id_column: id
vision_encoder: {{source: "{encoders / "vision"}", projection_dim: 16, mrl_dimensions: [16, 8]}}
text_encoder: {{source: "{encoders / "text"}"}}
training: {{epochs: 1, report_to: [], num_threads: 1}}
evaluation: {{bootstrap_samples: 100}}
""",
        encoding="utf-8",
    )
    return path


def rows(count: int = 48) -> list[dict[str, object]]:
    """Pictures of shapes with their names, all different."""
    names = [(colour, shape) for shape in SHAPES for colour in COLOURS][:count]
    return [
        {"id": f"row-{i}", "image_bytes": draw_shape(*name), "caption": f"a {name[0]} {name[1]}"}
        for i, name in enumerate(names)
    ]


def write_rows(path: Path, table: list[dict[str, object]]) -> Path:
    pq.write_table(pa.Table.from_pylist(table), path)
    return path


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (width, height)).save(buffer, format="PNG")
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG whose header says 60,000 x 60,000."""
    data = bytearray(png(1, 1))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def error_of(stderr: str) -> str:
    """From `error:` on; at most two lines."""
    message = stderr[stderr.index("error:") :]
    assert len(lines(message)) <= 2, message
    return message


class TestHelp:
    def test_every_command_explains_itself(self, run: Run) -> None:
        code, out, _ = run("--help")
        assert code == 0
        for command in (
            *("train", "evaluate", "search", "answer", "merge", "inspect", "ablate", "report"),
            *("data", "assets", "cache", "config"),
        ):
            assert command in out
            assert run(command, "--help")[0] == 0
        for command in ("train", "evaluate", "search", "answer", "merge", "inspect", "ablate"):
            assert f"  edge-glass {command} " in run(command, "--help")[1]  # an example

    def test_an_unknown_command_is_refused(self, run: Run) -> None:
        code, _, err = run("trian")
        assert code == 2
        assert "No such command" in err

    def test_search_wants_words_or_a_picture(self, run: Run) -> None:
        code, _, err = run("search", "runs/x")
        assert code == 2
        assert "give words" in err and "--image FILE or --audio FILE" in err


class TestConfigErrors:
    def test_a_missing_file(self, run: Run) -> None:
        code, _, err = run("train", "nowhere.yaml")
        assert code == 2
        assert "nowhere.yaml" in error_of(err)

    def test_a_typo_names_the_right_key(self, run: Run, experiment: Path, tmp_path: Path) -> None:
        write_rows(tmp_path / "rows.parquet", rows())
        code, _, err = run("train", experiment, "training.epocs=3")
        assert code == 2
        assert "did you mean training.epochs?" in error_of(err)
        assert not (tmp_path / "runs").exists()

    def test_missing_rows_are_named_before_a_model_loads(self, run: Run, experiment: Path) -> None:
        code, _, err = run("train", experiment)
        assert code == 2
        assert "rows.parquet" in error_of(err)

    def test_config_check_and_show(self, run: Run, experiment: Path, tmp_path: Path) -> None:
        write_rows(tmp_path / "rows.parquet", rows())
        assert run("config", "check", experiment)[:2] == (0, f"{experiment}: ok\n")
        code, out, _ = run("config", "show", experiment, "optimization.lr=5e-4")
        assert code == 0
        assert "lr: 0.0005" in out

    def test_a_model_folder_that_is_none(self, run: Run, tmp_path: Path) -> None:
        code, _, err = run("search", tmp_path, "a dog")
        assert code == 2
        assert "no finished model" in error_of(err)
        assert run("evaluate", tmp_path / "nothing")[0] == 2


class TestBadRows:
    @pytest.mark.parametrize(
        ("column", "value", "reason"),
        [
            ("image_bytes", draw_shape("red", "ring")[:-40], "row-5"),
            ("image_bytes", bomb(), "too large"),
            ("image_bytes", b"", "row-5"),
            ("image_bytes", b"<html>not a picture</html>", "HTML"),
            ("image_bytes", None, "row-5"),
            ("caption", "   ", "empty"),
            ("caption", None, "missing"),
        ],
        ids=["truncated", "bomb", "no bytes", "html", "null", "blank caption", "no caption"],
    )
    def test_too_many_bad_rows_stop_the_run(
        self, run: Run, experiment: Path, tmp_path: Path, column: str, value: object, reason: str
    ) -> None:
        table = rows()
        table[5][column] = value
        write_rows(tmp_path / "rows.parquet", table)
        code, _, err = run("train", experiment)
        message = error_of(err)
        assert code == 3
        assert "1 of 48 rows" in message and "row 5" in message and reason in message

    def test_text_that_is_not_utf8(self, run: Run, experiment: Path, tmp_path: Path) -> None:
        table = pa.Table.from_pylist(rows())
        texts = [row["caption"].encode() for row in rows()]  # type: ignore[attr-defined]
        texts[5] = b"caf\xe9"
        broken = pa.array(texts, pa.binary()).view(pa.string())
        pq.write_table(table.set_column(2, "caption", broken), tmp_path / "rows.parquet")
        code, _, err = run("train", experiment)
        assert code == 3
        assert "UTF-8" in error_of(err)

    def test_a_few_bad_rows_are_named_and_left_out(
        self, run: Run, experiment: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        table = rows()
        table[5]["image_bytes"] = b"not a picture"
        write_rows(tmp_path / "rows.parquet", table)
        code, out, err = run("train", experiment, "dataset.max_bad_fraction=0.1")
        assert code == 0, err
        assert "row 5 (row-5) is skipped: no picture" in caplog.text
        results = json.loads((tmp_path / "runs/small/results.json").read_text())
        assert sum(split["rows"] for split in results["data"].values()) == 47
        assert "report" in out

    def test_an_unknown_column_names_those_there(self, run: Run, experiment: Path, tmp_path: Path) -> None:
        write_rows(tmp_path / "rows.parquet", rows())
        code, _, err = run("train", experiment, "dataset.text_column=words")
        assert code == 3
        assert "words" in error_of(err) and "caption" in err

    def test_a_validation_split_that_shares_pictures(
        self, run: Run, experiment: Path, tmp_path: Path
    ) -> None:
        table = rows()
        write_rows(tmp_path / "rows.parquet", table[:40])
        val = write_rows(tmp_path / "val.parquet", table[38:])
        code, _, err = run("train", experiment, f"dataset.val_parquet={val}")
        assert code == 3
        assert "2 rows share their picture" in error_of(err)
        code, _, err = run(
            "train", experiment, f"dataset.val_parquet={val}", "dataset.shared_pictures=leave_out"
        )
        assert code == 0, err

    def test_data_check_writes_the_rejects(self, run: Run, tmp_path: Path) -> None:
        table = rows()
        table[5]["image_bytes"] = b"not a picture"
        table[7]["caption"] = ""
        file = write_rows(tmp_path / "rows.parquet", table)
        code, out, _ = run("data", "check", file)
        assert code == 3
        assert "2 unusable" in out
        rejects = (tmp_path / "rejects.csv").read_text()
        assert "not_a_picture" in rejects and "text_empty" in rejects
        assert run("data", "check", write_rows(tmp_path / "good.parquet", rows()))[0] == 0


@pytest.fixture
def finished(run: Run, experiment: Path, tmp_path: Path) -> Path:
    """A finished run of the small experiment."""
    write_rows(tmp_path / "rows.parquet", rows())
    code, _, err = run("train", experiment)
    assert code == 0, err
    return tmp_path / "runs/small"


class TestFinishedRun:
    def test_search_by_words_and_by_picture(self, run: Run, finished: Path, tmp_path: Path) -> None:
        code, out, _ = run("search", finished, "a red circle", "-k", "3")
        assert code == 0
        assert len([line for line in lines(out) if line[0].isdigit()]) == 3
        assert (finished / "search.html").read_text().count("<img") >= 3
        picture = tmp_path / "query.png"
        picture.write_bytes(draw_shape("blue", "bar"))
        code, out, _ = run("search", finished, "--image", picture, "-k", "1", "--dim", "8")
        assert code == 0
        assert "a blue bar" in out  # the same picture is nearest to itself

    def test_search_in_a_folder_of_pictures(self, run: Run, finished: Path, tmp_path: Path) -> None:
        folder = tmp_path / "photos"
        folder.mkdir()
        (folder / "one.png").write_bytes(draw_shape("red", "ring"))
        (folder / "broken.png").write_bytes(b"no")
        code, out, _ = run("search", finished, "a red ring", "--pictures", folder)
        assert code == 0
        assert "one.png" in out and "broken.png" not in out

    def test_a_query_that_is_no_picture(self, run: Run, finished: Path, tmp_path: Path) -> None:
        file = tmp_path / "note.png"
        file.write_text("hello")
        code, _, err = run("search", finished, "--image", file)
        assert code == 3
        assert "note.png" in error_of(err)
        assert run("search", finished, "--image", tmp_path / "none.png")[0] == 3

    def test_evaluate_gives_the_numbers_of_the_run(self, run: Run, finished: Path) -> None:
        code, out, _ = run("evaluate", finished)
        assert code == 0
        results = json.loads((finished / "results.json").read_text())
        again = json.loads((finished / "evaluation/test.json").read_text())
        assert again["metrics"] == results["metrics"]
        assert f"{results['metrics']['i2t_r5']['value']:.3f}" in out

    def test_a_second_run_is_refused_and_resume_is_content(
        self, run: Run, finished: Path, experiment: Path
    ) -> None:
        before = (finished / "results.json").read_bytes()
        code, _, err = run("train", experiment)
        assert code == 2
        assert "--resume" in error_of(err) and "--output" in err
        assert run("train", experiment, "--resume")[0] == 0
        assert (finished / "results.json").read_bytes() == before

    def test_a_checkpoint_that_was_cut_short(self, run: Run, finished: Path, experiment: Path) -> None:
        checkpoint = sorted((finished / "checkpoints").iterdir())[-1]
        weights = checkpoint / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-10])
        (finished / "results.json").unlink()
        code, _, err = run("train", experiment, "--resume", checkpoint)
        assert code == 2
        assert "not a complete checkpoint" in error_of(err) and "model.safetensors" in err

    def test_resume_takes_an_override_for_no_checkpoint(
        self, run: Run, finished: Path, experiment: Path
    ) -> None:
        assert run("train", experiment, "--resume", "training.epochs=1")[0] == 0

    def test_a_broken_model_is_named(self, run: Run, finished: Path) -> None:
        heads = finished / "model/heads.safetensors"
        heads.write_bytes(heads.read_bytes()[:-10])
        code, _, err = run("search", finished, "a dog")
        assert code == 2
        assert "cannot be read" in error_of(err)

    def test_the_report_can_be_written_again(self, run: Run, finished: Path) -> None:
        (finished / "report.html").unlink()
        shutil.rmtree(finished / "plots")
        code, out, _ = run("report", finished)
        assert code == 0
        assert Path(out.strip()) == finished / "report.html"
        assert (finished / "plots/training_curves.png").exists()

    def test_cache_info_and_clear(self, run: Run, finished: Path) -> None:
        code, out, _ = run("cache", "info")
        assert code == 0 and "features" in out
        code, out, _ = run("cache", "clear")
        assert code == 0 and "freed" in out

    def test_python_gives_what_the_command_line_gives(self, finished: Path) -> None:
        import edge_glass

        model = edge_glass.load(str(finished))
        words = model.encode_text(["a red circle", "a blue bar"], dim=8)
        pictures = model.encode_images([draw_shape("red", "circle")])
        assert words.shape == (2, 8) and pictures.shape == (1, 16)
        np.testing.assert_allclose(np.linalg.norm(words, axis=1), 1.0, rtol=1e-5)
        full = model.encode_text(["a red circle"])
        cut = full[:, :8] / np.linalg.norm(full[:, :8], axis=1, keepdims=True)
        np.testing.assert_allclose(words[:1], cut, rtol=1e-4)
        assert [hit.rank for hit in model.search("a red circle", k=2)] == [1, 2]


def test_worse_than_untouched_is_exit_code_4(
    run: Run, experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "rows.parquet", rows())
    assert run("train", experiment)[0] == 0
    folder = tmp_path / "runs/small"
    results = json.loads((folder / "results.json").read_text())
    results["verdict"]["status"] = "worse"
    (folder / "results.json").write_text(json.dumps(results))
    assert run("train", experiment, "--resume")[0] == 0
    assert run("train", experiment, "--resume", "--fail-on-regression")[0] == 4


def test_a_full_disk_while_saving(
    run: Run, experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first checkpoint is kept, the second meets a full disk."""
    import errno

    from edge_glass.training import checkpoint

    write_rows(tmp_path / "rows.parquet", rows())
    real, calls = checkpoint.save_file, []

    def full(tensors: dict, path: Path) -> None:
        calls.append(path)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full)
    code, _, err = run("train", experiment, "training.epochs=2")
    assert code == 2
    assert "no space left" in error_of(err).lower() and "--resume" in err
    folder = tmp_path / "runs/small/checkpoints"
    left = sorted(folder.iterdir())
    assert len(left) == 1 and checkpoint.problems(left[0]) is None
    monkeypatch.setattr(checkpoint, "save_file", real)
    assert run("train", experiment, "training.epochs=2", "--resume")[0] == 0


class TestSearchWithSounds:
    @pytest.fixture(scope="class")
    def hearing(self, session_home: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A finished toy run with sounds."""
        import edge_glass
        from edge_glass.config import load_config

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("EDGE_GLASS_HOME", session_home)
            config = load_config(
                Path(__file__).parents[1] / "configs" / "trimodal_emoji.yaml",
                ["training.max_steps=1"],
                tiny=True,
            )
            return edge_glass.train(
                config, output=tmp_path_factory.mktemp("runs") / "hearing", progress=False
            ).folder

    def test_a_sound_alone_and_beside_words_and_a_picture(
        self, run: Run, hearing: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "tone.flac").write_bytes(encode_flac(play_shape("red", "ring", 0)))
        (tmp_path / "ring.png").write_bytes(draw_shape("red", "ring"))
        sound, image = ("--audio", tmp_path / "tone.flac"), ("--image", tmp_path / "ring.png")
        page = tmp_path / "page.html"
        names = [f"{colour}-{shape}" for colour in COLOURS for shape in SHAPES]
        for query in (sound, ("a red ring", *sound), (*image, *sound), ("a red ring", *image, *sound)):
            code, out, err = run("search", hearing, *query, "-k", 3, "--page", page)
            assert code == 0, err
            assert len([line for line in lines(out) if any(name in line for name in names)]) == 3
            assert "tone.flac" in page.read_text(encoding="utf-8")
            page.unlink()

    def test_a_model_without_sounds(self, run: Run, finished: Path, tmp_path: Path) -> None:
        (tmp_path / "tone.flac").write_bytes(encode_flac(play_shape("red", "ring", 0)))
        code, _, err = run("search", finished, "--audio", tmp_path / "tone.flac")
        assert code == 2 and "trained without sounds" in error_of(err)

    def test_what_is_no_sound(self, run: Run, hearing: Path, tmp_path: Path) -> None:
        (tmp_path / "words.wav").write_text("no sound at all, but words in a file")
        code, _, err = run("search", hearing, "--audio", tmp_path / "words.wav")
        assert code == 3 and "words.wav: no sound can be read from" in error_of(err).replace("\n", " ")
        code, _, err = run("search", hearing, "--audio", tmp_path / "nowhere.wav")
        assert code == 3 and "nowhere.wav: no such file" in error_of(err)

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("empty", "the sound has no bytes"),
            ("nan", "sample 1 is nan"),
            ("two hours", "7200"),
            ("header alone", "header"),
        ],
    )
    def test_bad_sounds_give_one_line(
        self, run: Run, hearing: Path, tmp_path: Path, name: str, reason: str
    ) -> None:
        file = tmp_path / f"{name}.wav"
        file.write_bytes(BAD_SOUNDS[name]())
        code, out, err = run("search", hearing, "a red ring", "--audio", file)
        assert code == 3 and out == "" and "Traceback" not in err
        message = error_of(err)
        assert len(lines(message)) == 1 and str(file) in message and reason in message
        assert not (hearing / "search.html").exists()

    def test_sounds_of_other_rates_and_channels_are_heard(
        self, run: Run, hearing: Path, tmp_path: Path
    ) -> None:
        """A low tone in three forms: the same list each time."""
        tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.float32)
        files = {"mono": (tone, 16_000), "stereo": (np.stack([tone, tone], axis=1), 16_000)}
        printed = {}
        for name, (samples, rate) in {**files, "slow": (tone[::2], 8_000)}.items():
            (tmp_path / f"{name}.wav").write_bytes(wav(samples, rate))
            code, out, err = run(
                "search", hearing, "--audio", tmp_path / f"{name}.wav", "--page", tmp_path / "page.html"
            )
            assert code == 0, err
            printed[name] = [line for line in lines(out) if line.lstrip()[0].isdigit()]
        assert printed["stereo"] == printed["mono"] and len(printed["mono"]) == len(printed["slow"]) == 10


def wav(samples: np.ndarray, rate: int = 16_000) -> bytes:
    """A WAV file of float samples."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def wav_header(seconds: int, bytes_there: int) -> bytes:
    """16 bits, 16 kHz, mono: a header that promises so much, and so many zeros."""
    size = 2 * 16_000 * seconds
    form = struct.pack(
        "<4sI4s4sIHHIIHH", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16
    )
    return form + struct.pack("<4sI", b"data", size) + bytes(bytes_there)


BAD_SOUNDS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "nan": lambda: wav(np.array([0.1, np.nan, 0.1] * 1000, np.float32)),
    "two hours": lambda: encode_flac(Sound(np.zeros(7200 * 4000, np.float32), 4000)),
    "header alone": lambda: wav_header(7200, 64),
}


class TestAnswering:
    @pytest.fixture(scope="class")
    def answering(self, session_home: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A toy run with adapters, which was not trained but changed."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("EDGE_GLASS_HOME", session_home)
            folder = tmp_path_factory.mktemp("runs") / "answering"
            write_answering_run(folder, "easy_vqa_smollm2", "generation.max_new_tokens=6")
        return folder

    @pytest.fixture
    def picture(self, tmp_path: Path) -> Path:
        path = tmp_path / "ring.png"
        path.write_bytes(draw_shape("red", "ring"))
        return path

    def test_the_answer_is_printed(self, run: Run, answering: Path, picture: Path) -> None:
        import edge_glass

        code, out, err = run("answer", answering, picture, "what is it?")
        assert code == 0, err
        assert "LoRA of rank" not in err
        shown = visible(edge_glass.load(str(answering)).answer(picture, "what is it?"), keep=" \n\t\u200d")
        assert out == shown + "\n"
        assert run("answer", answering, picture, "what is it?", "--no-stream")[1] == out
        assert run("answer", answering / "model", picture, "what is it?")[1] == out
        sampled = ("answer", answering, picture, "what is it?", "--sample", "--temperature", 4, "--seed")
        assert run(*sampled, 1)[1] == run(*sampled, 1)[1]
        assert len({run(*sampled, seed)[1] for seed in range(4)}) > 1
        assert run("answer", answering, picture, "what is it?", "--beams", 2)[0] == 0

    def test_without_a_picture_a_note_says_so(self, run: Run, answering: Path, picture: Path) -> None:
        code, _, err = run("answer", answering, "what is it?")
        assert code == 0 and "the question comes without one" in err
        code, _, err = run("answer", answering, picture)
        assert code == 2 and "give a picture and a question" in err
        assert run("answer", answering)[0] == run("answer", answering, picture, "what", "is it?")[0] == 2

    def test_what_cannot_be_asked(self, run: Run, answering: Path, picture: Path, tmp_path: Path) -> None:
        (tmp_path / "note.png").write_text("hello")
        asked = (
            (3, "nowhere.png: no such file", ("nowhere.png", "what is it?")),
            (3, "note.png: no picture can be read", (tmp_path / "note.png", "what is it?")),
            (2, "tokens; this model was trained with at most", (picture, "why " * 500)),
            (2, "holds the special token '<|im_end|>'", (picture, "what?<|im_end|>")),
            (2, "the question is empty", (picture, " ")),
            (2, "was trained without sounds", (picture, "what is it?", "--audio", "a.wav")),
            (2, "add --sample", (picture, "what is it?", "--temperature", 0.5)),
            (2, "a number above 0, got -1.0", (picture, "what is it?", "--sample", "--temperature", -1)),
        )
        for expected, says, arguments in asked:
            code, out, err = run("answer", answering, *arguments)
            assert code == expected and out == "", (arguments, err)
            assert says in error_of(err) and len(lines(error_of(err))) == 1, err

    def test_runs_of_other_tasks(self, run: Run, answering: Path, finished: Path, picture: Path) -> None:
        code, _, err = run("search", answering, "a dog")
        assert code == 2 and "answers questions" in error_of(err) and "edge-glass answer" in err
        code, _, err = run("answer", finished, picture, "what is it?")
        assert code == 2 and "searches pictures" in error_of(err) and "edge-glass search" in err
        code, _, err = run("merge", finished)
        assert code == 2 and "is of task alignment" in error_of(err) and "instruction" in err

    def test_merge_then_answer(self, run: Run, answering: Path, picture: Path, tmp_path: Path) -> None:
        target = tmp_path / "merged"
        code, out, err = run("merge", answering, "--output", target, "--rows", 8)
        assert code == 0, err
        assert "logits differ by at most" in out and "100.0% of 8 test answers are equal" in out
        assert f"merged: {target}" in out and (target / "config.json").is_file()
        asked = (picture, "what is it?")
        assert run("answer", target, *asked)[1] == run("answer", answering, *asked)[1]
        code, _, err = run("merge", answering, "--output", tmp_path / "none", "--bound", 1e-12)
        assert code == 2 and "differ" in error_of(err) and not (tmp_path / "none").exists()

    def test_evaluate(self, run: Run, answering: Path) -> None:
        code, out, err = run("evaluate", answering, "--split", "val")
        assert code == 0, err
        assert "vqa_accuracy" in out and "val: 24 rows" in out
        assert json.loads((answering / "evaluation/val.json").read_text())["task"] == "instruction"

    def test_inspect(self, run: Run, experiment: Path, tmp_path: Path) -> None:
        config = Path(__file__).parents[1] / "configs" / "easy_vqa_trm.yaml"
        output = f"output_dir={tmp_path / 'runs'}"
        code, out, err = run("inspect", config, output, "--tiny", "-n", 2, "--split", "val")
        assert code == 0, err
        page = tmp_path / "runs/easy_vqa_trm-tiny/inspect.html"
        assert out.count("2 of 2 samples") == 5 and f"page: {page}" in out.replace("\n", "")
        assert page.read_text(encoding="utf-8").count("data:image/") >= 4
        other = tmp_path / "here.html"
        assert run("inspect", config, "--tiny", "-n", 1, "--page", other)[0] == 0 and other.is_file()
        write_rows(tmp_path / "rows.parquet", rows())
        code, _, err = run("inspect", experiment)
        assert code == 2 and "small is of task alignment" in error_of(err)

    def test_data_check_of_questions(self, run: Run, tmp_path: Path) -> None:
        asked = [{**row, "question": f"what is {row['id']}?"} for row in rows()]
        asked[3]["question"] = ""
        file = write_rows(tmp_path / "questions.parquet", asked)
        code, out, _ = run("data", "check", file, "--text-column", "question")
        assert code == 3 and "1 unusable" in out
        assert "text_empty" in (tmp_path / "rejects.csv").read_text()


class TestTrainingWithSounds:
    def test_an_unknown_fusion_names_the_right_ones(self, run: Run, experiment: Path, tmp_path: Path) -> None:
        write_rows(tmp_path / "rows.parquet", rows())
        code, _, err = run("train", experiment, "audio_encoder={}", "fusion.kind=sum")
        assert code == 2
        assert "fusion.kind: expected one of concat, cross_attention, gated, got the text 'sum'" in err
        assert len(lines(error_of(err))) == 1 and not (tmp_path / "runs").exists()

    def test_fusion_without_sounds(self, run: Run, experiment: Path, tmp_path: Path) -> None:
        write_rows(tmp_path / "rows.parquet", rows())
        code, _, err = run("train", experiment, "fusion={}")
        assert code == 2 and "give an audio_encoder" in error_of(err)

    def test_an_unknown_column_of_sounds_names_those_there(
        self, run: Run, experiment: Path, tmp_path: Path
    ) -> None:
        table = rows()
        for number, row in enumerate(table):
            row["sound"] = encode_flac(play_shape(COLOURS[number % 8], SHAPES[number % 6], 0))
        write_rows(tmp_path / "rows.parquet", table)
        code, _, err = run("train", experiment, "audio_encoder={}", "dataset.audio_column=nosuch")
        message = error_of(err)
        assert code == 3 and "rows.parquet: no column 'nosuch'" in message
        assert "it has id, image_bytes, caption, sound" in message and "dataset.audio_column" in message


@pytest.mark.slow
def test_an_ablation_of_two_poolings_in_the_toy_size(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second call runs nothing again. Processes of their own, which test_run.py has, are left out."""
    monkeypatch.setattr(
        "edge_glass.experiment.run.in_own_process", lambda function, *arguments: function(*arguments)
    )
    base = Path(__file__).parents[1] / "configs" / "perceiver_ablation.yaml"
    config, folder = tmp_path / "two.yaml", tmp_path / "runs"
    text = base.read_text(encoding="utf-8").replace("base: ", f"base: {base.parent}/")
    head = text[: text.index("  variants:")]
    config.write_text(
        f"""{head}
  variants:
    none: {{audio_encoder.pooling_type: mean}}
    latents: {{audio_encoder.perceiver.num_latents: 2}}
""",
        encoding="utf-8",
    )
    options = ("ablate", config, "training.max_steps=2", "--tiny", "--output", folder)
    code, out, err = run(*options)
    assert code == 0, err
    first, second, page = lines(out)
    assert first.startswith("none seed 0: a2t_r1 ") and second.startswith("latents seed 0: a2t_r1 ")
    assert Path(page).is_file() and (folder / "ablation.csv").is_file()
    trained = [
        json.loads((folder / f"{name}-seed0" / "parameters.json").read_text())["audio pooling"]["trained"]
        for name in ("none", "latents")
    ]
    assert trained[0] == 0 < trained[1]
    results = folder / "none-seed0" / "results.json"
    before = results.stat().st_mtime_ns
    assert run(*options)[:2] == (0, out)
    assert results.stat().st_mtime_ns == before
