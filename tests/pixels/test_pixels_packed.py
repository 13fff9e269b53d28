"""The decode-once store, and the rows that training takes from it."""

import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from tailwise.data.images import read_pixels
from tailwise.errors import BadData
from tailwise.pixels import Encoded, Rows, encoded, held_as, pack, packed, pixel_key
from tailwise.pixels.encoded import encode
from tailwise.store import Store


@pytest.fixture
def files(tmp_path):
    """Five 6 x 5 images."""
    folder = tmp_path / "images"
    folder.mkdir()
    paths = []
    for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (5, 6, 5, 3), dtype=np.uint8)):
        paths.append(folder / f"{i}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


CONTENTS = ["a", "b", "c", "d", "e"]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_packs_what_is_decoded(files, store):
    made = pack(files, CONTENTS, None, 3, store)
    assert made.shape == (5, 6, 5, 3)
    assert made.dtype == np.uint8
    for i, path in enumerate(files):
        np.testing.assert_array_equal(made[i], read_pixels(path))


@pytest.mark.parametrize(("size", "channels", "shape"), [(4, 3, (4, 4, 3)), (4, 1, (4, 4, 1)), (None, 1, (6, 5, 1))])
def test_packs_in_the_size_and_channels_asked_for(files, store, size, channels, shape):
    made = pack(files, CONTENTS, size, channels, store)
    assert made.shape == (5, *shape)
    for i, path in enumerate(files):
        np.testing.assert_array_equal(made[i], read_pixels(path, size, channels))


def test_a_second_call_opens_no_file(files, store):
    first = np.array(pack(files, CONTENTS, None, 3, store))
    for path in files:
        path.unlink()
    np.testing.assert_array_equal(pack(files, CONTENTS, None, 3, store), first)


def test_the_packed_array_is_mapped_and_cannot_be_written(files, store):
    made = pack(files, CONTENTS, None, 3, store)
    assert isinstance(made, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        made[0] = 0


def test_other_contents_size_order_or_channels_are_other_keys():
    keys = {
        pixel_key(CONTENTS, 32, 3),
        pixel_key(CONTENTS[::-1], 32, 3),
        pixel_key(CONTENTS[:-1], 32, 3),
        pixel_key(CONTENTS, 33, 3),
        pixel_key(CONTENTS, None, 3),
        pixel_key(CONTENTS, 32, 1),
    }
    assert len(keys) == 6
    assert pixel_key(tuple(CONTENTS), 32, 3) == pixel_key(list(CONTENTS), 32, 3)


def test_progress_counts_to_the_end(files, store):
    said = []
    pack(files, CONTENTS, None, 3, store, lambda done, total: said.append((done, total)))
    assert said == [(i, 5) for i in range(1, 6)]


def test_a_broken_image_leaves_nothing_behind(files, store):
    files[3].write_bytes(b"no image")
    with pytest.raises(BadData, match=r"3\.png") as refused:
        pack(files, CONTENTS, None, 3, store)
    assert "\n" not in str(refused.value)
    assert not store.has("pixels", pixel_key(CONTENTS, None, 3))
    assert list((store.root / "pixels").iterdir()) == []


def test_a_mended_image_is_packed_at_the_next_call(files, store):
    good = files[3].read_bytes()
    files[3].write_bytes(b"")
    with pytest.raises(BadData):
        pack(files, CONTENTS, None, 3, store)
    files[3].write_bytes(good)
    assert pack(files, CONTENTS, None, 3, store).shape == (5, 6, 5, 3)


@pytest.mark.parametrize("size", [(7, 7), (1, 5), (5, 1), (1, 1)])
def test_images_of_several_sizes_are_refused(files, store, size):
    """Never stretched, never repeated over the place of another."""
    Image.new("RGB", size).save(files[2])
    with pytest.raises(BadData):
        pack(files, CONTENTS, None, 3, store)


# --- rows ---------------------------------------------------------------------------------------------------------------

PACKED = np.random.default_rng(1).integers(0, 256, (6, 2, 3, 3), dtype=np.uint8)


def rows(**more) -> Rows:
    given = {"ids": ("x", "y", "z"), "packed": PACKED, "positions": np.array([5, 0, 3]), "targets": np.array([1, 0, 1])}
    return Rows(**{**given, **more})


def test_rows_are_gathered_by_position():
    made = rows().gather(np.array([2, 0, 2]))
    assert made.dtype == torch.uint8
    np.testing.assert_array_equal(made, PACKED[[3, 5, 3]])
    assert len(rows()) == 3
    assert rows().shape == (2, 3, 3)


def test_gathered_rows_are_a_copy():
    made = rows().gather(np.array([0]))
    made.zero_()
    assert PACKED[5].any()


def test_features_are_rows_too():
    features = np.arange(12, dtype=np.float32).reshape(6, 2)
    made = rows(packed=features)
    assert made.shape == (2,)
    assert made.gather(np.array([1])).tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(
    "more", [{"ids": ("x",)}, {"positions": np.array([1])}, {"targets": np.array([1])}, {"weights": np.ones(2, np.float32)}]
)
def test_unequal_lengths_are_refused(more):
    with pytest.raises(BadData, match="equally many"):
        rows(**more)


def test_unlabelled_rows_have_no_labels():
    with pytest.raises(BadData, match="unlabelled"):
        _ = rows(targets=None).labels


# --- what is stored -----------------------------------------------------------------------------------------------------


def test_a_damaged_array_is_decoded_again_and_said(files, store, caplog):
    first = np.array(pack(files, CONTENTS, None, 3, store))
    (file,) = store.root.glob("pixels/*/pixels.npy")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    np.testing.assert_array_equal(pack(files, CONTENTS, None, 3, store), first)
    assert "damaged in the store, and computed again: decoded images" in caplog.text


def test_hashes_are_computed_once_a_process(files, store, monkeypatch):
    pack(files, CONTENTS, None, 3, store)
    pack(files, CONTENTS, None, 3, store)
    monkeypatch.setattr("tailwise.store.hash_file", lambda file: pytest.fail("hashed again"))
    pack(files, CONTENTS, None, 3, Store(store.root))


def test_a_full_disk_is_said_and_kills_nothing(tmp_path):
    """A mapped file on a full disk ends the process with a bus error."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(place)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    program = (
        "import sys\nfrom pathlib import Path\nimport numpy as np\nfrom PIL import Image\n"
        "from tailwise.errors import Stopped\nfrom tailwise.pixels import pack\nfrom tailwise.store import Store\n"
        "file, place = Path(sys.argv[1]) / 'a.png', Path(sys.argv[2])\n"
        "Image.fromarray(np.zeros((100, 100, 3), np.uint8)).save(file)\n"
        "try:\n    pack([file] * 20, ['a'] * 20, None, 3, Store(place))\nexcept Stopped as stopped:\n    print(stopped)\n"
    )
    try:
        done = subprocess.run([sys.executable, "-c", program, str(tmp_path), str(place)], capture_output=True, text=True)
        assert "the disk is full at" in done.stdout, (done.returncode, done.stderr)
        assert [path for path in place.rglob("*") if path.is_file() and path.parent.name != "locks"] == []
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def photos(tmp_path):
    """Forty smooth 24 x 20 images, as PNG."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng, paths = np.random.default_rng(1), []
    for i in range(40):
        coarse = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8))
        paths.append(folder / f"{i}.png")
        coarse.resize((24, 20), Image.Resampling.BICUBIC).save(paths[-1])
    return paths


@pytest.fixture
def small_memory(monkeypatch):
    """What is more than a kilobyte is held as JPEG."""
    for module in (encoded, packed):
        monkeypatch.setattr(module, "RAW_MOST", 1024)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_too_big_is_held_as_jpeg_and_reads_alike(photos, store, small_memory, caplog, channels):
    contents = [str(path) for path in photos]
    raw = np.stack([read_pixels(path, 16, channels) for path in photos])
    made = pack(photos, contents, 16, channels, store)
    assert isinstance(made, Encoded)
    assert (made.shape, made.dtype, made.ndim, len(made)) == (raw.shape, np.uint8, 4, 40)
    rows = np.array([39, 0, 7, 7, 12])
    for place, row in enumerate(rows):
        whole = Image.open(io.BytesIO(encode(raw[row])))
        np.testing.assert_array_equal(made[rows][place], np.asarray(whole).reshape(16, 16, channels))
    assert np.abs(made[np.arange(40)].astype(int) - raw).mean() < 3
    assert "they are held as JPEG of quality 95" in caplog.text
    for path in photos:
        path.unlink()
    np.testing.assert_array_equal(pack(photos, contents, 16, channels, store)[rows], made[rows])


def test_rows_of_encoded_images_are_gathered_by_position(photos, store, small_memory):
    made = pack(photos, [str(path) for path in photos], 16, 3, store)
    rows = Rows(("a", "b", "c"), made, np.array([30, 2, 5]), np.array([0, 1, 1]))
    assert rows.shape == (16, 16, 3)
    gathered = rows.gather(np.array([2, 0]))
    assert gathered.dtype == torch.uint8
    np.testing.assert_array_equal(gathered, made[np.array([5, 30])])


def test_images_that_are_held_otherwise_are_others_to_what_is_trained(monkeypatch):
    raw, key = held_as(100, (16, 16, 3)), pixel_key(CONTENTS, 16, 3)
    for module in (encoded, packed):
        monkeypatch.setattr(module, "RAW_MOST", 16 * 16 * 3 * 100 - 1)
    assert (raw, held_as(100, (16, 16, 3)), held_as(99, (16, 16, 3))) == ("", "jpeg 95", "")
    assert pixel_key(CONTENTS, 16, 3) != key


@pytest.mark.parametrize("is_encoded", [False, True])
def test_more_than_the_store_may_hold_is_refused_before_it_is_decoded(photos, tmp_path, monkeypatch, is_encoded):
    if is_encoded:
        for module in (encoded, packed):
            monkeypatch.setattr(module, "RAW_MOST", 1024)
    opened = []
    monkeypatch.setattr(packed, "read_pixels", lambda path, *how: opened.append(path) or read_pixels(path, *how))
    store = Store(tmp_path / "store", limit=5000)
    with pytest.raises(BadData, match=r"^40 images of 16 x 16 pixels take .* GB, and the store may hold .*; set TAILWISE_STORE_GB"):
        pack(photos, [str(path) for path in photos], 16, 3, store)
    assert len(opened) == (41 if is_encoded else 1)
    assert not list((tmp_path / "store").rglob("*.np*"))
    assert pack(photos, [str(path) for path in photos], 16, 3, Store(tmp_path / "store", limit=10**9)).shape == (40, 16, 16, 3)


KILLED = """
import sys
from pathlib import Path
from tailwise.pixels import pack
from tailwise.store import Store
paths = sorted(Path(sys.argv[1]).glob("*.png"))
def progress(done, total):
    if done == 20 and sys.argv[3] == "die":
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
made = pack(paths, [path.name for path in paths], 16, 3, Store(Path(sys.argv[2])), progress)
print(made.shape, int(made.sum()))
"""


def test_a_killed_writer_leaves_nothing_that_is_taken_for_whole_and_two_writers_agree(photos, tmp_path):
    def start(how):
        words = [sys.executable, "-c", KILLED, str(photos[0].parent), str(tmp_path / "store"), how]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    assert start("die").wait(timeout=120) == -9
    assert not list((tmp_path / "store" / "pixels").glob("[0-9a-f]*/pixels.npy"))
    both = [start("live") for _ in range(2)]
    said = [one.communicate(timeout=120) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    whole = sum(int(read_pixels(path, 16, 3).sum()) for path in photos)
    assert [out.strip() for out, _ in said] == [f"(40, 16, 16, 3) {whole}"] * 2
    assert len(list((tmp_path / "store" / "pixels").glob("[0-9a-f]*/pixels.npy"))) == 1
