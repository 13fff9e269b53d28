"""The store is a cache: deleted, damaged, too small, read-only or on a full disk, results are the same bits."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tailwise as tw
from tailwise.data.content import hash_files
from tailwise.data.unpacked import unpack
from tailwise.disk import check_writable
from tailwise.errors import OutputExists, Unwritable
from tailwise.pixels.packed import keep_array, pack
from tailwise.store import Store
from toy import toy_recipe
from training import seam_runs
from vocabulary.recording import Disk, below, tree

SETTINGS = ("recipe.epochs=2",)
TESTS = Path(__file__).parents[1]


# --- everything that the store keeps ----------------------------------------------------------------------------------


def digest(*arrays: object) -> str:
    made = hashlib.sha256()
    for array in arrays:
        made.update(array if isinstance(array, bytes) else np.ascontiguousarray(array).tobytes())
    return made.hexdigest()


def images(place: Path) -> list[Path]:
    """Four image files, made where they are not there."""
    place.mkdir(exist_ok=True)
    paths = [place / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        if not path.exists():
            Image.fromarray(np.random.default_rng(i).integers(0, 255, (6, 6, 3), dtype=np.uint8)).save(path)
    return paths


def states(store: Store, place: Path) -> str:
    """A stage that leaves its best epoch, which is chosen by stored scores, and one after it."""
    outcome = seam_runs.case("best, then another stage", store)
    return digest(*(tensor.numpy() for _, tensor in sorted(outcome.state.tensors.items())))


def pixels(store: Store, place: Path) -> str:
    return digest(pack(images(place), ["a", "b", "c", "d"], None, 3, store))


def features(store: Store, place: Path) -> str:
    made = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    return digest(keep_array(store, "features", "f" * 32, lambda file: np.save(file, made)))


def files(store: Store, place: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAILWISE_STORE", str(store.root))
        folder, table = unpack("a" * 32, lambda: [(f"train/{path.stem}", path.read_bytes()) for path in images(place)])
    assert table["content"].to_list() == hash_files([str(folder / path) for path in table["path"]])
    return digest(*((folder / path).read_bytes() for path in table["path"]))


def hashes(store: Store, place: Path) -> str:
    return digest(json.dumps(hash_files([str(path) for path in images(place)], store.shelf("hashes"))).encode())


KINDS: dict[str, Callable[[Store, Path], str]] = {
    "states": states,
    "scores": states,
    "pixels": pixels,
    "features": features,
    "files": files,
    "hashes": hashes,
}


def everything(root: Path, place: Path) -> dict[str, str]:
    """Compute all that the store keeps, and give a digest of each."""
    torch.set_num_threads(1)
    return {kind: compute(Store(root), place) for kind, compute in KINDS.items() if kind != "scores"}


@pytest.fixture(scope="module")
def filled() -> Iterator[tuple[Path, dict[str, str]]]:
    """A store that was used for everything, for every user to read, and what came out."""
    place = Path(tempfile.mkdtemp(prefix="tailwise-test-"))
    made = everything(place / "store", place / "images")
    subprocess.run(["chmod", "-R", "a+rX", str(place)], check=True)
    yield place, made
    subprocess.run(["chmod", "-R", "u+w", str(place)], check=True)
    shutil.rmtree(place)


DAMAGED = {
    "states": ("tensors.safetensors", "state.json"),
    "scores": (".json",),
    "pixels": ("pixels.npy", "seal.json", "size"),
    "features": ("features.npy", "seal.json", "size"),
    "files": ("unpacked.parquet", "train/2.png", "seal.json", "size"),
    "hashes": ("content.sealed",),
}
"""Kind -> ends of the files that it has in the store."""


def test_no_file_of_the_store_is_left_out_of_the_damage_below(filled):
    place, _ = filled
    kinds = {path.name for path in (place / "store").iterdir()} - {"locks"}
    assert kinds == set(DAMAGED)
    for kind, ends in DAMAGED.items():
        left = [p.as_posix() for p in (place / "store" / kind).rglob("*") if p.is_file() and p.suffix != ".png"]
        assert [name for name in left if not name.endswith(ends)] == []


@pytest.mark.parametrize(("kind", "end"), [(kind, end) for kind, ends in DAMAGED.items() for end in ends])
@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_damage_in_any_file_is_found_said_and_computed_again(filled, tmp_path, caplog, kind, end, damage):
    place, whole = filled
    store = Store(shutil.copytree(place / "store", tmp_path / "store"))
    found = [path for path in (store.root / kind).rglob("*") if path.as_posix().endswith(end)]
    assert found
    for path in found:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(bytes(data if damage == "flip" else data[: len(data) // 2]))
    computed = "states" if kind == "scores" else kind
    assert KINDS[kind](store, place / "images") == whole[computed]
    assert "damaged in the store, and computed again" in caplog.text
    caplog.clear()
    assert KINDS[kind](store, place / "images") == whole[computed]
    assert not caplog.records, "it was made good"


def test_a_store_of_a_few_kilobytes_changes_no_result(filled, tmp_path, monkeypatch):
    place, whole = filled
    monkeypatch.setenv("TAILWISE_STORE_GB", "0.000004")
    for kind, compute in KINDS.items():
        store = Store(tmp_path / "store")
        assert compute(store, place / "images") == whole["states" if kind == "scores" else kind]
        store.trim()
        assert sum(thing.bytes for thing in store.things()) <= store.limit < 5000


STRANGER = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch._dynamo  # before rights are given up: the interpreter's folder may be for its owner alone
from study import test_study_store as test
place = Path(sys.argv[2])
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)
assert not os.access(place / "store", os.W_OK), "the store can be written, so nothing is tested"
trained = test.seam_runs.case("best, then another stage", test.Store(place / "store")).trained
again = test.seam_runs.case("queue, accumulated and averaged", test.Store(place / "store"))
more = test.seam_runs.case("queue, accumulated and averaged", test.Store(place / "store"))
print(json.dumps([test.everything(place / "store", place / "images"), trained, again.trained > 0, more.trained]))
"""


def test_a_store_of_another_user_is_read_and_left_as_it_is(filled):
    place, whole = filled
    before = tree(place / "store")
    subprocess.run(["chmod", "-R", "a-w", str(place)], check=True)
    done = subprocess.run([sys.executable, "-c", STRANGER, str(TESTS), str(place)], capture_output=True, text=True, env=os.environ | QUIET)
    subprocess.run(["chmod", "-R", "u+w", str(place)], check=True)
    if "nothing is tested" in done.stderr:
        pytest.skip("this user may write whatever is read-only, and cannot become another one")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [whole, 0, True, 0], "what is stored is used, what is new is kept for this process"
    assert done.stderr.count("cannot be written: it is read, and nothing new is kept for later runs") == 1
    assert tree(place / "store") == before


QUIET = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "HOME": "/tmp"}

FULL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from training import seam_runs
from tailwise.errors import Stopped
from tailwise.store import Store
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    seam_runs.case("best, then another stage", Store(Path(sys.argv[2])))
except Stopped as stopped:
    sys.exit(str(stopped))
"""


def test_a_run_that_meets_a_full_disk_stops_and_goes_on_later(filled, tmp_path):
    place, whole = filled
    before = tree(shutil.copytree(place / "store", tmp_path / "store"))
    shutil.rmtree(tmp_path / "store" / "scores")  # so that it has to train
    shutil.rmtree(tmp_path / "store" / "states")
    done = subprocess.run([sys.executable, "-c", FULL, str(TESTS), str(tmp_path / "store")], capture_output=True, text=True)
    assert "the disk is full at" in done.stderr, done.stderr
    assert "run the same command again" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    left = tree(tmp_path / "store")
    assert [name for name, data in left.items() if data is not None and before.get(name) != data] == []
    assert states(Store(tmp_path / "store"), place) == whole["states"]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_run_on_a_disk_that_fills_up_makes_room_in_the_store_and_ends_in_the_same_bits(filled, small):
    place, whole = filled
    for number in range(3):
        folder = Store(small).make("pixels", f"{number:032d}", lambda draft: (draft / "pixels.npy").write_bytes(b"x" * 600_000) and None)
        os.utime(folder, (1, 1))
    assert states(Store(small), place) == whole["states"]
    assert not list(small.glob("pixels/*/pixels.npy"))


# --- training and comparing -------------------------------------------------------------------------------------------


def test_training_recomputes_what_was_damaged(run, tmp_path):
    whole, _ = run("ce-drw", store="s")
    for tensors in tmp_path.glob("s/states/*/*/tensors.safetensors"):
        tensors.write_bytes(b"rubbish")
    again, _ = run("ce-drw", store="s")
    assert again.trained == whole.trained
    assert all(torch.equal(t, again.state.tensors[n]) for n, t in whole.state.tensors.items())


def test_deleting_the_store_between_stages_costs_time_only(run, tmp_path):
    whole, _ = run("crt", store="s")
    shutil.rmtree(tmp_path / "s")
    predictor = whole.predictor  # needs the states before it, and trains them again
    again, _ = run("crt", store="other")
    assert all(torch.equal(t, again.predictor.state_dict()[n]) for n, t in predictor.state_dict().items())


def test_recipe_of_two_lengths_shares_nothing(run):
    run("ce", store="s")
    longer, _ = run("ce", store="s", recipe=toy_recipe(epochs=6))
    assert longer.trained == longer.leg.stop


def compare(out: Path, store: Path, methods: str = "ce-drw,ldam-drw") -> tw.Study:
    data = tw.read("digits", tail="exponential:20", split="70/10/20")
    return tw.compare(data, methods, seeds=1, settings=SETTINGS, recipe="demo", out=out, store=Store(store))


def weights(study: tw.Study) -> dict[str, str]:
    return {text: run.record["weights"] for text, runs in study.runs.items() for run in runs}


def test_deleting_the_store_in_the_middle_of_a_comparison_changes_nothing(tmp_path):
    whole = compare(tmp_path / "whole", tmp_path / "a")
    study = compare(tmp_path / "cut", tmp_path / "b")
    shutil.rmtree(tmp_path / "b")
    shutil.rmtree(study.folder / "runs" / "ldam-drw-seed0")
    (study.folder / "report.json").unlink()
    assert weights(compare(tmp_path / "cut", tmp_path / "b")) == weights(whole)


@pytest.mark.skipif(sys.platform != "linux", reason="the recording layer asks /proc which file is synced")
def test_after_a_power_cut_at_any_moment_a_study_and_its_runs_are_whole_or_not_there(tmp_path):
    place = tmp_path / "out"
    place.mkdir()
    with Disk(place).watching() as disk:
        study = compare(place / "study", tmp_path / "store", "ce")
    run = "study/runs/ce-seed0"
    whole = tree(place)
    assert all(left in (None, below(whole, run)) for left in disk.left(run))
    assert disk.left(run)[-2:] == [below(whole, run)] * 2
    for name in ("report.json", "report.md", "report.csv", "study.json", "splits.csv"):
        assert set(disk.left(f"study/{name}")) == {None, (study.folder / name).read_bytes()}
    for _, *disks in disk.moments:
        for left in disks:
            assert "study" not in left or {"study/study.json", "study/splits.csv"} <= set(left)


# --- places -----------------------------------------------------------------------------------------------------------


def test_places_that_cannot_be_written_are_found_before_the_work(tmp_path):
    with pytest.raises(Unwritable, match="cannot be written"):
        check_writable(Path("/proc/nowhere/run"))
    (tmp_path / "file").touch()
    with pytest.raises(OutputExists, match="is a file"):
        check_writable(tmp_path / "file")
    check_writable(tmp_path / "new" / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
