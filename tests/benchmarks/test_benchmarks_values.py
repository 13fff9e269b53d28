"""The check against the authors' own values, as a process: what it counts, what it finds, what it refuses."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "values.py"
SHARED = ROOT / "../shared/reference"
pytestmark = pytest.mark.reference


def run(*words: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, SCRIPT, *map(str, words)], capture_output=True, text=True, cwd=ROOT, env=environment)


def write(path: Path, records: list[dict], about: str = "") -> Path:
    path.write_text(json.dumps({"about": about, "records": records}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def values() -> ModuleType:
    """The script as a module; its folder is on the path only while it looks for its neighbour."""
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        spec = importlib.util.spec_from_file_location("values_under_test", SCRIPT)
        assert spec is not None
        assert spec.loader is not None
        made = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = made
        spec.loader.exec_module(made)
        importlib.import_module("values_adapters")
    finally:
        sys.path.remove(str(SCRIPT.parent))
    return made


@pytest.fixture
def judge(values: ModuleType, records: Callable[[str], list[dict]]) -> Callable[..., Any]:
    """Judge a copy of a record after a change."""

    def judged(name: str, change: Callable[[dict], None] = lambda record: None, about: str = "") -> Any:
        found = next(r for r in records(name.split("/")[0]) if r["id"] == name)
        record = copy.deepcopy(found)
        change(record)
        return values.check(record, about)

    return judged


# --- as a process -----------------------------------------------------------------------------------------------------


def test_all_shared_records_agree_or_are_listed():
    done = run(*sorted(SHARED.glob("values*.json")), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    files = {Path(file["file"]).name: file for file in json.loads(done.stdout)}
    assert len(files) == 3
    words = {
        word: {r["method"] for f in files.values() for r in f["records"] if r["word"] == word} for word in ("agrees", "listed", "unknown")
    }
    assert words["agrees"] >= {
        *("cross_entropy", "balanced_softmax", "logit_adjustment", "focal_softmax", "focal_softmax_detached", "class_balanced_weights"),
        *("class_balanced_ce", "weighted_softmax", "cost_sensitive_ce", "generalized_reweight", "drw_weights", "ldam", "ldam_drw"),
        *("square_root_sampling", "reverse_sampling", "progressive_sampling", "tau_norm", "ncm", "uno_ic_rebalance", "cosine_head", "sam"),
        *("bayias", "vs", "robal", "lws", "mixup", "balms_balanced_softmax", "rsg"),
        *("meta_weight_net", "balms_meta_sampler_rates", "balms_bilevel", "balms_class_first"),
    }
    assert words["listed"] == {"focal_softmax_weighted", "focal_robal_softmax", "ncm", "class_aware_sampler"}
    assert "seesaw" in words["unknown"]
    assert files["values.json"]["counts"]["agrees"] >= 59
    for file in files.values():
        assert len(file["records"]) == len(json.loads((SHARED / Path(file["file"]).name).read_text(encoding="utf-8"))["records"])


def test_rsg_with_memory_chunks_gives_what_its_published_code_does(values):
    """Where the code raises (rsg/6), under the cap of the segments; where no vectors are moved, both readings are one."""
    about, found = values.read_file(SHARED / "values-loop-a.json")
    records = [record for record in found if record["method"] == "rsg"]
    assert len(records) == 7
    floor = values.stated("atol", about) / values.stated("rtol", about)
    computed = sys.modules["values_adapters"].ENTRIES["rsg"]
    for record in records:
        ours = dict(values._flat(computed(record["params"], record["inputs"], memory_chunks=True)))
        assert values.compare(ours, values.expected(record, "published"), floor)[0] < 1e-9
        has_two = "published" in record["outputs"]
        assert (values.compare(ours, values.expected(record, "intended"), floor)[0] < 1e-9) is not has_two


def off_by_a_little(record: dict) -> dict:
    """One gradient entry is wrong by 2e-9 of itself."""
    made = copy.deepcopy(record)
    made["grad_logits"][0][0] *= 1 + 2e-9
    return made


def with_true_cosines(record: dict) -> dict:
    """What is listed as different from ours, replaced by what ours is."""
    made = copy.deepcopy(record)
    features, means = np.array(made["inputs"]["features"]), np.array(made["inputs"]["centroids"])
    made["outputs"]["logits"] = (features @ means.T / np.linalg.norm(features, axis=1)[:, None] / np.linalg.norm(means, axis=1)).tolist()
    return made


def test_a_changed_number_and_a_listed_record_that_agrees_are_found(tmp_path, records):
    ldam, ncm, whole = records("ldam")[0], records("ncm")[1], records("balanced_softmax")[0]
    found = [off_by_a_little(ldam), with_true_cosines(ncm), whole, {**whole, "id": "nobody/0", "method": "nobody"}]
    done = run(write(tmp_path / "changed.json", found, "rtol 1e-9"))
    assert done.returncode == 1
    said = done.stdout
    assert "1 of 4 records agree" in said
    assert "1 DIFFER and are not listed, 1 are listed and agree" in said
    assert said.index("listed as different, and agree:\n  ncm/1: logits by ") < said.index("DIFFER:\n  ldam/0: grads.logits by ")
    assert "methods that we do not have: nobody (1)" in said
    assert not done.stderr


def test_either_alone_is_an_error_and_a_listed_difference_is_none(values, tmp_path, capsys, records):
    ldam, ncm, whole = records("ldam")[0], records("ncm")[1], records("balanced_softmax")[0]
    for changed, code in ((off_by_a_little(ldam), 1), (with_true_cosines(ncm), 1), (ldam, 0), (ncm, 0)):
        assert values.main([str(write(tmp_path / "one.json", [whole, changed]))]) == code
        assert changed["id"] in capsys.readouterr().out or changed is ldam


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"\x89PNG\r\n\xff\xfe", "no JSON file"),
        (b'{"records": [', "no JSON file"),
        (b"[1, 2]", "no records"),
        (b'{"about": "", "records": []}', "no records"),
        (b'{"records": [{"id": "a/0"}]}', "record 0 has no `id` and `method`"),
        (b'{"records": [{"id": "a/0", "method": "a", "params": {}}]}', "a/0 has no inputs"),
        (b'{"records": [%s, %s]}' % ((b'{"id": "a/0", "method": "a", "params": {}, "inputs": {}}',) * 2), "a/0 stands more than once"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_line(values, tmp_path, capsys, content, message):
    path = tmp_path / "garbage.json"
    if content is not None:
        path.write_bytes(content)
    assert values.main([str(path)]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith(f"values: {path}")
    assert said.err.count("\n") == 1
    assert not said.out


def test_garbage_is_refused_by_the_process_too(tmp_path):
    (tmp_path / "garbage.json").write_text("what is this", encoding="utf-8")
    done = run(tmp_path / "garbage.json")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


# --- how a record is judged -------------------------------------------------------------------------------------------


def test_a_note_states_the_tolerance_of_its_record_alone(judge):
    def off(record: dict) -> None:
        record["loss"] *= 1 + 1e-8

    assert judge("cross_entropy/0", off, "compare with rtol 1e-9.").word == "differs"
    assert judge("cross_entropy/0", off, "compare with rtol 1e-7.").word == "agrees"
    assert judge("cross_entropy/0", lambda r: (off(r), r.update(note="pi is rounded: rtol 1e-7")), "rtol 1e-9").word == "agrees"
    assert judge("cross_entropy/0", off).word == "differs"  # where nothing is stated, 1e-9


def test_an_absolute_tolerance_is_a_floor(judge):
    def off(record: dict) -> None:
        record["grad_logits"][0][0] += 1e-8

    assert judge("cross_entropy/0", off, "rtol 1e-9 and atol 1e-11").word == "differs"
    assert judge("cross_entropy/0", off, "rtol 1e-9 and atol 2e-8").word == "agrees"


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_no_number_never_agrees(judge, wrong):
    assert judge("cross_entropy/0", lambda record: record.update(loss=wrong)).word == "differs"


def test_an_output_that_is_not_computed_or_has_another_shape_differs(judge):
    more = judge("ldam/0", lambda record: record.update(outputs={"margins": [0.5]}))
    assert (more.word, more.where, more.difference) == ("differs", "margins is not computed", None)
    short = judge("ldam/0", lambda record: record["grad_logits"].pop())
    assert (short.word, short.where) == ("differs", "grads.logits has shape (12, 7), theirs (11, 7)")
    nothing = judge("ldam/0", lambda record: [record.pop(key) for key in ("loss", "grad_logits")])
    assert nothing.word == "differs"


def test_inputs_that_a_part_cannot_take_differ_and_do_not_stop_the_rest(judge):
    broken = judge("ldam/0", lambda record: record["inputs"].pop("counts"))
    assert (broken.word, broken.where) == ("differs", "KeyError: 'counts'")


def test_settings_of_no_part_are_lacking_and_unknown_methods_unknown(judge):
    assert judge("vs/0").word == "lacking"
    assert judge("vs/2").word == "agrees"
    assert judge("seesaw/0").word == "unknown"


LOOP_FORMS = {
    "grads": lambda loss, grads: {"loss": loss, "grads": {"logits": grads}},
    "loss among outputs": lambda loss, grads: {"outputs": {"loss": loss}, "grads": {"logits": grads}},
    "readings of all": lambda loss, grads: {
        "published": {"loss": 0.0, "grads": {"logits": grads}},
        "intended": {"loss": loss, "grads": {"logits": grads}},
    },
    "readings of outputs": lambda loss, grads: {
        "outputs": {"published": {"loss": 0.0}, "intended": {"loss": loss}},
        "grads": {"published": {"logits": 0.0}, "intended": {"logits": grads}},
    },
}


@pytest.mark.parametrize("form", LOOP_FORMS)
def test_every_form_of_a_record_is_read(judge, form):
    """The same loss and gradient in the forms of the three files; and each is compared, not only read."""

    def rewrite(record: dict, off: float = 0.0) -> None:
        record.update(LOOP_FORMS[form](record.pop("loss"), record.pop("grad_logits")))
        held = record.get("intended", record)
        (held["outputs"].get("intended", held["outputs"]) if "outputs" in held else held)["loss"] += off

    assert judge("logit_adjustment/1", rewrite).word == "agrees"
    wrong = judge("logit_adjustment/1", lambda record: rewrite(record, 1e-7))
    assert (wrong.word, wrong.where) == ("differs", "loss")


def test_what_is_only_as_published_is_said(judge):
    def rewrite(record: dict) -> None:
        published = {"loss": record.pop("loss"), "grads": {"logits": record.pop("grad_logits")}}
        record.update(published=published, intended={**published, "loss": 0.5})

    found = judge("logit_adjustment/1", rewrite)
    assert (found.word, found.where) == ("differs", "loss, as published and not as intended")


def test_outputs_are_compared_however_deep_they_lie(values):
    theirs = values.expected({"outputs": {"steps": [{"loss": 1.0, "scales": [1, 2]}, {"loss": 2.0, "scales": [3, 4]}]}})
    assert list(theirs) == ["steps.0.loss", "steps.0.scales", "steps.1.loss", "steps.1.scales"]
    ours = {**theirs, "steps.1.scales": np.array([3.0, 4.5])}
    largest, where = values.compare(ours, theirs, 0.0)
    assert (largest, where) == (pytest.approx(0.125), "steps.1.scales")


def test_differences_by_hand(values):
    """An entry of 1e-6 beside one of 100 is measured against a thousandth of 100; equal infinities do not differ."""
    assert values.difference(np.array([100.0, 2e-6]), np.array([100.0, 1e-6])) == pytest.approx(1e-5)
    assert values.difference(np.array([101.0]), np.array([100.0])) == pytest.approx(0.01)
    assert values.difference(np.array([1.0, -np.inf]), np.array([1.0, -np.inf])) == 0
    assert values.difference(np.array([1.0, np.inf]), np.array([1.0, -np.inf])) == np.inf
    assert values.difference(np.zeros((0, 3)), np.zeros((0, 3))) == 0


# --- what is listed, to the number ------------------------------------------------------------------------------------


def computed(record: dict) -> dict[str, Any]:
    import values_adapters

    return values_adapters.ENTRIES[record["method"]](record["params"], record["inputs"])


def test_the_listed_factor_is_a_half(values, records):
    (record,) = records("focal_robal_softmax")
    ours = computed(record)
    assert 0.5 * float(ours["loss"]) == pytest.approx(record["loss"], rel=1e-9)
    np.testing.assert_allclose(0.5 * ours["grads"]["logits"], record["grad_logits"], rtol=1e-9, atol=1e-12)


def test_the_listed_sampler_shows_their_rows_as_far_as_it_goes(values):
    content = json.loads((SHARED / "values-loop-a.json").read_text(encoding="utf-8"))
    (record,) = [r for r in content["records"] if r["method"] == "class_aware_sampler"]
    ours = computed(record)["indices"].tolist()
    assert len(ours) == 13
    assert ours == record["outputs"]["indices"][:13]
