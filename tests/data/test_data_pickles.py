from __future__ import annotations

import gzip
import os
import pickle
import pickletools
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archives import python2_pickle
from tailwise.data import read
from tailwise.data.readers.pickles import MOST_BYTES, as_text, parse_pickle, read_pickle, whole_numbers
from tailwise.errors import BadData, TailwiseError

REAL = ("voc-lt/class_freq.pkl.gz", "voc-lt/class_split.pkl", "coco-lt/class_freq.pkl.gz", "coco-lt/class_split.pkl")


class Evil:
    """What a pickle with code in it makes of itself."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def alike(ours, theirs) -> bool:
    """Equal in value and type, arrays included."""
    if isinstance(theirs, dict):
        keys = {as_text(key) if isinstance(key, bytes) else key: key for key in theirs}
        return set(ours) == set(keys) and all(alike(ours[key], theirs[old]) for key, old in keys.items())
    if isinstance(theirs, (list, tuple)):
        return type(ours) is type(theirs) and len(ours) == len(theirs) and all(map(alike, ours, theirs))
    if isinstance(theirs, np.ndarray):
        return ours.dtype == theirs.dtype and np.array_equal(ours, theirs)
    return type(ours) is type(theirs) and ours == theirs


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_of_every_protocol_is_what_python_reads(protocol):
    value = {
        b"data": np.arange(12, dtype=np.uint8).reshape(3, 4),
        "planes": np.arange(12, dtype=np.float32).reshape(3, 4).T,
        "big-endian": np.array([1, 256], ">i4"),
        "empty": np.zeros((3, 0)),
        "flags": np.array([True, False]),
        7: [np.int64(3), np.float32(0.5), {1, 2}, frozenset([3]), set(), b"x\xff", b"", 1.5, True, None, -5, 10**15, -(2**63)],
        "texts": ("a", "ü\n", "\\", "", (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {}, []),
    }
    assert alike(parse_pickle(pickle.dumps(value, protocol), "x.pkl"), value)


def test_arrays_of_python_2_are_read_with_text_keys():
    value = {b"data": np.arange(6, dtype=np.uint8).reshape(2, 3), b"labels": [4, -1], b"long": b"x" * 300}
    found = parse_pickle(python2_pickle(value), "x.pkl")
    assert alike(found, value)
    assert alike(found, pickle.loads(python2_pickle(value), encoding="bytes"))


@pytest.mark.parametrize("name", REAL)
def test_the_published_pickles_are_what_python_reads(real_data, name):
    file = real_data / "metadata" / name
    content = gzip.decompress(file.read_bytes()) if name.endswith(".gz") else file.read_bytes()
    found = read_pickle(file)
    assert alike(found, pickle.loads(content, encoding="latin1"))


def test_values_that_are_used_again_are_the_same(tmp_path):
    shared = [np.zeros(3, np.int64)]
    found = parse_pickle(pickle.dumps([shared, shared, shared[0]], 2), "x.pkl")
    assert found[0] is found[1]
    assert found[0][0] is found[2]


def test_large_arrays_are_views_of_the_file(tmp_path):
    file = tmp_path / "cache.pkl"
    images = np.random.default_rng(0).integers(0, 256, (1000, 84, 84, 3), dtype=np.uint8)
    for protocol in (3, 4, 5):
        file.write_bytes(pickle.dumps({"image_data": images}, protocol))
        tracemalloc.start()
        found = read_pickle(file)["image_data"]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 20
        assert not found.flags.writeable
        assert np.array_equal(found, images)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"cposix\nsystem\n(S'touch ran'\ntR.", "posix.system"),
        (b"(S'touch ran'\niposix\nsystem\n.", "posix.system"),
        (pickle.dumps(Evil(os.system, "touch ran"), 4), "posix.system"),
        (pickle.dumps(Evil(eval, "open('ran', 'w')"), 0), "__builtin__.eval"),
        (pickle.dumps({"data": [Evil(getattr, "x", "join")]}), "builtins.getattr"),
        (pickle.dumps(Path("a")), "pathlib.PosixPath"),
        (pickle.dumps(np.array([object()], object), 2), "an array of Python objects"),
        (pickle.dumps(np.zeros(2, [("a", "i4")]), 2), "an array of 'V4'"),
        (pickle.dumps(np.array(["a"]), 2), "an array of 'U1'"),
        (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
        (b"c__builtin__\nset\n)\x81.", "the instruction NEWOBJ"),
        (b"(i__builtin__\nset\n.", "an object"),
        (b"\x82\x01.", "the instruction EXT1"),
        (b"Pname\n.", "the instruction PERSID"),
        (b"}}b.", "the state of an object"),
        (b"]cos\x07\nsys\ntem\n.", r"os\\x07.sys"),
        (b"c" + b"m" * 10**6 + b"\nname\n.", "m" * 100),
    ],
)
def test_a_pickle_that_asks_for_anything_else_is_refused_by_name_and_never_run(tmp_path, monkeypatch, content, name):
    monkeypatch.chdir(tmp_path)
    Path("cache.pkl").write_bytes(content)
    with pytest.raises(BadData) as caught:
        read_pickle(Path("cache.pkl"))
    assert str(caught.value) == f"cache.pkl asks for {name}; only arrays and plain containers are read".replace("\\\\", "\\")
    assert not Path("ran").exists()


def test_a_pickle_with_code_is_refused_at_the_door(tmp_path):
    (tmp_path / "cache.pkl").write_bytes(pickle.dumps({"image_data": Evil(os.system, f"touch {tmp_path}/ran")}))
    with pytest.raises(BadData, match=r"cache\.pkl asks for posix\.system; only arrays and plain containers are read"):
        read(tmp_path / "cache.pkl")
    assert not (tmp_path / "ran").exists()


def encoded(text: bytes, times: int) -> bytes:
    return (
        b"c_codecs\nencode\nq\x00]q\x01X"
        + struct.pack("<I", len(text))
        + text
        + b"q\x02("
        + b"h\x00h\x02X\x06\x00\x00\x00latin1\x86R" * times
    )


ARRAY = python2_pickle(np.zeros((2, 3), np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x80\x02", "ends inside a record, at byte 2"),
        (b"\x80\x02}", "ends inside a record, at byte 3"),
        (b"S'abc", "ends inside a record"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"abc", "1,099,511,627,776 bytes are declared, 3 left"),
        (b"\x80\x05\x96" + struct.pack("<Q", 1 << 62), "bytes are declared, 0 left"),
        (b"\x80\x02T\xff\xff\xff\xff", "4,294,967,295 bytes are declared"),
        (b"\x80\x02Nr\xff\xff\xff\x7f.", None),  # a memo of two thousand million places, of which one is filled
        (b"\x8b\xff\xff\xff\x00", "a number of 16,777,215 bytes"),
        (b"\x8a\xff" + b"\x01" * 255 + b".", "a number of 255 bytes"),
        (b"L" + b"9" * 10**6 + b"L\n.", "a number of 1,000,000 digits"),
        (b"I" + b"9" * 10**6 + b"\n.", "a number of 1,000,000 digits"),
        (b"]" * 100_000 + b".", "takes far more memory than its 100,001 bytes"),
        (b"(" * 100_000 + b".", "takes far more memory"),
        (b"\x8f" * 100_000 + b".", "takes far more memory"),
        (b"(" + b"K\x01" * 10**5 + b"lq\x00" + b"c__builtin__\nset\nh\x00\x85R" * 100, "takes far more memory"),
        (b"](" + b"K\x01" * 10**5 + b"eq\x00" + b"c__builtin__\nlist\nh\x00\x85R" * 100, "takes far more memory"),
        (encoded(b"x" * 10**6, 1000), "takes far more memory"),
        (ARRAY.replace(b"J\x02\x00\x00\x00J\x03", b"J\xff\xff\xff\x7fJ\x03"), "an array declares 6,442,450,941 bytes and holds 6"),
        (ARRAY.replace(b"J\x02\x00\x00\x00J\x03", b"J\x01\x00\x00\x00J\x03"), "an array declares 3 bytes and holds 6"),
        (ARRAY.replace(b"J\x02\x00\x00\x00J\x03", b"J\xff\xff\xff\xffJ\x03"), "a damaged pickle"),
        (ARRAY.replace(b"u1", b"u7"), "asks for an array of 'u7'"),
        (b"}(]Nu.", "a damaged pickle"),  # a list as a key
        (b"c__builtin__\nset\n.", None),
        (b"X\x02\x00\x00\x00\xff\xff.", "a damaged pickle, at byte 7"),
        (b"h\x05.", "a damaged pickle"),
        (b"e.", "a damaged pickle"),
        (b"\x86.", "a damaged pickle"),
        (b"cnumpy\nndarray\n)R.", "a damaged pickle"),
        (b"K\x01)R.", "a damaged pickle"),
        (b".", "a damaged pickle"),
    ],
)
def test_damage_and_bombs_are_one_line_and_little_memory(tmp_path, monkeypatch, content, message):
    monkeypatch.setattr("tailwise.data.readers.pickles._BESIDE", 1 << 24)
    file = tmp_path / "cache.pkl"
    file.write_bytes(content)
    tracemalloc.start()
    try:
        if message is None:
            read_pickle(file)
        else:
            with pytest.raises(BadData, match=rf"cache\.pkl.*({message})") as caught:
                read_pickle(file)
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 400
        assert tracemalloc.get_traced_memory()[1] < 48 << 20
    finally:
        tracemalloc.stop()


def test_a_million_lists_in_a_million_bytes_are_too_many():
    with pytest.raises(BadData, match="takes far more memory than its 1,000,001 bytes"):
        parse_pickle(b"]" * 1_000_000 + b".", "x.pkl")


def test_deep_nesting_and_nested_twins_take_no_time():
    deep = parse_pickle(b"]" * 100_000 + b"a" * 99_999 + b".", "x.pkl")
    assert len(deep) == 1
    twins = b"K\x01" + b"\x85" + b"q\x00h\x00\x86" * 10_000  # a tuple of two equal tuples of two equal ...: 2 ** 10000 leaves
    assert len(parse_pickle(twins + b".", "x.pkl")) == 2
    with pytest.raises(BadData, match="a damaged pickle"):
        parse_pickle(b"}(" + twins + b"Nu.", "x.pkl")  # hashing it would take for ever


def test_a_pickle_is_too_large_before_it_is_read(tmp_path):
    file = tmp_path / "cache.pkl"
    with open(file, "wb") as stream:
        stream.truncate(MOST_BYTES + 1)  # takes no room on the disk
    with pytest.raises(BadData, match=r"a pickle of 2,147,483,649 bytes, at most 2,147,483,648 are read"):
        read_pickle(file)


def test_a_pipe_a_pointer_and_nothing_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.pkl")
    (tmp_path / "pointer.pkl").write_text("version https://git-lfs.github.com/spec/v1\n")
    for name, message in {"pipe.pkl": "no ordinary file", "pointer.pkl": "Git-LFS pointer", "none.pkl": "cannot be opened"}.items():
        with pytest.raises(BadData, match=message):
            read_pickle(tmp_path / name)


def test_text_that_is_called_a_pickle_is_none(tmp_path, real_data):
    (tmp_path / "img_id.pkl").write_bytes((real_data / "metadata/coco-lt/img_id.pkl").read_bytes())
    with pytest.raises(BadData) as caught:
        read(tmp_path / "img_id.pkl")
    assert "pickle" not in str(caught.value)


def test_whole_numbers_are_lists_or_arrays_of_them():
    assert whole_numbers([1, np.int64(2)], 2).tolist() == [1, 2]
    assert whole_numbers(np.array([3], np.uint8)).dtype == np.int64
    for value in ([1.0], [1, "2"], [1 << 62], np.zeros((2, 2), int), np.zeros(2), "12", None, [1, 2, 3]):
        assert whole_numbers(value, 2) is None


def mutated(content: bytes, data: st.DataObject) -> bytes:
    """Change, insert, delete or repeat a few bytes, or cut the end off; opcodes are likelier than other bytes."""
    codes = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        what = data.draw(st.sampled_from(["change", "insert", "delete", "repeat", "cut"]))
        piece = data.draw(st.one_of(st.sampled_from(codes), st.binary(min_size=1, max_size=6), st.just(b"cposix\nsystem\n")))
        stop = min(len(content), at + data.draw(st.integers(1, 40)))
        content = {
            "change": content[:at] + piece + content[at + len(piece) :],
            "insert": content[:at] + piece + content[at:],
            "delete": content[:at] + content[stop:],
            "repeat": content[:stop] + content[at:],
            "cut": content[: max(at, 1)],
        }[what]
    return content


def refusal(content: bytes) -> str:
    try:
        parse_pickle(content, "x.pkl")
    except TailwiseError as error:
        return str(error)
    return ""


SMALL = pickle.dumps({b"data": np.zeros((2, 3), np.uint8), "labels": [1, {2}, np.int64(3), (4, "a")]}, 2)


@pytest.mark.fuzz
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_mutation_of_a_real_pickle_runs_anything_or_takes_much_memory(real_data, monkeypatch, data):
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("ran"))
    names = ["voc-lt/class_split.pkl", "coco-lt/class_split.pkl", "voc-lt/class_freq.pkl.gz"]
    name = data.draw(st.sampled_from([None, *names]))
    whole = b"" if name is None else (real_data / "metadata" / name).read_bytes()
    content = mutated(SMALL if name is None else gzip.decompress(whole) if name.endswith(".gz") else whole, data)
    tracemalloc.start()
    said = refusal(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in said
    assert peak < 64 << 20


@pytest.mark.fuzz
@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=300), seed=st.sampled_from([b"", b"\x80\x02", b"\x80\x04\x95", b"(dp0\n"]))
def test_any_bytes_give_a_value_or_one_line(content, seed):
    assert "\n" not in refusal(seed + content + b".")
