"""Specifications: what differs when results may differ, and what does not."""

import dataclasses
import json
import math
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tailwise.counts import SHOWN
from tailwise.errors import NoSpecification
from tailwise.losses import BalancedSoftmaxLoss, ClassWeighted, CrossEntropyLoss, LDAMLoss
from tailwise.method import Net, Stage
from tailwise.objective import Criterion
from tailwise.optim import SGD
from tailwise.registry import load_file
from tailwise.samplers import ClassBalancedSampler
from tailwise.specification import UNDECIDED, awaits_shown, canonical, code_digest, fill_shown, fresh, key_of, room_digest, spec

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@dataclass(frozen=True)
class Thing:
    """A part of this file."""

    size: Any = 1
    other: Any = None
    label: str = field(default="", metadata=UNDECIDED)


# --- values -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (0, False),
        (1, True),
        (0.0, -0.0),
        (1.0, "1.0"),
        (1, "1"),
        (None, "none"),
        ([], {}),
        ([1, [2]], [1, 2]),
        (0.1, 0.1 + 1e-17 + 1e-17),
        ({"a": 1}, {"a": 2}),
        ("a", "A"),
    ],
)
def test_different_values_differ(one, other):
    differ = not (type(one) is type(other) and repr(one) == repr(other))
    assert (canonical(spec(one)) != canonical(spec(other))) is differ
    assert (canonical(spec(Thing(one))) != canonical(spec(Thing(other)))) is differ


@pytest.mark.fuzz
@given(PLAIN)
def test_a_specification_is_json_and_repeats(value):
    said = canonical(spec(value))
    assert json.loads(said) == json.loads(canonical(spec(value)))
    assert key_of(spec(value)) == key_of(spec(value))


@pytest.mark.fuzz
@given(st.floats(allow_nan=False))
def test_floats_keep_every_bit(value):
    assert float.fromhex(spec(value)["float"]) == value
    assert math.copysign(1, float.fromhex(spec(value)["float"])) == math.copysign(1, value)


def test_order_of_a_dictionary_does_not_count_and_that_of_a_list_does():
    assert canonical(spec({"b": 1, "a": 2})) == canonical(spec({"a": 2, "b": 1}))
    assert spec([1, 2]) != spec([2, 1])
    assert spec((1, 2)) == spec([1, 2])


def test_a_key_is_pinned():
    """SHA-256 of the bytes `[{"a":[1,{"float":"0x1.0000000000000p-1"}]}]`, first 32 digits."""
    import hashlib

    expected = hashlib.sha256(b'[{"a":[1,{"float":"0x1.0000000000000p-1"}]}]').hexdigest()[:32]
    assert key_of(spec({"a": (1, 0.5)})) == expected


def test_arrays_are_dtype_shape_and_bytes():
    a = np.arange(6, dtype=np.float64)
    keys = {canonical(spec(v)) for v in (a, a.reshape(2, 3), a.astype(np.float32), a + 1, a.astype(np.int64))}
    assert len(keys) == 5
    assert spec(a) == spec(a.copy())
    assert spec(a)["shape"] == [6]
    assert spec(a)["array"] == "float64"


def test_memory_order_of_an_array_does_not_count():
    a = np.arange(6).reshape(2, 3)
    assert spec(a) == spec(np.asfortranarray(a)) == spec(torch.from_numpy(a)) == spec(torch.from_numpy(a.T.copy()).T)
    assert spec(a) != spec(a.T)


def test_a_tensor_with_a_gradient_is_its_values():
    assert spec(torch.ones(2, requires_grad=True)) == spec(torch.ones(2))


def test_an_array_of_objects_is_refused():
    """Its bytes are addresses, other ones in every process."""
    with pytest.raises(NoSpecification):
        spec(np.array(["a", None], dtype=object))


def test_half_precision_has_a_specification():
    assert spec(torch.ones(2, dtype=torch.bfloat16)) != spec(torch.zeros(2, dtype=torch.bfloat16))


@pytest.mark.parametrize(
    "value",
    [lambda x: x, nn.Linear(2, 2), nn.Linear, Thing, float("nan"), {1, 2}, {1: "a"}, object(), b"bytes", 1j, Path("a"), math],
    ids=["lambda", "module", "class", "dataclass", "nan", "set", "int-keys", "object", "bytes", "complex", "path", "package"],
)
def test_what_has_none_is_refused_in_one_line(value):
    with pytest.raises(NoSpecification) as refused:
        spec(Thing(other=[1, value]))
    assert "\n" not in str(refused.value)
    assert "Thing.other[1]" in str(refused.value)


def test_a_refusal_names_a_nested_field():
    with pytest.raises(NoSpecification, match=r"Stage\.streams\.main.*sampler"):
        spec(
            Stage(
                criterion=CrossEntropyLoss(),
                streams={"main": dataclasses.replace(Stage(CrossEntropyLoss()).streams["main"], sampler=print)},
            )
        )


# --- dataclasses --------------------------------------------------------------------------------------------------------


def test_a_dataclass_is_its_name_its_code_and_its_fields():
    said = spec(Thing(2, 0.5))
    assert said["part"] == f"{__name__}:Thing"
    assert said["fields"] == {"size": 2, "other": {"float": "0x1.0000000000000p-1"}}
    assert said["code"] == code_digest(Thing)


def test_undecided_fields_stay_out():
    assert spec(Thing(label="one")) == spec(Thing(label="two"))
    assert "label" not in spec(Thing())["fields"]


def test_names_and_ends_of_stages_stay_out():
    stage = Stage(criterion=CrossEntropyLoss())
    assert spec(stage) == spec(dataclasses.replace(stage, name="first", until=0.5))
    assert spec(stage) != spec(dataclasses.replace(stage, net=Net(head="cosine")))


def test_parts_with_equal_fields_differ_by_kind():
    @dataclass(frozen=True)
    class Other:
        size: Any = 1
        other: Any = None

    assert spec(Other()) != spec(Thing())


def test_criteria_are_their_fields_and_not_their_buffers():
    one, other = LDAMLoss([3, 1]), LDAMLoss([3, 1])
    other.margins.zero_()
    assert spec(one) == spec(other)
    assert spec(one) != spec(LDAMLoss([3, 1], max_margin=0.4))
    assert spec(LDAMLoss([3, 1])) != spec(LDAMLoss([3.0, 1.0]))
    assert spec(ClassWeighted(LDAMLoss([3, 1]), [3, 1])) != spec(ClassWeighted(CrossEntropyLoss(), [3, 1]))


@dataclass(eq=False)
class Optional(Criterion):
    inner: Criterion | None = None

    def rows(self, logits, targets):
        return (self.inner or CrossEntropyLoss()).rows(logits, targets)


def test_a_part_in_a_field_that_may_be_none_is_in_use_and_in_the_key():
    with_one, without = Optional(LDAMLoss([9, 3, 1])), Optional()
    logits, targets = torch.randn(4, 3), torch.tensor([0, 1, 2, 2])
    assert torch.equal(with_one(logits, targets), LDAMLoss([9, 3, 1])(logits, targets))
    assert torch.equal(without(logits, targets), CrossEntropyLoss()(logits, targets))
    assert spec(with_one) != spec(without)
    made = fresh(with_one)
    assert spec(made) == spec(with_one)
    assert made.inner is not with_one.inner
    assert [name for name, _ in made.named_buffers()] == ["inner.margins"]
    assert made.double().inner.margins is dict(made.named_buffers())["inner.margins"]


def test_fresh_parts_are_equal_and_their_own():
    part = ClassWeighted(LDAMLoss([3, 1]), [3, 1])
    made = fresh(part)
    assert spec(made) == spec(part)
    assert made is not part
    assert made.criterion is not part.criterion
    made.criterion.margins.zero_()
    assert float(part.criterion.margins.max()) > 0
    assert fresh(part, beta=0.5).beta == 0.5


def test_shown_counts_are_filled_at_any_depth():
    made = fill_shown({"a": [ClassWeighted(BalancedSoftmaxLoss(SHOWN), SHOWN)], "b": (SHOWN, 1)}, (3.0, 1.0))
    criterion = made["a"][0]
    assert criterion.counts == criterion.criterion.counts == (3.0, 1.0)
    assert made["b"] == ((3.0, 1.0), 1)
    assert not awaits_shown(criterion)
    assert awaits_shown(BalancedSoftmaxLoss(SHOWN))
    assert spec(BalancedSoftmaxLoss(SHOWN)) != spec(criterion.criterion)


# --- code ---------------------------------------------------------------------------------------------------------------


def test_a_class_of_no_file_is_refused():
    made: dict[str, Any] = {"__name__": "nowhere_at_all"}
    exec("from dataclasses import dataclass\n@dataclass\nclass Lost:\n    a: int = 1\n", made)
    with pytest.raises(NoSpecification, match="in no file") as refused:
        spec(made["Lost"]())
    assert "\n" not in str(refused.value)


def test_parts_of_other_files_have_other_code():
    digests = {code_digest(kind) for kind in (LDAMLoss, CrossEntropyLoss, SGD, ClassBalancedSampler)}
    assert len(digests) == 4


def test_rooms_have_digests_of_their_own():
    assert room_digest("losses") != room_digest("optim")
    assert room_digest("losses.ldam") != room_digest("losses")
    assert room_digest("losses", "optim") == room_digest("optim", "losses")


MINE = '''
"""A method of the user's."""
from dataclasses import dataclass

from tailwise.method import Card, Method, knob, method
{imports}

@method(Card(title="Mine", family="baseline"))
@dataclass(frozen=True)
class Mine(Method):
    """{docstring}"""

    width: float = knob(1.0, help="a width")

    def stages(self, about):
        return []

    def value(self):
        # {comment}
        return {value}
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Give a folder of a user's code, and forget what was imported from it."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # as a user's Python runs
    before = dict(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - set(before):
        del sys.modules[name]
    sys.modules.update(before)


def write(path: Path, imports: str = "", docstring: str = "Ours.", comment: str = "-", value: str = "2.0") -> Path:
    path.write_text(MINE.format(imports=imports, docstring=docstring, comment=comment, value=value))
    return path


def loaded(path: Path) -> tuple[float, str]:
    """Give the method's value and the key of its specification."""
    made = load_file(path)()
    return made.value(), key_of(spec(made))


def test_docstrings_comments_and_layout_leave_the_digest(folder):
    first = loaded(write(folder / "mine.py"))
    assert loaded(write(folder / "mine.py", docstring="Ours, said better.", comment="why", value="(\n        2.0)")) == first


def test_a_flipped_sign_changes_the_digest(folder):
    value, key = loaded(write(folder / "mine.py", value="+2.0"))
    other_value, other_key = loaded(write(folder / "mine.py", value="-2.0"))
    assert (value, other_value) == (2.0, -2.0)
    assert key != other_key


def test_a_flipped_sign_in_a_helper_is_run_and_changes_the_digest(folder):
    """Within a second and at the same length, which bytecode caches cannot tell apart."""
    write(folder / "mine.py", "from helper import f", value="f(2.0)")
    (folder / "helper.py").write_text("def f(x):\n    return +x\n")
    value, key = loaded(folder / "mine.py")
    (folder / "helper.py").write_text("def f(x):\n    return -x\n")
    other_value, other_key = loaded(folder / "mine.py")
    assert key != other_key
    assert (value, other_value) == (2.0, -2.0)


def test_a_helper_edited_later_is_run_and_changes_the_digest(folder):
    write(folder / "mine.py", "from helper import f", value="f(2.0)")
    (folder / "helper.py").write_text("def f(x):\n    return +x\n")
    value, key = loaded(folder / "mine.py")
    (folder / "helper.py").write_text("def f(x):\n    return 10 - x\n")
    os.utime(folder / "helper.py", (2_000_000_000, 2_000_000_000))
    other_value, other_key = loaded(folder / "mine.py")
    assert (value, other_value) == (2.0, 8.0)
    assert key != other_key


def test_a_helper_s_docstring_leaves_the_digest(folder):
    write(folder / "mine.py", "import helper", value="helper.f(2.0)")
    (folder / "helper.py").write_text('def f(x):\n    """Give x."""\n    return x\n')
    first = loaded(folder / "mine.py")
    (folder / "helper.py").write_text('"""Helps."""\ndef f(x):\n    """Give x back."""\n    return x\n')
    assert loaded(folder / "mine.py")[0] == 2.0
    (folder / "helper.py").write_text('def f(x):\n    """Give x back."""\n    return x  # as it is\n')
    assert loaded(folder / "mine.py") == first


def test_a_helper_of_a_helper_counts(folder):
    write(folder / "mine.py", "from helper import f", value="f(2.0)")
    (folder / "helper.py").write_text("from deeper import g\n\ndef f(x):\n    return g(x)\n")
    (folder / "deeper.py").write_text("def g(x):\n    return x\n")
    _, key = loaded(folder / "mine.py")
    (folder / "deeper.py").write_text("def g(x):\n    return 3.0 * x\n")
    os.utime(folder / "deeper.py", (2_000_000_000, 2_000_000_000))
    value, other_key = loaded(folder / "mine.py")
    assert value == 6.0
    assert key != other_key


def test_a_helper_inside_a_package_is_run_afresh(folder):
    """The digest must be that of the code that runs, whatever the helper lies in."""
    write(folder / "mine.py", "from parts.inner import f", value="f(2.0)")
    (folder / "parts").mkdir()
    (folder / "parts" / "__init__.py").write_text("")
    (folder / "parts" / "inner.py").write_text("def f(x):\n    return +x\n")
    value, key = loaded(folder / "mine.py")
    (folder / "parts" / "inner.py").write_text("def f(x):\n    return 10 - x\n")
    os.utime(folder / "parts" / "inner.py", (2_000_000_000, 2_000_000_000))
    other_value, other_key = loaded(folder / "mine.py")
    assert key != other_key
    assert (value, other_value) == (2.0, 8.0)


def test_two_folders_have_helpers_of_their_own(folder):
    """Files of one name in two folders, each beside a helper of one name."""
    for name, text in (("one", "return 1.0"), ("two", "return 2.0")):
        (folder / name).mkdir()
        write(folder / name / "mine.py", "from helper import f", value="f()")
        (folder / name / "helper.py").write_text(f"def f():\n    {text}\n")
    one, two = loaded(folder / "one" / "mine.py"), loaded(folder / "two" / "mine.py")
    assert (one[0], two[0]) == (1.0, 2.0)
    assert one[1] != two[1]
    assert loaded(folder / "one" / "mine.py") == one


def test_a_file_beside_that_is_not_imported_does_not_count(folder):
    first = loaded(write(folder / "mine.py"))
    (folder / "unrelated.py").write_text("x = 1\n")
    assert loaded(folder / "mine.py") == first


def test_knobs_of_a_users_method_are_in_the_key(folder):
    kind = load_file(write(folder / "mine.py"))
    assert spec(kind(width=1)) == spec(kind(width=1.0)) == spec(kind())
    assert spec(kind(width=2)) != spec(kind())


def test_an_edit_under_a_running_method_changes_nothing(folder):
    kind = load_file(write(folder / "mine.py"))
    before = key_of(spec(kind()))
    write(folder / "mine.py", value="-2.0")
    assert key_of(spec(kind())) == before
