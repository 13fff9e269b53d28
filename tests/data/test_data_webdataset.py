from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tailwise.data import check_sound, read
from tailwise.data.images import read_pixels
from tailwise.data.readers import tar
from tailwise.errors import BadData, TailwiseError


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def encoded(value: int, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 4), (value, value, value)).save(file, kind)
    return file.getvalue()


def write_tar(file: Path, members: Sequence[tuple[str | tarfile.TarInfo, bytes]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w:gz" if file.name.endswith("gz") else "w") as out:
        for named, content in members:
            info = named if isinstance(named, tarfile.TarInfo) else tarfile.TarInfo(named)
            if info.isreg():
                info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return file


def of_type(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


TWO = [("000.png", encoded(10)), ("000.cls", b"0"), ("001.jpg", encoded(20, "JPEG")), ("001.cls", b"1\n")]


def greys(manifest) -> dict[str, tuple[int, int | None]]:
    return {r["id"]: (int(read_pixels(manifest.root / r["path"])[0, 0, 0]), r["label"]) for r in manifest.rows.iter_rows(named=True)}


def says(manifest) -> dict[str, str]:
    return {finding.kind: f"{finding.severity}: {finding.says}" for finding in manifest.origin.findings}


@pytest.mark.parametrize("name", ["set.tar", "set.tar.gz", "set.tgz"])
def test_a_tar_becomes_images_with_labels_whatever_its_packing(tmp_path, name):
    found = read(write_tar(tmp_path / name, TWO))
    assert greys(found) == {"000": (10, 0), "001": (20, 1)}
    assert (found.name, found.classes, found.splits) == ("set", ("0", "1"), ("train",))
    assert found.origin.format == "webdataset"
    assert found.origin.tables[0].first == {"key": "000", "image": "000.png", "label": 0, "class": None}
    assert found.origin.findings == ()
    check_sound(found)


def test_a_folder_of_tars_has_splits_by_their_names(tmp_path):
    for split, value in (("train-000000", 10), ("train-000001", 20), ("val-000000", 30)):
        write_tar(tmp_path / "set" / f"{split}.tar", [("a/x.png", encoded(value)), ("a/x.cls", b"%d" % (value // 10))])
    found = read(tmp_path / "set")
    assert greys(found) == {"train-000000/a/x": (10, 0), "train-000001/a/x": (20, 1), "val-000000/a/x": (30, 2)}
    assert found.rows["split"].to_list() == ["train", "train", "val"]
    write_tar(tmp_path / "set" / "extra.tar", TWO)
    with pytest.raises(BadData, match=r"no split is named by extra\.tar, and others name one"):
        read(tmp_path / "set")


def test_a_tar_among_class_folders_is_no_data(pets):
    write_tar(pets / "backup.tar", TWO)
    assert read(pets).classes == ("cat", "dog")


def test_the_key_ends_at_the_first_dot_of_the_files_name(tmp_path):
    members = [
        ("v1.0/a.seg.png", encoded(9)),
        ("v1.0/a.png", encoded(10)),
        ("v1.0/a.cls", b"0"),
        ("v1.0/b.PNG", encoded(20)),
        ("v1.0/b.cls", b"1"),
    ]
    found = read(write_tar(tmp_path / "set.tar", members))
    assert greys(found) == {"v1.0/a": (10, 0), "v1.0/b": (20, 1)}
    assert says(found)["several-images"].startswith("warning: 1 samples have several images, of which one is read: v1.0/a")


def test_dots_in_names_that_make_one_sample_of_many_are_said(tmp_path):
    members = [m for i in range(3) for m in ((f"img.{i}.png", encoded(i)), (f"img.{i}.cls", b"0"))]
    with pytest.raises(BadData, match="no sample has a label"):
        read(write_tar(tmp_path / "set.tar", members))
    found = read(write_tar(tmp_path / "set.tar", [*members, *TWO]))
    assert "a dot in a name ends the key" in says(found)["several-images"]
    assert "left unread: .0.cls (1), .1.cls (1), .2.cls (1)" in found.provenance


@pytest.mark.parametrize(
    ("fields", "labels", "classes"),
    [
        ([{"label": 3}, {"label": 1}], [1, 0], ("1", "3")),
        ([{"class": "owl"}, {"label": "ant"}], [1, 0], ("ant", "owl")),
        ([{"label": 0, "class_name": "owl"}, {"label": 1, "class_name": "ant"}], [0, 1], ("owl", "ant")),
        ([{"label": 0, "class_name": "owl"}, {"label": 1, "class_name": "owl"}], [0, 1], ("0", "1")),
    ],
)
def test_json_gives_labels_and_class_names(tmp_path, fields, labels, classes):
    members = [m for i, d in enumerate(fields) for m in ((f"{i}.png", encoded(i)), (f"{i}.json", json.dumps(d).encode()))]
    found = read(write_tar(tmp_path / "set.tar", members))
    assert (found.rows["label"].to_list(), found.classes) == (labels, classes)


def test_names_in_json_name_the_numbers_in_cls(tmp_path):
    members = [*TWO[:2], ("000.json", b'{"label": "owl"}'), *TWO[2:], ("001.json", b'{"class_name": "ant", "url": [1]}')]
    assert read(write_tar(tmp_path / "set.tar", members)).classes == ("owl", "ant")


def test_cls_and_json_that_differ_keep_a_set_from_training(tmp_path):
    found = read(write_tar(tmp_path / "set.tar", [*TWO[:2], ("000.json", b'{"label": 1}'), *TWO[2:]]))
    assert greys(found) == {"000": (10, 0), "001": (20, 1)}
    with pytest.raises(BadData, match=r"1 samples have one label in \.cls and another in \.json.*: 000"):
        check_sound(found)


def test_samples_without_image_or_label_are_counted(tmp_path):
    members = [*TWO, ("002.png", encoded(30)), ("003.cls", b"1"), ("004.txt", b"a caption")]
    found = read(write_tar(tmp_path / "set.tar", members))
    assert greys(found) == {"000": (10, 0), "001": (20, 1), "002": (30, None)}
    assert says(found) == {
        "sample-without-image": "warning: 2 samples have no image and are left out: 003, 004",
        "sample-without-label": "warning: 1 samples have no label (.cls, or .json with label): 002",
    }
    assert "left unread: .txt (1)" in found.provenance


def test_a_key_that_comes_again_is_another_sample_and_an_error(tmp_path):
    found = read(write_tar(tmp_path / "set.tar", [TWO[0], TWO[2], TWO[1], TWO[3], *TWO]))
    assert greys(found) == {"000": (10, None), "001": (20, None), "000#2": (10, 0), "001#2": (20, 1)}
    with pytest.raises(BadData, match="2 keys are in several places of a tar: 000, 001"):
        check_sound(found)


def test_missing_tars_and_a_missing_end_are_said(tmp_path):
    for number in (0, 1, 3):
        write_tar(tmp_path / "set" / f"set-00{number}.tar", TWO)
    whole = (tmp_path / "set/set-003.tar").read_bytes().rstrip(b"\0")
    (tmp_path / "set/set-003.tar").write_bytes(whole + bytes(-len(whole) % 512))
    found = read(tmp_path / "set")
    assert found.rows.height == 6
    assert says(found)["missing-shard"] == "warning: 1 tars of a numbered row are not there: set-2"
    assert says(found)["tar-without-end"].startswith("warning: set-003.tar end without the end mark")


def test_hidden_members_and_folders_are_passed_over(tmp_path):
    members = [
        (of_type("./d", tarfile.DIRTYPE), b""),
        ("./d/._0.png", b"fork"),
        ("__MACOSX/0.png", b"fork"),
        *((f"./d/{n}", c) for n, c in TWO),
    ]
    found = read(write_tar(tmp_path / "set.tar", members))
    assert greys(found) == {"d/000": (10, 0), "d/001": (20, 1)}
    assert "skipped 2 hidden members" in found.provenance


def test_images_are_unpacked_once_under_names_of_our_own(tmp_path, store):
    file = write_tar(tmp_path / "set.tar", [("con/nul:é\u202e.png", encoded(10)), ("con/nul:é\u202e.cls", b"0"), *TWO])
    first = read(file)
    assert [path.name for path in sorted(first.root.rglob("*.*g"))] == ["00000.png", "00001.png", "00002.jpg"]
    times = [path.stat().st_mtime_ns for path in sorted(first.root.rglob("*.*g"))]
    again = read(file)
    assert again.rows.equals(first.rows)
    assert [path.stat().st_mtime_ns for path in sorted(first.root.rglob("*.*g"))] == times
    assert first.replace(rows=first.rows.drop("content")).identity == first.identity


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (tarfile.TarInfo("/etc/x.png"), "'/etc/x.png' leaves the archive"),
        (tarfile.TarInfo("a/../../x.png"), r"'a/\.\./\.\./x\.png' leaves the archive"),
        (tarfile.TarInfo("C:\\x.png"), "leaves the archive"),
        (tarfile.TarInfo("x\n.png"), "control character"),
        (of_type("x.png", tarfile.SYMTYPE, "/etc/passwd"), "'x.png' is a link"),
        (of_type("x.png", tarfile.LNKTYPE, "000.png"), "'x.png' is a link"),
        (of_type("x.png", tarfile.CHRTYPE), "'x.png' is a device"),
        (of_type("x.png", tarfile.FIFOTYPE), "'x.png' is a device or pipe"),
    ],
)
@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_members_that_could_escape_are_refused_by_name_and_nothing_is_written(tmp_path, store, member, message, suffix):
    file = write_tar(tmp_path / f"set.{suffix}", [*TWO, (member, b"")])
    with pytest.raises(BadData, match=rf"set\.{suffix}: member .*{message}") as caught:
        read(file)
    assert "\n" not in str(caught.value)
    assert not (store / "files").exists()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "no tar, or a damaged one|no members"),
        ([("a.txt", b"x")], "none of 1 samples has an image"),
        ([("a.png", b"x")], "no sample has a label"),
        ([("a.png", b"x"), ("a.cls", b"cat")], r"member 'a\.cls' holds 'cat', expected the digits"),
        ([("a.png", b"x"), ("a.cls", b"")], "holds '', expected the digits"),
        ([("a.png", b"x"), ("a.cls", "٣".encode())], "expected the digits"),
        ([("a.png", b"x"), ("a.cls", b"-1")], "expected the digits"),
        ([("a.png", b"x"), ("a.json", b'{"label": ')], r"member 'a\.json' is no JSON"),
        ([("a.png", b"x"), ("a.json", b"[" * 100_000)], r"member 'a\.json' is no JSON"),
        ([("a.png", b"x"), ("a.json", b'{"label": [1]}')], "neither a whole number nor a name"),
        ([("a.png", b"x"), ("a.json", b'{"label": true}')], "neither a whole number nor a name"),
        ([("a.png", b"x"), ("a.json", b'{"label": 1e3}')], "neither a whole number nor a name"),
        (
            [("a.png", b"x"), ("a.cls", b"0"), ("b.png", b"x"), ("b.json", b'{"label": "owl"}')],
            "sample 'b' has the class name 'owl' and no number",
        ),
    ],
)
def test_what_is_no_data_set_is_refused(tmp_path, members, message):
    with pytest.raises(BadData, match=message):
        read(write_tar(tmp_path / "set.tar", members))


def test_limits_are_said(tmp_path, monkeypatch):
    with pytest.raises(BadData, match=r"bomb\.tar\.gz: member '0\.png' makes it unpack to more than 1,000 times its size"):
        read(write_tar(tmp_path / "bomb.tar.gz", [("0.png", bytes(40_000_000)), ("0.cls", b"0")]))
    file = write_tar(tmp_path / "set.tar", TWO)
    monkeypatch.setattr(tar, "MOST_MEMBERS", 3)
    with pytest.raises(BadData, match="more than 3 members; cut it into shards"):
        read(file)


def test_a_header_that_lies_about_its_size_is_refused_before_anything_is_read(tmp_path):
    info = tarfile.TarInfo("0.png")
    info.size = 1 << 42
    (tmp_path / "set.tar").write_bytes(info.tobuf() + bytes(1024))
    with pytest.raises(BadData, match=r"ends inside member '0\.png' \(download incomplete\?\)"):
        read(tmp_path / "set.tar")
    long = tarfile.TarInfo("././@LongLink")
    long.type, long.size = tarfile.GNUTYPE_LONGNAME, 1 << 42
    (tmp_path / "set.tar").write_bytes(long.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(BadData, match=r"a damaged one, at its beginning \(a header of 4,398,046,511,104 bytes\)"):
        read(tmp_path / "set.tar")


def test_a_size_below_zero_does_not_lead_round_in_circles(tmp_path, monkeypatch):
    monkeypatch.setattr(tar, "MOST_MEMBERS", 9)
    info = tarfile.TarInfo("0.png")
    info.size = -512  # the next header would be this one
    (tmp_path / "set.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(BadData, match=r"after member '0\.png' \(a negative size\)"):
        read(tmp_path / "set.tar")


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"<html>", b"version https://git-lfs.github.com/spec/v1\n", bytes(10_240)])
def test_what_only_stands_in_for_a_tar_is_refused(tmp_path, content):
    (tmp_path / "set.tar").write_bytes(content)
    with pytest.raises(BadData, match=r"set\.tar"):
        read(tmp_path / "set.tar")


def outcome(file: Path) -> str:
    try:
        said = repr(read(file))
    except TailwiseError as error:
        said = str(error)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_a_tar_cut_off_anywhere_is_said_to_be(tmp_path, suffix):
    whole = write_tar(tmp_path / f"set.{suffix}", TWO).read_bytes()
    end = len(whole.rstrip(b"\0")) if suffix == "tar" else len(whole)
    for length in range(600 if suffix == "tar" else 40, end, 43):
        (tmp_path / f"cut.{suffix}").write_bytes(whole[:length])
        said = outcome(tmp_path / f"cut.{suffix}")
        assert "ends inside member" in said or "a damaged one" in said or length % 512 == 0, (length, said)


def test_a_damaged_header_in_the_middle_is_no_end(tmp_path):
    content = bytearray(write_tar(tmp_path / "set.tar", TWO).read_bytes())
    at = content.index(b"001.jpg")
    content[at] ^= 1
    (tmp_path / "set.tar").write_bytes(content)
    with pytest.raises(BadData, match=r"a damaged one, after member '000\.cls'"):
        read(tmp_path / "set.tar")


@pytest.mark.fuzz
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 6_000), st.integers(0, 255)), max_size=8), cut=st.integers(0, 10_240), packed=st.booleans()
)
def test_changed_bytes_give_a_manifest_or_one_line(tmp_path, changes, cut, packed):
    content = bytearray(write_tar(tmp_path / "set.tar", TWO).read_bytes())
    for place, value in changes:
        content[place] = value
    changed = bytes(content[:cut])
    (tmp_path / "changed.tar").write_bytes(gzip.compress(changed) if packed else changed)
    outcome(tmp_path / "changed.tar")


@pytest.mark.fuzz
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    members=st.lists(
        st.tuples(st.text(min_size=1, max_size=12), st.sampled_from(["", ".png", ".cls", ".json"]), st.binary(max_size=9)), max_size=6
    )
)
def test_any_members_give_a_manifest_or_one_line(tmp_path, members):
    named = [((stem + ending).replace("\0", "0"), content) for stem, ending, content in members]
    outcome(write_tar(tmp_path / "any.tar", [(n, c) for n, c in named if n.isprintable()]))
