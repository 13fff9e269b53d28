"""`tailwise check` as a user types it: what is printed, the exit code, `--json`, `--fix` and checks of one's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tailwise.cli import run
from tailwise.cli.check import LISTED


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


@pytest.fixture
def photos(own_place) -> Path:
    """Ten pictures of two classes, nothing wrong with them."""
    rng = np.random.default_rng(0)
    for number in range(10):
        file = own_place / "photos" / ("ant", "bee")[number % 2] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((48, 48)).save(file)
    return own_place / "photos"


def test_a_sound_set_is_said_to_be_and_ends_with_0(photos, capsys):
    assert run(["check", "photos"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "photos: 10 images, 100.00 % of them without an error or a warning",
        "Nothing was found.",
    ]


def test_warnings_end_with_0_and_errors_with_1(photos, capsys):
    shutil.copy(photos / "ant" / "0.jpg", photos / "ant" / "again.jpg")
    assert run(["check", "photos"]) == 0
    said = capsys.readouterr().out
    assert "warning" in said
    assert "90.91 % of them without an error or a warning" in said
    shutil.copy(photos / "ant" / "0.jpg", photos / "bee" / "0.jpg")
    assert run(["check", "photos"]) == 1
    said = capsys.readouterr().out
    assert "duplicate-across-classes" in said
    assert "--fix FOLDER writes a manifest without" in said


def test_json_has_every_finding_with_every_image(photos, capsys):
    for number in range(LISTED + 5):
        (photos / "ant" / f"empty{number}.jpg").touch()
    assert run(["check", "photos"]) == 1
    said = capsys.readouterr().out
    assert "and 5 more: --json lists all" in said
    assert run(["check", "photos", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["images"], told["looked_at"]) == ("tailwise.check/1", LISTED + 15, "pixels")
    assert told["score"] == pytest.approx(10 / (LISTED + 15))
    (found,) = told["findings"]
    assert (found["kind"], found["severity"], found["count"], len(found["ids"])) == ("unreadable", "error", LISTED + 5, LISTED + 5)
    assert len(told["left_out"]["unreadable"]) == LISTED + 5


def test_fix_writes_a_manifest_once_and_the_next_check_finds_nothing(photos, capsys):
    (photos / "ant" / "empty.jpg").touch()
    assert run(["check", "photos", "--fix", "out"]) == 1
    assert "written: out, without 1 images" in capsys.readouterr().out
    assert run(["check", "photos", "--fix", "out"]) == 1
    assert "already done: out" in capsys.readouterr().out
    assert run(["check", "out"]) == 0
    assert (photos / "ant" / "empty.jpg").exists()
    (photos / "ant" / "0.jpg").unlink()
    assert run(["check", "photos", "--fix", "out"]) == 2
    assert "--force" in capsys.readouterr().err
    assert run(["check", "photos", "--fix", "out", "--force"]) == 1


def test_what_is_checked_is_not_written_over(photos, capsys):
    assert run(["check", "photos", "--fix", "out"]) == 0
    capsys.readouterr()
    assert run(["check", "out", "--fix", "out", "--force"]) == 2
    assert "lie one in the other" in capsys.readouterr().err


def test_where_nothing_may_be_written_is_said_before_anything_is_looked_at(photos, capsys):
    Path("taken").mkdir()
    (Path("photos") / "ant" / "broken.jpg").write_bytes(b"no picture")
    assert run(["check", "photos", "--fix", "taken"]) == 2
    said = capsys.readouterr()
    assert "carries no card of tailwise" in said.err
    assert said.out == ""
    assert run(["check", "photos", "--fix", "photos/fixed"]) == 2
    assert "lie one in the other" in capsys.readouterr().err


def test_a_check_of_ones_own_is_run_and_a_broken_one_is_one_line(photos, capsys):
    Path("mine.py").write_text(
        "from tailwise.checks.check import Check\nfrom tailwise.data.origin import Finding\n"
        "CHECK = Check('all', 'table', lambda found: [Finding('mine', 'error', 'Seen.', 1, ('ant/0.jpg',), (0.5,))])\n"
    )
    assert run(["check", "photos", "--check", "mine.py"]) == 1
    said = capsys.readouterr().out
    assert "90.00 %" in said
    assert "Seen." in said
    Path("broken.py").write_text("1 / 0")
    assert run(["check", "photos", "--check", "broken.py"]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("tailwise: ")
    assert "\n" not in said


def test_features_are_one_line_and_a_list_alone_is_looked_at_as_a_table(capsys):
    np.savez("f.npz", features=np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32), labels=np.array([0, 0, 0, 1, 1, 1]))
    assert run(["check", "f.npz"]) == 2
    said = capsys.readouterr().err.strip()
    assert "holds feature vectors" in said
    assert "\n" not in said
    Path("list.csv").write_text("path,label\n" + "".join(f"{number}.jpg,{number % 2}\n" for number in range(6)))
    assert run(["check", "list.csv"]) == 0
    assert "only the list was looked at" in capsys.readouterr().out


def test_wrong_words_load_no_heavy_library():
    program = (
        "import sys\nfrom tailwise.cli import run\n"
        "run(['check', '--help']), run(['check', 'nosuch'])\n"
        "heavy = {'torch', 'numpy', 'polars', 'sklearn', 'PIL', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'loaded {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr


def test_checking_loads_no_torch(photos):
    program = "import sys\nfrom tailwise.cli import run\ncode = run(['check', 'photos'])\nsys.exit(code or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
