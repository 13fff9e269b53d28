"""Fine-tuning EfficientNet-Lite0 on a few photographs of waste: all of it learns, and it helps."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import tailwise as tw
from tailwise.evaluation import macro_accuracy
from tailwise.models import frozen_body
from tailwise.registry import parse_rows
from tailwise.store import Store
from tailwise.study.predict import RunModel
from tailwise.study.setup import Setup, make_setup
from tailwise.study.words import DataWords, TrainingWords
from tailwise.training.line import make_loop
from tailwise.training.modes import plainly
from tailwise.training.streams import StreamReader, read_batch
from tailwise.training.sweep import sweep

FILE = Path(__file__).parents[2] / "../shared/data/trashnet/trashnet128.zip"
CPU = torch.device("cpu")


def unpack(folder: Path, images: int) -> Path:
    """The first training photographs of each class, equally many but for what is left over; 128 pixels each."""
    if not FILE.is_file():
        pytest.fail(f"{FILE} is missing: fine-tuning is not tried on photographs", pytrace=False)
    with zipfile.ZipFile(FILE) as packed:
        names = sorted(n for n in packed.namelist() if n.startswith("train/") and not n.endswith("/"))
        classes = sorted({n.split("/")[1] for n in names})
        for place, label in enumerate(classes):
            count = images // len(classes) + (place < images % len(classes))
            (folder / label).mkdir(parents=True)
            for name in [n for n in names if n.split("/")[1] == label][:count]:
                (folder / label / Path(name).name).write_bytes(packed.read(name))
    return folder


def setup(folder: Path, store: Path, *settings: str, split: str = "60/40") -> Setup:
    return make_setup(folder, parse_rows("ce"), DataWords(split=split), TrainingWords("finetune", settings=settings), Store(store)).ready()


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Setup:
    """40 photographs at 64 pixels."""
    place = tmp_path_factory.mktemp("few")
    return setup(unpack(place / "trash", 40), place / "store", "recipe.image_size=64", "recipe.epochs=4")


@pytest.fixture(scope="module")
def stepped(few) -> list[dict[str, torch.Tensor]]:
    """All tensors of network and loss before the first step, and after each of three."""
    root, leg = few.root(0), few.plan(few.rows[0], 0).legs[0]
    with plainly(1):
        loop = make_loop(root, leg, None, CPU)
        readers = {name: StreamReader(name, stream, root, leg, CPU) for name, stream in leg.stage.streams.items()}
        seen = [{name: tensor.clone() for name, tensor in loop.joint.state_dict().items()}]
        for step in range(3):
            loop.run_step(*read_batch(readers, leg, step, root.seed))
            seen.append({name: tensor.clone() for name, tensor in loop.joint.state_dict().items()})
        seen[0] |= {f"meter/{name}": torch.tensor(value) for name, value in loop.read_meter().items()}
    return seen


@pytest.mark.real
def test_the_body_begins_from_its_pre_trained_values(stepped):
    pretrained = frozen_body("efficientnet-lite0", (64, 64, 3)).state_dict()
    assert len(pretrained) > 200
    for name, tensor in pretrained.items():
        assert torch.equal(stepped[0][f"net.{name}"], tensor), name


@pytest.mark.real
def test_every_parameter_learns_and_batch_normalisation_moves(few, stepped):
    net = make_loop(few.root(0), few.plan(few.rows[0], 0).legs[0], None, CPU).net
    learning = {f"net.{name}" for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert learning == {f"net.{name}" for name, _ in net.named_parameters()}
    assert [name for name in learning if torch.equal(stepped[0][name], stepped[3][name])] == []
    statistics = [name for name in stepped[0] if name.endswith(("running_mean", "running_var"))]
    assert len(statistics) > 80
    assert [name for name in statistics if torch.equal(stepped[0][name], stepped[3][name])] == []
    assert all(torch.isfinite(tensor).all() for tensor in stepped[3].values())
    assert all(torch.isfinite(value) for name, value in stepped[0].items() if name.startswith("meter/"))


@pytest.mark.real
def test_the_head_learns_ten_times_as_fast_as_the_body(stepped):
    """A first step of Adam moves each number by its learning rate, whatever its gradient is."""

    def moved(name: str) -> float:
        return float((stepped[1][name] - stepped[0][name]).abs().median())

    head = next(name for name in stepped[0] if name.startswith("net.head") and name.endswith("weight"))
    body = [name for name in stepped[0] if name.startswith("net.blocks") and name.endswith("conv_pwl.weight")]
    assert moved(head) == pytest.approx(1.5e-3, rel=0.1)  # half of 3e-3 in the first of two epochs of warm-up
    assert np.median([moved(name) for name in body]) == pytest.approx(1.5e-4, rel=0.1)


@pytest.mark.real
def test_few_photographs_make_small_batches_and_keep_the_network_s_own_normalisation(few):
    assert few.recipe.batch_size == 8  # 24 training images: three steps an epoch are the most that there are
    assert few.recipe.second.batch_size == 8
    assert few.recipe.normalise.mean == (0.5, 0.5, 0.5)
    assert few.splits.shape == (64, 64, 3)
    assert few.extractor is None


@pytest.mark.slow
@pytest.mark.real
def test_200_photographs_beat_chance_and_the_same_network_without_training(tmp_path):
    folder = unpack(tmp_path / "trash", 200)
    made = setup(folder, tmp_path / "store")
    rows = made.splits.rows["test"]
    untrained = make_loop(made.root(0), made.plan(made.rows[0], 0).legs[0], None, CPU).net.eval()
    before = macro_accuracy(rows.labels, sweep(untrained, rows, made.recipe.normalise, CPU)[0], 6)
    words = {"recipe": "finetune", "store": Store(tmp_path / "store")}
    run = tw.train(tw.read(folder, split="60/40"), "ce", out=tmp_path / "run", **words)
    after = run.evaluate("test").macro_accuracy
    print(f"without training {before:.3f}, fine-tuned {after:.3f}, {sum(leg['seconds'] for leg in run.record['legs']):.0f} s of training")
    assert run.evaluate("test").images == 80
    assert after > 0.5  # chance is 1/6
    assert after > before + 0.25
    shutil.rmtree(tmp_path / "store")
    said = run.predictions.split("test")
    found = RunModel(run, None, CPU).logits([folder / id_ for id_ in said.ids])
    assert found == pytest.approx(said.logits, abs=1e-3)
