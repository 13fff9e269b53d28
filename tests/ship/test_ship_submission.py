"""Submissions: the sample's ids, order and form; the classes' own ids; and one line where something does not fit."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import polars as pl
import pytest
from PIL import Image

import tailwise as tw
from photos import pixels
from tailwise.cli import run as command
from tailwise.errors import BadData, OutputExists
from tailwise.ship import write_submission
from tailwise.ship.submission import match, read_sample
from tailwise.store import Store


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("test") / "test_images"
    for number in range(5):
        place = folder / f"{number % 2:03d}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(number % 3, 1, seed=number, size=32)[0]).save(place / f"test-{number:06d}.png")
    return folder


@pytest.fixture(scope="module")
def run(place, frozen):
    """A run whose data call their classes by ids with gaps, as Herbarium 2022 does."""
    manifest = tw.read(place / "photos").replace(class_table=pl.DataFrame({"class_id": ["0", "7", "15504"], "family": ["a", "a", "b"]}))
    quick = ["recipe.epochs=2", "recipe.image_size=32"]
    return tw.train(manifest, "ce", settings=quick, out=place / "with-ids", store=Store(place / "store"))


def sample(tmp_path, ids, value="42", header="Id,Predicted"):
    path = tmp_path / "sample_submission.csv"
    path.write_text("\n".join([header, *(f"{id_},{value}" for id_ in ids)]) + "\n")
    return path


@pytest.mark.parametrize(
    "ids",
    [
        ("3", "0", "4", "1", "2"),
        ("test-000003", "test-000000", "test-000004", "test-000001", "test-000002"),
        ("test-000003.png", "test-000000.png", "test-000004.png", "test-000001.png", "test-000002.png"),
        ("001/test-000003.png", "000/test-000000.png", "000/test-000004.png", "001/test-000001.png", "000/test-000002.png"),
    ],
)
def test_rows_follow_the_sample(run, images, tmp_path, capsys, ids):
    out = tmp_path / "submission.csv"
    path = sample(tmp_path, ids)
    assert command(["predict", str(run.folder), str(images), "--submission", str(path), "--out", str(out)]) == 0
    assert "5 rows of 1" in " ".join(capsys.readouterr().out.split())
    data = out.read_bytes()
    assert b"\r" not in data
    assert data.endswith(b"\n")
    header, *rows = list(csv.reader(data.decode().splitlines()))
    assert header == ["Id", "Predicted"]
    assert [row[0] for row in rows] == list(ids)
    number_of = {f"{n}": n for n in range(5)}
    names = dict(zip(("ant", "bee", "cow"), ("0", "7", "15504"), strict=True))
    for id_, value in rows:
        number = number_of.get(id_)
        number = int(id_.removesuffix(".png")[-6:]) if number is None else number
        answer = tw.predict(run, images / f"{number % 2:03d}" / f"test-{number:06d}.png")[0]
        assert value == names[answer.classes[0]]


def test_several_classes_a_row_are_as_many_as_in_the_sample(run, images, tmp_path, capsys):
    out = tmp_path / "s.csv"
    path = sample(tmp_path, "01234", "0 78 23", "id,predicted")
    words = ["predict", str(run.folder), str(images), "--submission", str(path), "--out", str(out)]
    assert command([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["images"], said["values"]) == (5, 3)
    rows = list(csv.reader(out.read_text().splitlines()))
    assert rows[0] == ["id", "predicted"]
    assert all(sorted(value.split(), key=int) == ["0", "7", "15504"] for _, value in rows[1:])
    before = out.read_bytes()
    assert command(words) == 0
    assert "already done" in capsys.readouterr().out
    assert command([*words, "--top", "2"]) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert command([*words, "--top", "2", "--force"]) == 0
    assert all(len(value.split()) == 2 for _, value in list(csv.reader(out.read_text().splitlines()))[1:])


def test_classes_without_ids_go_by_name_and_spare_images_are_said(frozen, images, tmp_path, capsys):
    out = tmp_path / "s.csv"
    path = sample(tmp_path, "024")
    assert command(["predict", str(frozen.runs["ce"][0].folder), str(images), "--submission", str(path), "--out", str(out)]) == 0
    assert "2 images are not asked for" in capsys.readouterr().out
    assert {value for _, value in list(csv.reader(out.read_text().splitlines()))[1:]} <= {"ant", "bee", "cow"}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "header is 'missing'"),
        (",Id,Predicted\n0,0,1\n", "without an index column"),
        ("Id,Predicted\n", "there is no row"),
        ("Id,Predicted\n0,1\n0,2\n", "'0' is there twice"),
        ("Id,Predicted\n0,1\n1,2 3\n", "rows have 1 to 2 classes"),
        ("Id,Predicted\n0,1,2\n", "row 2 has 3 columns"),
    ],
)
def test_another_form_is_one_line(tmp_path, text, error):
    path = tmp_path / "s.csv"
    path.write_text(text)
    with pytest.raises(BadData, match=error):
        read_sample(path)


def test_ids_stay_text(tmp_path):
    assert read_sample(sample(tmp_path, ["007", "7"])).ids == ("007", "7")


def test_an_id_without_an_image_is_named(run, images, tmp_path, capsys):
    path = sample(tmp_path, ["0", "1", "99"])
    assert command(["predict", str(run.folder), str(images), "--submission", str(path), "--out", str(tmp_path / "o.csv")]) == 2
    assert "1 of 3 ids have no image, or several: 99" in capsys.readouterr().err
    assert not (tmp_path / "o.csv").exists()


def test_a_name_in_two_folders_is_no_id(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    files = [tmp_path / "a/1.png", tmp_path / "b/1.png"]
    with pytest.raises(BadData, match="or several"):
        match(read_sample(sample(tmp_path, ["1.png"])), files, [])
    found, spare = match(read_sample(sample(tmp_path, ["b/1.png"])), files, [tmp_path])
    assert (found, spare) == ([tmp_path / "b/1.png"], 1)


@pytest.mark.parametrize(
    ("words", "error"), [(["--out", "o.csv"], "comes without --submission"), (["--submission", "s.csv"], "comes without --out")]
)
def test_one_word_without_the_other_is_refused(run, images, capsys, words, error):
    assert command(["predict", str(run.folder), str(images), *words]) == 2
    assert error in capsys.readouterr().err


def test_names_of_several_words_are_one_class_where_a_row_names_one(images, frozen, tmp_path):
    names = ("great tit", "robin", "song thrush")
    run = frozen.runs["ce"][0]
    named = replace(run, answers=replace(run.predictions, classes=names, class_ids=()))
    ids = [f"{number}" for number in range(5)]
    path = tmp_path / "sample.csv"
    path.write_text("Id,Predicted\n" + "".join(f"{id_},{names[int(id_) % 2]}\n" for id_ in ids))
    for stood in (False, True):
        made = write_submission(named, [images], path, tmp_path / "o.csv")
        assert (made.values, made.stood) == (1, stood)
    rows = list(csv.reader((tmp_path / "o.csv").read_text().splitlines()))
    assert [row[0] for row in rows[1:]] == ids
    assert {row[1] for row in rows[1:]} <= set(names)


def test_only_a_submission_is_ever_replaced(run, images, tmp_path, capsys, monkeypatch):
    asked = tmp_path / "sample.csv"
    found = sorted(path.name for path in images.rglob("*.png"))[:1]
    asked.write_text(f"Id,Predicted\n{found[0]},0\n")
    photo, link, table = tmp_path / "pic.jpg", tmp_path / "link.csv", tmp_path / "table.csv"
    photo.write_bytes(b"a photograph")
    link.symlink_to(photo)
    table.write_text("name,age\nx,1\n")
    with monkeypatch.context() as patched:
        patched.setattr("tailwise.ship.submission.predict", lambda *given, **words: pytest.fail("found out before any image is answered"))
        for out in (photo, link, table):
            before = out.read_bytes()
            words = ["predict", str(run.folder), str(images), "--submission", str(asked), "--out", str(out), "--force"]
            assert command(words) == 2
            assert "never replaced" in capsys.readouterr().err
            assert out.read_bytes() == before


def test_the_sample_is_never_overwritten(run, images, tmp_path, capsys):
    path = sample(tmp_path, "01234")
    before = path.read_bytes()
    assert command(["predict", str(run.folder), str(images), "--submission", str(path), "--out", str(path), "--force"]) == 2
    assert path.read_bytes() == before
    with pytest.raises(OutputExists):
        write_submission(run, [images], path, tmp_path)
