from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from archives import CIFAR_10_NAMES, cifar10_files, cifar100_files, cifar_pictures, python2_pickle, python3_pickle, write_files, write_tar
from tailwise.data import read, thin
from tailwise.data.images import read_pixels
from tailwise.data.readers.cifar import read_cifar, read_cifar_by_name
from tailwise.errors import BadData, BadValue, TailwiseError

BATCHES = [[3, 0], [9, 1], [2], [4, 5, 6], [7, 8], [0, 9]]
FINE_TRAIN, FINE_TEST = [0, 99, 7, 52, 7], [99, 3]
FORMS = [
    ("cifar-10-batches-py", cifar10_files(BATCHES)),
    ("cifar-10-batches-py", cifar10_files(BATCHES, python3_pickle)),
    ("cifar-10-batches-bin", cifar10_files(BATCHES, binary=True)),
    ("cifar-100-python", cifar100_files(FINE_TRAIN, FINE_TEST)),
    ("cifar-100-python", cifar100_files(FINE_TRAIN, FINE_TEST, python3_pickle)),
    ("cifar-100-binary", cifar100_files(FINE_TRAIN, FINE_TEST, binary=True)),
]
ARCHIVES = {
    "cifar-10-batches-py": "cifar-10-python.tar.gz",
    "cifar-10-batches-bin": "cifar-10-binary.tar.gz",
    "cifar-100-python": "cifar-100-python.tar.gz",
    "cifar-100-binary": "cifar-100-binary.tar.gz",
}


def check_ten(found):
    assert found.classes == tuple(CIFAR_10_NAMES)
    assert found.rows["id"].to_list() == [f"train/{row:05d}" for row in range(10)] + ["test/00000", "test/00001"]
    assert found.rows["label"].to_list() == [label for batch in BATCHES for label in batch]
    pictures = [cifar_pictures(len(batch), number) for number, batch in enumerate(BATCHES, start=1)]
    assert np.array_equal(found.arrays["train"], np.concatenate(pictures[:5]))
    assert np.array_equal(found.arrays["test"], pictures[5])


def check_hundred(found):
    assert found.classes == tuple(f"fine {label}" for label in range(100))
    assert found.rows["id"].to_list() == [f"train/{row:05d}" for row in range(5)] + ["test/00000", "test/00001"]
    assert found.rows["label"].to_list() == [*FINE_TRAIN, *FINE_TEST]
    assert found.class_table["superclass"][7] == "coarse 18"
    assert found.class_table["superclass"][99] == "coarse 0"
    assert found.class_table["superclass"][1] is None  # no image of it
    assert np.array_equal(found.arrays["train"], cifar_pictures(5, 0))
    assert np.array_equal(found.arrays["test"], cifar_pictures(2, 1))


@pytest.mark.parametrize(("folder", "files"), FORMS)
def test_every_form_gives_the_same_set_from_a_folder_the_one_above_it_and_its_archive(tmp_path, folder, files):
    inside = write_files(tmp_path / "data" / folder, files)
    archive = write_tar(tmp_path / ARCHIVES[folder], files, folder)
    check = check_ten if "10-" in folder else check_hundred
    for source in (inside, tmp_path / "data", archive):
        found = read(source)
        assert found.origin.format == "cifar"
        assert found.origin.draw == "seeded"
        check(found)


def test_a_picture_stands_upright_in_its_colours(tmp_path):
    # The known image is red in its upper eight rows and blue in its right four columns: a wrong order of axes shows at once.
    found = read(write_files(tmp_path / "cifar-10-batches-py", FORMS[0][1]))
    for image in (found.arrays["train"][0], found.arrays["test"][0]):
        assert image.shape == (32, 32, 3)
        assert image[0, 0].tolist() == [200, 0, 0]
        assert image[20, 30].tolist() == [0, 0, 100]
        assert image[0, 31].tolist() == [200, 0, 100]
        assert image[31, 0].tolist() == [0, 0, 0]


def test_single_files_are_their_split(tmp_path):
    ten = write_files(tmp_path / "cifar-10-batches-py", FORMS[0][1])
    hundred = write_files(tmp_path / "cifar-100-binary", FORMS[5][1])
    assert read(ten / "data_batch_2").counts() == (0, 1, 0, 0, 0, 0, 0, 0, 0, 1)
    assert read(ten / "test_batch").splits == ("test",)
    found = read(hundred / "test.bin")
    assert found.rows.select("id", "label").rows() == [("test/00000", 99), ("test/00001", 3)]
    (tmp_path / "renamed").write_bytes((ten / "data_batch_2").read_bytes())  # known by its keys; without names beside it
    assert read(tmp_path / "renamed").classes == ("1", "9")
    (tmp_path / "some.bin").write_bytes((hundred / "train.bin").read_bytes())  # known by its size
    assert read(tmp_path / "some.bin").origin.format == "cifar"


def test_without_class_names_classes_are_numbers_and_that_is_said(tmp_path):
    files = {name: content for name, content in FORMS[0][1].items() if name != "batches.meta"}
    found = read(write_files(tmp_path / "cifar-10-batches-py", files))
    assert found.classes == tuple(str(label) for label in range(10))
    (finding,) = found.origin.findings
    assert (finding.severity, finding.says) == ("note", "cifar-10-batches-py is without batches.meta; classes are called by their number")


def test_both_sets_in_one_folder_are_asked_about(tmp_path):
    write_files(tmp_path / "cifar-10-batches-py", FORMS[0][1])
    write_tar(tmp_path / "cifar-10-binary.tar.gz", FORMS[2][1], "cifar-10-batches-bin")
    check_ten(read(tmp_path))  # two forms of one set are one set
    write_files(tmp_path / "cifar-100-python", FORMS[3][1])
    with pytest.raises(
        BadData,
        match=r"holds both CIFAR-10 and CIFAR-100; give .*cifar-10.* or .*cifar-10",
    ):
        read(tmp_path)
    check_ten(read("cifar10", root=tmp_path))
    check_hundred(read("cifar100", root=tmp_path))


def test_a_folder_of_classes_called_train_and_test_is_no_cifar(tmp_path, write_image):
    for name in ("train/cat/a.png", "train/dog/a.png", "test/cat/b.png", "test/dog/b.png"):
        write_image(tmp_path / "pets" / name, len(name))
    assert read(tmp_path / "pets").origin.format != "cifar"


def test_by_name_it_is_found_in_the_current_folder_in_data_or_where_root_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadData) as caught:
        read("cifar100")
    assert "none of cifar-100-python, cifar-100-python.tar.gz, cifar-100-binary, cifar-100-binary.tar.gz is in" in str(caught.value)
    assert "nothing is downloaded, so pass --root" in str(caught.value)
    (tmp_path / "data").mkdir()
    archive = write_tar(tmp_path / "data" / "cifar-100-python.tar.gz", FORMS[3][1], "cifar-100-python")
    elsewhere = write_files(tmp_path / "elsewhere" / "cifar-100-binary", FORMS[5][1])
    for root in (None, archive, tmp_path / "data", elsewhere, elsewhere.parent):
        found = read("cifar100", root=root)
        check_hundred(found)
        assert (found.name, found.origin.draw, found.origin.format) == ("cifar100", "archive", "cifar")
    for root in (archive, elsewhere, tmp_path / "none"):
        with pytest.raises(BadData, match=r"pass --root with the (folder or archive|archive of cifar10)"):
            read_cifar_by_name("cifar10", root)
    with pytest.raises(BadData, match="holds cifar100, not cifar10"):
        read_cifar_by_name("cifar10", archive)


def test_an_archive_of_the_published_name_with_another_md5_is_noted(tmp_path):
    published = write_tar(tmp_path / "cifar-10-python.tar.gz", FORMS[0][1], "cifar-10-batches-py")
    (finding,) = read(published).origin.findings
    assert finding.severity == "note"
    assert "expected c58f30108f718f92721af3b95e74349a" in finding.says
    assert not read(published.rename(tmp_path / "mine.tar.gz")).origin.findings


def cut_off(folder: str, file: str, files: dict[str, bytes], size: int = -1) -> tuple[str, dict[str, bytes]]:
    return folder, files | {file: files[file][:size]}


def changed(file: str, **columns) -> tuple[str, dict[str, bytes]]:
    table = pickle.loads(FORMS[1][1][file]) | {name.encode(): value for name, value in columns.items()}
    return "cifar-10-batches-py", FORMS[1][1] | {file: pickle.dumps(table)}


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (cut_off("cifar-10-batches-bin", "test_batch.bin", FORMS[2][1]), r"test_batch\.bin: 6,145 bytes is no multiple of 3,073"),
        (cut_off("cifar-100-binary", "train.bin", FORMS[5][1]), r"train\.bin: 15,369 bytes is no multiple of 3,074"),
        (cut_off("cifar-10-batches-bin", "data_batch_1.bin", FORMS[2][1], 0), r"data_batch_1\.bin: 0 bytes is no multiple of 3,073"),
        (cut_off("cifar-10-batches-py", "data_batch_1", FORMS[0][1]), r"data_batch_1: ends inside a record"),
        (("cifar-10-batches-py", {k: v for k, v in FORMS[0][1].items() if k != "data_batch_3"}), r"no .*data_batch_3"),
        (("cifar-100-python", {k: v for k, v in FORMS[3][1].items() if k != "test"}), r"no .*test"),
        (changed("data_batch_4", labels=[1, 2]), r"data_batch_4: no whole number for each of its 3 images under 'labels'"),
        (changed("data_batch_4", labels=[1, 2, 3.5]), r"data_batch_4: no whole number"),
        (changed("data_batch_4", labels=[1, 2, 10]), r"label 10 in row \d+ has no name, expected 0\.\.9"),
        (changed("data_batch_4", labels=[1, 2, -1]), r"label -1 in row"),
        (changed("data_batch_4", data=np.zeros((3, 32, 32, 3), np.uint8)), r"data_batch_4: no CIFAR batch, expected the key 'data'"),
        (changed("data_batch_4", data=np.zeros((3, 3072))), r"data_batch_4: no CIFAR batch"),
        (changed("data_batch_4", data=[1]), r"data_batch_4: no CIFAR batch"),
        (
            ("cifar-10-batches-py", FORMS[0][1] | {"data_batch_2": b"cposix\nsystem\n(S'false'\ntR."}),
            r"data_batch_2 asks for posix\.system",
        ),
    ],
)
def test_broken_files_are_refused_by_name_in_a_folder_and_in_an_archive(tmp_path, made, message):
    folder, files = made
    inside = write_files(tmp_path / folder, files)
    archive = write_tar(tmp_path / "cifar.tar.gz", files, folder)
    for source in (inside, archive):
        with pytest.raises(BadData, match=message) as caught:
            read(source)
        assert "\n" not in str(caught.value)


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, target
    return found


@pytest.mark.parametrize(
    "bad",
    [
        member("../evil"),
        member("/etc/evil"),
        member("cifar-10-batches-py/../../evil"),
        member("cifar-10-batches-py/link", tarfile.SYMTYPE, "/etc/passwd"),
        member("cifar-10-batches-py/hard", tarfile.LNKTYPE, "cifar-10-batches-py/test_batch"),
        member("cifar-10-batches-py/pipe", tarfile.FIFOTYPE),
        member("cifar-10-batches-py/device", tarfile.CHRTYPE),
    ],
)
def test_an_archive_with_a_dangerous_member_is_refused_by_its_name_and_nothing_is_written(tmp_path, monkeypatch, bad):
    archive = write_tar(tmp_path / "cifar-10-python.tar.gz", FORMS[0][1], "cifar-10-batches-py", bad)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(BadData, match=rf"member '{bad.name}'"):
        read(archive)
    assert not os.listdir(tmp_path / "here")
    assert sorted(os.listdir(tmp_path)) == ["cifar-10-python.tar.gz", "here"]


def test_archives_of_both_sets_or_of_none_are_refused(tmp_path):
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as archive:
        for folder, files in (FORMS[0], FORMS[3]):
            write_files(tmp_path / folder, files)
            archive.add(tmp_path / folder, folder)
    with pytest.raises(BadData, match="holds cifar-10-batches-py and cifar-100-python"):
        read_cifar(tmp_path / "cifar.tar.gz")
    with pytest.raises(BadData, match="holds no CIFAR files"):
        read_cifar(write_tar(tmp_path / "cifar-none.tar.gz", {"a": b"b"}, "folder"))
    with pytest.raises(BadData, match="no CIFAR file"):
        read_cifar(write_files(tmp_path / "x", {"a.bin": b"abc"}) / "a.bin")


def test_a_class_of_two_superclasses_is_warned_of(tmp_path):
    files = dict(FORMS[5][1])
    files["train.bin"] = bytes([3, *files["train.bin"][1:]])  # the first image: another superclass
    files["train.bin"] += bytes([19, 0]) + bytes(3072)  # a second image of class 0
    (finding,) = read(write_files(tmp_path / "cifar-100-binary", files)).origin.findings
    assert (finding.severity, finding.count) == ("warning", 1)
    assert "'fine 0'" in finding.says


def refusal(source: Path) -> str:
    try:
        read(source)
    except TailwiseError as error:
        return str(error)
    return ""


@pytest.mark.fuzz
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), form=st.sampled_from(FORMS), packed=st.booleans())
def test_any_damage_gives_a_manifest_or_one_line(tmp_path_factory, data, form, packed):
    folder, files = form
    place = tmp_path_factory.mktemp("cifar")
    if packed:
        file = write_tar(place / "cifar.tar.gz", files, folder)
    else:
        write_files(place / folder, files)
        file = place / folder / data.draw(st.sampled_from(sorted(files)))
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        content[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    file.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2, 100]))])
    for source in (file, file.parent):
        assert "\n" not in refusal(source)


def test_the_hubs_parquet_of_cifar_100_is_labelled_by_its_fine_labels(tmp_path, monkeypatch):
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    pictures = cifar_pictures(3)
    images = [{"bytes": encoded(picture), "path": None} for picture in pictures]
    table = pl.DataFrame({"img": images, "fine_label": [11, 98, 11], "coarse_label": [14, 14, 14]})
    names = {"fine_label": [f"fine {n}" for n in range(100)], "coarse_label": [f"coarse {n}" for n in range(20)]}
    features = {"img": {"_type": "Image"}} | {column: {"names": of, "_type": "ClassLabel"} for column, of in names.items()}
    (tmp_path / "hub").mkdir()
    meta = {"huggingface": json.dumps({"info": {"features": features}})}
    table.write_parquet(tmp_path / "hub" / "train-00000-of-00001.parquet", metadata=meta)
    found = read(tmp_path / "hub")
    assert len(found.classes) == 100
    assert [found.classes[label] for label in found.rows.sort("id")["label"]] == ["fine 11", "fine 98", "fine 11"]
    assert any("left unread: 'coarse_label'" in line for line in found.provenance)
    assert np.array_equal(read_pixels(found.root / found.rows.sort("id")["path"][0]), pictures[0])


def encoded(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


# The field's own draw.


def published_draw(targets: list[int], kind: str, ratio: float, seed: int = 0) -> list[int]:
    """Written from imbalance_cifar.py of LDAM-DRW: the rows of the archive that are kept, in the order in which it keeps them."""
    np.random.seed(seed)
    classes = sorted(set(targets))
    largest, factor = len(targets) / len(classes), 1 / ratio
    counts = []
    for place in range(len(classes)):
        if kind == "exponential":
            counts.append(int(largest * factor ** (place / (len(classes) - 1.0))))
        else:
            counts.append(int(largest) if place < len(classes) // 2 else int(largest * factor))
    kept = []
    for label, count in zip(classes, counts, strict=True):
        rows = np.array([row for row, target in enumerate(targets) if target == label])
        np.random.shuffle(rows)
        kept += rows[:count].tolist()
    return kept


@pytest.fixture(scope="module")
def archive_like(tmp_path_factory):
    """CIFAR-10 and CIFAR-100 with the published sizes and labels in a shuffled order; all pictures are black."""
    root = tmp_path_factory.mktemp("published")
    labels = {}
    for name, classes, folder, before in (("cifar10", 10, "cifar-10-batches-bin", 1), ("cifar100", 100, "cifar-100-binary", 2)):
        fine = np.random.default_rng(classes).permutation(np.repeat(np.arange(classes), 50_000 // classes)).astype(np.uint8)
        test = np.repeat(np.arange(classes), 10_000 // classes).astype(np.uint8)
        files = {"test_batch.bin" if before == 1 else "test.bin": test}
        files |= {f"data_batch_{b + 1}.bin": fine[b * 10_000 :][:10_000] for b in range(5)} if before == 1 else {"train.bin": fine}
        (root / folder).mkdir()
        for file, of_file in files.items():
            records = np.zeros((len(of_file), before + 3072), np.uint8)
            records[:, before - 1] = of_file
            if before == 2:
                records[:, 0] = of_file // 5
            records.tofile(root / folder / file)
        labels[name] = fine.tolist()
    return root, labels


@pytest.fixture(scope="module")
def by_name(archive_like):
    root, labels = archive_like
    return {name: (read(name, root=root), of_name) for name, of_name in labels.items()}


def kept_rows(manifest) -> list[int]:
    return sorted(manifest.select("train")["row"].to_list())


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("kind", ["exponential", "step"])
@pytest.mark.parametrize("ratio", [10, 20, 50, 100, 200])
def test_by_name_the_fields_own_images_are_drawn(by_name, real_data, name, kind, ratio):
    manifest, targets = by_name[name]
    tail = thin(manifest, f"{kind}:{ratio}")
    assert kept_rows(tail) == sorted(published_draw(targets, kind, ratio))
    published = json.loads((real_data / "metadata/cifar-lt/counts.json").read_text())
    assert list(tail.counts()) == published[f"{name}_{'exp' if kind == 'exponential' else kind}_ir{ratio}"]
    assert len(tail.select("test")) == 10_000


TOTALS = {  # of formats.md, by hand
    ("cifar10", "exponential"): {10: 20_431, 20: 17_023, 50: 13_996, 100: 12_406, 200: 11_203},
    ("cifar100", "exponential"): {10: 19_573, 20: 15_907, 50: 12_608, 100: 10_847, 200: 9_502},
    ("cifar10", "step"): {10: 27_500, 20: 26_250, 50: 25_500, 100: 25_250, 200: 25_125},
    ("cifar100", "step"): {10: 27_500, 20: 26_250, 50: 25_500, 100: 25_250, 200: 25_100},
}
GROUPS = {
    "cifar10": {10: (10, 0, 0), 20: (10, 0, 0), 50: (9, 1, 0), 100: (8, 2, 0), 200: (7, 3, 0)},
    "cifar100": {10: (69, 31, 0), 20: (53, 47, 0), 50: (41, 41, 18), 100: (35, 35, 30), 200: (30, 31, 39)},
}


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_totals_and_groups_are_the_published_ones(by_name, name):
    for kind in ("exponential", "step"):
        for ratio, total in TOTALS[name, kind].items():
            counts = thin(by_name[name][0], f"{kind}:{ratio}").counts()
            assert sum(counts) == total
            if kind == "exponential":
                many, few = sum(n > 100 for n in counts), sum(n < 20 for n in counts)
                assert (many, len(counts) - many - few, few) == GROUPS[name][ratio]


def test_the_packed_cifar_100_lt_has_the_same_counts(by_name, real_data):
    packed = np.load(real_data / "cifar-100-lt/cifar100_lt100.npz")
    assert thin(by_name["cifar100"][0], "exponential:100").counts() == tuple(packed["train_counts"].tolist())


def test_the_draw_is_said_nested_seeded_and_independent_of_the_rows_order(by_name):
    manifest, targets = by_name["cifar100"]
    tail = thin(manifest, "exponential:100")
    assert tail.provenance[-1] == (
        "thinned train to exponential:100 by the field's own draw (RandomState(0), archive order), seed 0: "
        "10,847 of 50,000 images kept, 500 to 5 a class"
    )
    assert set(kept_rows(thin(manifest, "exponential:200"))) < set(kept_rows(tail)) < set(kept_rows(thin(manifest, "exponential:50")))
    assert kept_rows(thin(manifest.replace(rows=manifest.rows.sample(fraction=1, shuffle=True, seed=1)), "exponential:100")) == kept_rows(
        tail
    )
    assert kept_rows(thin(manifest, "exponential:100", seed=3)) == sorted(published_draw(targets, "exponential", 100, seed=3))
    with pytest.raises(BadValue, match="seed -1 is none for the field's own draw"):
        thin(manifest, "exponential:100", seed=-1)


def test_by_path_and_for_other_profiles_the_usual_order_is_kept(archive_like, by_name):
    by_path = read(archive_like[0] / "cifar-10-batches-bin")
    usual = thin(by_path, "exponential:100")
    assert "own draw" not in usual.provenance[-1]
    assert kept_rows(usual) != kept_rows(thin(by_name["cifar10"][0], "exponential:100"))
    assert kept_rows(thin(by_path, "pareto:2")) == kept_rows(thin(by_name["cifar10"][0], "pareto:2"))


def test_the_global_generator_is_left_alone(by_name):
    np.random.seed(5)
    thin(by_name["cifar10"][0], "exponential:100")
    after = np.random.random()
    np.random.seed(5)
    assert after == np.random.random()


def test_python_2s_pickles_are_what_the_tests_say_they_are():
    table = pickle.loads(python2_pickle({b"data": np.arange(4, dtype=np.uint8), b"labels": [1]}), encoding="bytes")
    assert table[b"data"].tolist() == [0, 1, 2, 3]
    assert table[b"labels"] == [1]
