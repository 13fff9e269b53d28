"""What must never happen: a stale result, a half-written folder, a spread over things that are no seeds."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

import tailwise as tw
from photos import paint
from tailwise.cli import run as command
from tailwise.errors import BadData, BadValue, OutputExists
from tailwise.method import Stage, Start, Stream
from tailwise.methods.ce import CE
from tailwise.modifiers.drw import DRW
from tailwise.objective import Criterion
from tailwise.optim import SAM, SGD, AdamW, Cosine, Steps
from tailwise.pixels import pack
from tailwise.samplers import ClassBalancedSampler
from tailwise.store import Store
from tailwise.training import Root, RunSettings, run_method
from tailwise.training.plan import next_leg, shown_by
from toy import toy_recipe, toy_splits

FAST = ["--recipe", "demo", "--set", "recipe.epochs=2", "--set", "recipe.second.epochs=1", "--json"]
DIGITS = ["digits", "--split", "50/10/40", "--tail", "exponential:20"]

HEAD = """
from dataclasses import dataclass
import torch
from tailwise.losses.cross_entropy import CrossEntropyLoss
from tailwise.method import Best, Card, Learn, Method, Stage, Start, knob, method
from tailwise.objective import Criterion
"""

MINE = """
@dataclass(eq=False)
class Mine(Criterion):
    def rows(self, logits, targets):
        {inside}
        return SIGN * -torch.nn.functional.cross_entropy(logits, targets, reduction="none"), None

@method(Card(title="Mine", family="baseline", formula="CE"))
@dataclass(frozen=True)
class My(Method):
    def stages(self, about):
        yield Stage(criterion=Mine())
"""


@pytest.fixture(autouse=True)
def own_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))


def trained(capsys, *words: str) -> tuple[int, str]:
    """Train; give the steps that this call trained and the folder: an old run that is shown again keeps its folder."""
    assert command(["train", *DIGITS, *FAST, *words]) == 0
    record = json.loads(capsys.readouterr().out)
    return record["steps_trained"], record["folder"]


def test_a_second_recipe_behind_a_best_state_is_in_the_key_of_the_run(own_place, capsys, tmp_path):
    (tmp_path / "mine.py").write_text(
        HEAD
        + """
@method(Card(title="Mine", family="baseline", formula="CE"))
@dataclass(frozen=True)
class My(Method):
    def stages(self, about):
        yield Stage(criterion=CrossEntropyLoss(), leaves=Best())
        yield Stage(criterion=CrossEntropyLoss(), learn=(Learn("net.head.*"),), recipe="second",
                    start=Start(clock="restart", reset=("net.head.*",)))
"""
    )
    first = trained(capsys, "--method", "./mine.py")
    other = trained(capsys, "--method", "./mine.py", "--set", "recipe.second.optimiser.rate=0.01")
    assert other[1] != first[1]
    assert other[0] > 0


@pytest.mark.parametrize("where", ["beside", "in a package above", "in a namespace"])
def test_a_helper_wherever_it_lies_is_in_the_key(own_place, capsys, tmp_path, monkeypatch, where):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "methods").mkdir()
    (tmp_path / "lab_signs").mkdir()
    if where == "in a package above":
        (tmp_path / "lab_signs" / "__init__.py").write_text("")
    helper = tmp_path / "methods" / "helper_of_mine.py" if where == "beside" else tmp_path / "lab_signs" / "signs.py"
    name = "helper_of_mine" if where == "beside" else "lab_signs.signs"
    (tmp_path / "methods" / "mine.py").write_text(HEAD + f"from {name} import SIGN\n" + MINE.format(inside="pass"))

    def again(sign: float) -> tuple[int, str]:
        helper.write_text(f"SIGN = {sign}\n")
        for loaded in [m for m in sys.modules if m.startswith("lab_signs")]:
            del sys.modules[loaded]
        return trained(capsys, "--method", "methods/mine.py")

    steps, folder = again(-1.0)
    assert steps > 0
    other_steps, other = again(-0.5)
    assert other != folder
    assert other_steps > 0
    assert again(-1.0)[1] == folder


def test_a_helper_that_is_imported_inside_a_function_is_refused(own_place, capsys, tmp_path):
    (tmp_path / "helper_of_mine.py").write_text("SIGN = -1.0\n")
    (tmp_path / "mine.py").write_text(HEAD + MINE.format(inside="from helper_of_mine import SIGN"))
    assert command(["train", *DIGITS, *FAST, "--method", "./mine.py"]) == 2
    assert "import it at the top of the file" in capsys.readouterr().err


def test_describing_code_imports_nothing(tmp_path, monkeypatch):
    from tailwise.registry import load_file

    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (tmp_path / "far" / "away.py").write_text("")
    (tmp_path / "near").mkdir()
    inside = "SIGN = -1.0\n        if False: import far.away"
    (tmp_path / "near" / "mine.py").write_text(HEAD + MINE.format(inside=inside))
    load_file(tmp_path / "near" / "mine.py")
    assert "far" not in sys.modules


def test_modules_of_others_in_the_files_folder_stay_loaded(tmp_path, monkeypatch):
    from tailwise.registry import load_file

    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "somebodys_module.py").write_text("value = 1\n")
    import somebodys_module

    (tmp_path / "mine.py").write_text(HEAD + "SIGN = -1\n" + MINE.format(inside="pass"))
    load_file(tmp_path / "mine.py")
    assert sys.modules["somebodys_module"] is somebodys_module


@dataclasses.dataclass(eq=False)
class Learnt(Criterion):
    """Cross-entropy times a temperature that learns."""

    def prepare(self) -> None:
        self.warmth = torch.nn.Parameter(torch.ones(()))

    def rows(self, logits, targets):
        return torch.nn.functional.cross_entropy(logits * self.warmth, targets, reduction="none"), None


def root_of(**fields) -> Root:
    recipe = toy_recipe()
    return Root(dataclasses.replace(toy_splits(), **fields), recipe, recipe.net, 0, {"test": "yes"})


class WithLearnt(CE):
    def stages(self, about):
        yield Stage(criterion=Learnt())


def test_what_a_criterion_learnt_goes_on_under_deferred_weights(tmp_path):
    method = WithLearnt()
    plain, _ = run_method(root_of(), method, (), RunSettings(Store(tmp_path / "a")))
    deferred, _ = run_method(root_of(), method, (DRW(beta=0.0),), RunSettings(Store(tmp_path / "a")))
    one, other = plain.state.tensors["objective.criterion.warmth"], deferred.state.tensors["objective.criterion.criterion.warmth"]
    assert abs(float(one) - 1) > 1e-3
    torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4)
    assert "opt/main/objective.criterion.criterion.warmth/momentum_buffer" in deferred.state.tensors


def test_what_is_learnt_is_found_again_by_its_owner():
    from tailwise.training.joint import moves

    def names(**held: str) -> dict[str, str]:
        return {f"objective.{place.replace('_', '.')}": owner for place, owner in held.items()}

    assert moves(names(a_t="L t", b_q="P q"), names(a_t="L t", b_t="L t")) == names_to(a_t="a_t")
    assert moves(names(a_t="L t", b_t="L t"), names(a_t="L t")) == names_to(a_t="a_t")
    assert moves(names(a_t="L t", b_t="L t"), names(a_c_t="L t", b_c_t="L t")) == names_to(a_t="a_c_t", b_t="b_c_t")
    assert moves(names(queue="A queue"), names(queue="B queue")) == {}
    assert moves({}, names(queue="B queue")) == {}


def names_to(**moved: str) -> dict[str, str]:
    return {f"objective.{k.replace('_', '.')}": f"objective.{v.replace('_', '.')}" for k, v in moved.items()}


def test_a_stage_that_carries_from_elsewhere_is_a_stage_of_its_own():
    root = root_of()
    stage = next(iter(CE().stages(root.splits.about(5))))
    first = next_leg(root, dataclasses.replace(stage, until=0.4), None)
    plain = next_leg(root, dataclasses.replace(stage, net=None), first)
    carrying = next_leg(root, dataclasses.replace(stage, net=None, start=Start(carry=(("net.", "objective.teacher."),))), first)
    assert plain.line == first.line
    assert carrying.line != first.line


def test_shown_counts_rows_with_their_weights_whoever_draws_them():
    splits = toy_splits()
    weights = np.where(splits.rows["train"].labels == 0, 0.5, 2.0).astype(np.float32)
    weighted = dataclasses.replace(splits, rows={**splits.rows, "train": dataclasses.replace(splits.rows["train"], weights=weights)})
    assert shown_by(splits, Stream()) == (13.0, 6.0, 3.0, 1.0)
    assert shown_by(weighted, Stream()) == (6.5, 12.0, 6.0, 2.0)
    assert shown_by(weighted, Stream(sampler=ClassBalancedSampler())) == (23 / 4 * 0.5, 23 / 4 * 2, 23 / 4 * 2, 23 / 4 * 2)


def test_real_counts_are_in_the_key_and_generated_rows_are_shown():
    data = tw.read("digits", split="50/10/40", tail="exponential:20")
    of_class = (pl.col("label") == 0) & (pl.col("split") == "train")
    generated = data.rows.with_columns(source=pl.when(of_class).then(pl.lit("generated")).otherwise(pl.lit("real")))
    filled = data.replace("made some of them", rows=generated)
    from tailwise.registry import parse_rows
    from tailwise.study.setup import make_setup
    from tailwise.study.words import DataWords, TrainingWords

    words = DataWords(empty_classes="keep"), TrainingWords("demo")
    plain, mixed = (make_setup(d, parse_rows("balanced-softmax"), *words) for d in (data, filled))
    assert plain.splits.counts.real[0] > 0
    assert mixed.splits.counts.real[0] == 0
    legs = [s.plan(s.rows[0], 0).legs[0] for s in (plain, mixed)]
    assert legs[0].shown == legs[1].shown
    assert legs[0].line != legs[1].line


def test_report_refuses_what_is_no_spread_over_seeds(tmp_path):
    data = tw.read("digits", split="50/10/40", tail="exponential:20")
    for name, settings, seed in (("a", "recipe.epochs=1", 0), ("b", "recipe.epochs=2", 1), ("c", "recipe.epochs=1", 1)):
        tw.train(data, "ce", settings=[settings], recipe="demo", seed=seed, out=tmp_path / name)
    assert tw.report(tmp_path / "a", tmp_path / "c").rows[0].seeds == 2
    with pytest.raises(BadData, match="differ in recipe"):
        tw.report(tmp_path / "a", tmp_path / "b")
    with pytest.raises(BadData, match="same seed twice"):
        tw.report(tmp_path / "a", tmp_path / "a")


def test_a_comparison_of_no_seeds_leaves_nothing(tmp_path):
    with pytest.raises(BadValue, match="from 1"):
        tw.compare("digits", "ce", seeds=0, recipe="demo", out=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_study_claims_its_folder_whole(tmp_path, monkeypatch):
    from tailwise.study import compare as room

    def power_cut(*words, **options):
        raise RuntimeError("power cut")

    monkeypatch.setattr(room, "train_job", power_cut)
    with pytest.raises(RuntimeError):
        tw.compare("digits", "ce", seeds=1, recipe="demo", settings=["recipe.epochs=1"], out=tmp_path / "s")
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == ["splits.csv", "study.json", "thumbnails.safetensors"]
    monkeypatch.undo()
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))
    assert tw.compare("digits", "ce", seeds=1, recipe="demo", settings=["recipe.epochs=1"], out=tmp_path / "s").is_finished


# --- a study's folder ---------------------------------------------------------------------------------------------------


def comparison(methods: str = "ce", *more: str) -> list[str]:
    words = ["compare", *DIGITS, "--recipe", "demo", "--set", "recipe.epochs=1", "--set", "recipe.second.epochs=1", "--seeds", "1"]
    return [*words, "--methods", methods, "--out", "study", "--json", *more]


def around_study() -> list[str]:
    return sorted(path.name for path in Path().iterdir() if path.name.startswith("study"))


def rows_of(study: Path) -> list[str]:
    return list(json.loads((study / "study.json").read_text())["rows"])


def power_cut(monkeypatch, words: list[str]) -> None:
    """Run a command whose first run is never left."""
    from tailwise.study import compare as room

    with monkeypatch.context() as patch:
        patch.setattr(room, "train_job", lambda *words, **options: (_ for _ in ()).throw(KeyboardInterrupt))
        assert command(words) == 130


def test_a_replaced_study_stands_aside_until_the_new_one_stands(monkeypatch):
    assert command(comparison("ce")) == 0
    power_cut(monkeypatch, comparison("la", "--force"))
    _, aside = around_study()
    assert rows_of(Path("study")) == ["la"]
    assert tw.report(aside).rows[0].name == "ce"
    assert command(comparison("la")) == 0
    assert around_study() == ["study"]
    assert tw.report("study").rows[0].name == "la"


def test_what_was_to_be_replaced_goes_with_what_replaces_its_replacement(monkeypatch):
    assert command(comparison("ce")) == 0
    power_cut(monkeypatch, comparison("la", "--force"))
    power_cut(monkeypatch, comparison("ldam", "--force"))
    assert [rows_of(Path(name)) for name in around_study()] == [["ldam"], ["ce"], ["la"]]
    assert command(comparison("ldam")) == 0
    assert around_study() == ["study"]


def test_the_same_study_is_never_replaced(capsys):
    assert command(comparison("ce")) == 0
    stood = Path("study/study.json").stat().st_ino
    assert command(comparison("ce", "--force")) == 0
    assert Path("study/study.json").stat().st_ino == stood


def test_only_folders_that_carry_our_card_are_deleted(monkeypatch, capsys):
    assert command(comparison("ce")) == 0
    power_cut(monkeypatch, comparison("la", "--force"))
    _, aside = around_study()
    for name in ("study.old-1", "study.old-my-own", f"{aside}0"):
        Path(name).mkdir()
        Path(name, "holiday.txt").touch()
    Path("elsewhere").mkdir()
    Path(f"{aside}1").symlink_to("elsewhere")
    Path("elsewhere/study.json").write_bytes(Path("study/study.json").read_bytes())
    assert command(comparison("la")) == 0
    assert around_study() == sorted(["study", f"{aside}0", f"{aside}1", "study.old-1", "study.old-my-own"])
    assert Path("elsewhere/study.json").is_file()
    assert capsys.readouterr().err.count("was left as it is") == 2


def test_a_comparison_whose_folder_another_one_replaced_leaves_nothing_there(tmp_path):
    words = {"seeds": 1, "recipe": "demo", "settings": ["recipe.epochs=1"], "out": tmp_path / "study"}
    from tailwise.registry import parse_rows
    from tailwise.study.compare import compare
    from tailwise.study.setup import make_setup
    from tailwise.study.words import TrainingWords

    made = make_setup("digits", parse_rows("ce"), training=TrainingWords("demo", settings=("recipe.epochs=1",)))

    def begun(job):
        tw.compare("digits", "la", force=True, **words)

    with pytest.raises(OutputExists, match="holds another study"):
        compare(made, [0], tmp_path / "study", RunSettings(made.store), begun=begun)
    assert [path.name for path in (tmp_path / "study" / "runs").iterdir()] == ["la-seed0"]
    assert tw.report(tmp_path / "study").rows[0].name == "la"


def test_an_empty_folder_is_claimed_though_others_try_it_at_the_same_moment():
    Path("study").mkdir()
    Path("study/.pending-probe").touch()
    assert command(comparison()) == 0
    assert tw.report("study").rows[0].name == "ce"


DAMAGES = {
    "a list": lambda card: [card],
    "no key": lambda card: {name: value for name, value in card.items() if name != "key"},
    "rows of numbers": lambda card: card | {"rows": {"ce": 3}},
    "no rows": lambda card: card | {"rows": {}},
    "fewer runs than seeds": lambda card: card | {"rows": {"ce": []}},
    "seeds in words": lambda card: card | {"seeds": "one"},
    "runs elsewhere": lambda card: card | {"rows": {"ce": ["../../elsewhere"]}},
    "hashes in a list": lambda card: card | {"files": ["splits.csv"]},
    "a file elsewhere": lambda card: card | {"files": {"/etc/passwd": "0"}},
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """A finished study of one run."""
    place = tmp_path_factory.mktemp("sound")
    words = {"seeds": 1, "recipe": "demo", "settings": ["recipe.epochs=1", "recipe.second.epochs=1"]}
    data = tw.read("digits", split="50/10/40", tail="exponential:20")
    return tw.compare(data, "ce", out=place / "study", store=Store(place / "store"), **words).folder


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_card_of_a_study_is_refused_in_one_line(sound, capsys, damage):
    shutil.copytree(sound, "study")
    card = json.loads(Path("study/study.json").read_text())
    Path("study/study.json").write_text(json.dumps(DAMAGES[damage](card)))
    for words in (["report", "study"], ["predict", "study", "a.jpg"], comparison(), comparison("ce", "--force")):
        assert command(words) == 2, words
        said = capsys.readouterr().err
        assert "study.json" in said
        assert said.count("\n") == 1


@pytest.mark.parametrize("field", ["key", "method", "knobs", "data", "recipe", "network", "extractor", "weights", "legs", "steps"])
def test_a_damaged_record_of_a_run_is_refused_in_one_line(sound, capsys, field):
    shutil.copytree(sound, "study")
    run = Path("study/runs/ce-seed0")
    record = json.loads((run / "run.json").read_text())
    for damaged in ({name: value for name, value in record.items() if name != field}, record | {field: [3]}):
        (run / "run.json").write_text(json.dumps(damaged))
        for words in (["report", "study"], ["report", str(run)], ["predict", str(run), "a.jpg"], comparison()):
            assert command(words) == 2, words
            said = capsys.readouterr().err
            assert "run.json is damaged" in said
            assert said.count("\n") == 1


# --- files that a study's runs share --------------------------------------------------------------------------------------


PHOTOS = ["photos", "--split", "50/20/30", "--set", "recipe.image_size=32", "--set", "recipe.epochs=1", "--set", "recipe.second.epochs=1"]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_a_damaged_extractor_of_a_study_is_found_and_written_again(capsys):
    paint(Path("photos"))
    words = ["compare", *PHOTOS, "--methods", "ce,la", "--seeds", "1", "--out", "study", "--json"]
    asked = ["predict", "study/runs/la-seed0", "photos/ant/000.png", "--json"]
    assert command(words) == 0
    assert command(asked) == 0
    answers = capsys.readouterr().out.splitlines()[-1]
    whole = Path("study/extractor.safetensors").read_bytes()
    stood = {path: path.stat().st_ino for path in Path("study/runs").glob("*/run.json")}
    for damage in (flip, Path.unlink):
        damage(Path("study/extractor.safetensors"))
        assert command(asked) == 2
        said = capsys.readouterr().err
        assert "extractor.safetensors" in said
        assert "`tailwise compare` again" in said
        assert command(words) == 0
        assert "study/extractor.safetensors was missing or damaged, and is written again" in capsys.readouterr().err
        assert Path("study/extractor.safetensors").read_bytes() == whole
    assert {path: path.stat().st_ino for path in Path("study/runs").glob("*/run.json")} == stood
    assert command(asked) == 0
    assert capsys.readouterr().out.splitlines()[-1] == answers
    assert command(words) == 0
    assert "written again" not in capsys.readouterr().err


def test_a_damaged_extractor_of_a_run_is_refused(capsys):
    paint(Path("photos"))
    assert command(["train", *PHOTOS, "--method", "ce", "--out", "run", "--json"]) == 0
    asked = ["predict", "run", "photos/ant/000.png"]
    assert command(asked) == 0
    flip(Path("run/extractor.safetensors"))
    assert command(asked) == 2
    assert "run/extractor.safetensors is not the file that the run wrote" in capsys.readouterr().err


def test_a_lost_table_of_splits_is_written_again(sound, capsys, monkeypatch):
    shutil.copytree(sound, "study")
    whole = Path("study/splits.csv").read_bytes()
    Path("study/splits.csv").unlink()
    assert command(comparison()) == 0
    assert "study/splits.csv was missing or damaged, and is written again" in capsys.readouterr().err
    assert Path("study/splits.csv").read_bytes() == whole


def test_a_replaced_run_that_a_kill_left_aside_is_put_back(capsys):
    words = ["train", *DIGITS, *FAST, "--out", "run"]
    assert command(words) == 0
    Path("run").rename(f"run.replaced-{'0a1b2c3d' * 4}")  # killed between the two renames of --force
    assert command([*words, "--seed", "1"]) == 2
    assert "holds another run" in capsys.readouterr().err
    assert Path("run/run.json").is_file()
    assert command([*words, "--seed", "1", "--force"]) == 0
    assert [path.name for path in Path().iterdir() if path.name.startswith("run")] == ["run"]


# --- what else ------------------------------------------------------------------------------------------------------------


def test_files_are_readable_as_the_user_has_it(tmp_path):
    from tailwise.disk import write_json

    before = os.umask(0o022)
    try:
        write_json(tmp_path / "a.json", {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o644


def test_a_full_disk_under_a_run_is_one_line_and_exit_code_3(tmp_path):
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "import torch, polars\nresource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"from tailwise.cli import run\nsys.exit(run({['train', *DIGITS, *FAST, '--out', 'a']!r}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 3, done.stderr
    assert "disk is full" in done.stderr
    assert not Path("a").exists()


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_damaged_pixels_are_decoded_again(tmp_path, damage):
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        Image.fromarray(np.full((4, 4, 3), 40 * i, dtype=np.uint8)).save(path)
    store = Store(tmp_path / "store")
    first = np.array(pack(paths, ["a", "b", "c"], None, 3, store))
    file = next(store.root.glob("pixels/*/pixels.npy"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 255
    file.write_bytes(bytes(data[:-5] if damage == "truncate" else data))
    assert np.array_equal(pack(paths, ["a", "b", "c"], None, 3, store), first)


def test_a_step_without_any_gradient_rests_under_sam():
    assert SAM()(lambda statistics: {}, {"w": torch.ones(2)}) == {}


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: toy_recipe(image_size=0), "image_size"),
        (lambda: SGD(0.1, momentum=-1), "momentum"),
        (lambda: SGD(0.1, weight_decay=-1), "weight decay"),
        (lambda: SGD(float("inf")), "rate"),
        (lambda: AdamW(0.1, beta1=1.0), "betas"),
        (lambda: Steps(-1), "warm-up"),
        (lambda: Cosine(-1), "warm-up"),
    ],
)
def test_values_that_a_recipe_cannot_have_are_refused_in_one_line(make, expected):
    with pytest.raises(BadValue, match=expected) as refused:
        make()
    assert "\n" not in str(refused.value)


def test_the_stores_limit_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("TAILWISE_STORE_GB", "0.5")
    assert Store(tmp_path).limit == 2**29
    monkeypatch.setenv("TAILWISE_STORE_GB", "lots")
    with pytest.raises(BadValue, match="TAILWISE_STORE_GB"):
        Store(tmp_path)


def test_averages_of_a_class_without_rows_are_not_a_point():
    from tailwise.training.run import class_means

    means = class_means(np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32), np.array([2, 2]), 3)
    assert np.isnan(means[:2]).all()
    assert means[2].tolist() == [2.0, 3.0]


def test_every_row_has_a_key_of_its_own():
    from tailwise.registry import parse_rows
    from tailwise.study.runs import run_key
    from tailwise.study.setup import make_setup
    from tailwise.study.words import DataWords, TrainingWords

    text = "ce,la,la(tau=2),la(tau=val),tau-norm,tau-norm(tau=0.7),crt,ce+ema,ce+ema(decay=0.9)"
    setup = make_setup("digits", parse_rows(text), DataWords(), TrainingWords("demo"))
    keys = {run_key(setup, row, seed) for row in setup.rows for seed in (0, 1)}
    assert len(keys) == 2 * len(setup.rows)


def test_of_equal_epochs_the_first_is_the_best(tmp_path):
    from tailwise.losses import CrossEntropyLoss
    from tailwise.method import Best

    class Choosing(CE):
        def stages(self, about):
            yield Stage(criterion=CrossEntropyLoss(), leaves=Best())

    recipe = toy_recipe(**{"optimiser.rate": 1e-30})
    splits = toy_splits()
    flat = {n: dataclasses.replace(r, packed=r.packed.reshape(len(r), -1).astype(np.float32)) for n, r in splits.rows.items()}
    root = Root(dataclasses.replace(splits, rows=flat), recipe, "features", 0, {"test": "yes"})  # no statistics that move either
    outcome, _ = run_method(root, Choosing(), (), RunSettings(Store(tmp_path)))
    (file,) = (tmp_path / "scores").iterdir()
    scores = Store(tmp_path).read_json("scores", file.stem)
    assert len(set(scores.values())) == 1
    assert outcome.state.step == outcome.leg.steps


@pytest.mark.parametrize("kind", ["arrays", "files"])
def test_a_row_keeps_its_own_pixels_and_label_whatever_the_order_of_the_table(tmp_path, kind):
    from tailwise.data import from_arrays, read
    from tailwise.registry import load
    from tailwise.study.prepare import fill_pixels, prepare

    pictures = (np.arange(12)[:, None, None, None] * 20 + np.zeros((12, 4, 4, 3))).astype(np.uint8)
    labels = np.arange(12) % 3
    if kind == "arrays":
        made = from_arrays(labels, images=pictures, ids=[f"{i:02d}" for i in range(12)])
    else:
        for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            (tmp_path / "photos" / f"c{label}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(tmp_path / "photos" / f"c{label}" / f"{i:02d}.png")
        made = read(tmp_path / "photos")
    shuffled = dataclasses.replace(made, rows=made.rows.sample(fraction=1.0, shuffle=True, seed=5))
    shuffled, recipe = shuffled.with_content(), load("recipe", "demo")
    rows = fill_pixels(prepare(shuffled, recipe), shuffled, recipe, Store(tmp_path / "store")).rows["train"]
    assert list(rows.ids) == sorted(rows.ids)
    shown = rows.gather(np.arange(12))[:, 0, 0, 0].numpy()
    numbers = [int(name[-6:-4]) if kind == "files" else int(name) for name in rows.ids]
    assert shown.tolist() == [20 * number for number in numbers]
    assert rows.labels.tolist() == [number % 3 for number in numbers]
