"""The catalogue's names and the grammar of rows."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailwise.errors import BadData, BadValue, Clash, TailwiseError, UnknownName
from tailwise.method import Method, Modifier
from tailwise.recipe import Recipe
from tailwise.registry import (
    Row,
    apply_settings,
    entries,
    find,
    load,
    load_file,
    names,
    parse_method,
    parse_modifier,
    parse_row,
    parse_rows,
    split_outside,
)
from tailwise.specification import spec


def refused(kind: type[TailwiseError], function, *arguments) -> str:
    with pytest.raises(kind) as caught:
        function(*arguments)
    said = str(caught.value)
    assert "\n" not in said
    return said


# --- names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "base"), [("method", Method), ("modifier", Modifier)])
def test_every_name_loads_and_is_written_by_its_own_name(kind, base):
    for name, entry in entries(kind).items():
        made = load(kind, name)()
        assert isinstance(made, base)
        assert str(made) == name
        assert made.card.title == entry.title
        assert made.card.family == entry.family
        assert made.card.aliases == entry.aliases
        assert tuple(made.card.presets) == entry.presets


def test_every_alias_leads_to_its_own_method():
    all_names = [n for entry in entries("method").values() for n in (entry.name, *entry.aliases)]
    assert len(all_names) == len(set(all_names))
    assert names("method") == sorted(all_names)
    for entry in entries("method").values():
        for alias in entry.aliases:
            assert find("method", alias) == entry


def test_every_preset_can_be_typed():
    for entry in entries("method").values():
        for preset in entry.presets:
            made = parse_method(f"{entry.name}({preset})")
            for knob, value in made.card.presets[preset].items():
                found = getattr(made, knob)
                assert found == (parse_method(value) if isinstance(found, Method) else value)


@pytest.mark.parametrize("typed", ["ldam-drw", "ldam_drw", "LDAM-DRW", "  ldam-drw "])
def test_case_dashes_and_spaces_do_not_count(typed):
    assert find("method", typed).name == "ldam-drw"


@pytest.mark.parametrize(
    ("function", "typed", "nearest"),
    [
        (parse_row, "ldan", "ldam"),
        (parse_row, "balanced-sofmax", "balanced-softmax"),
        (parse_row, "ce+smm", "sam"),
        (parse_row, "ldam(max_margn=0.3)", "max_margin"),
        (parse_row, "ldam(imagenet)", "imagenet-lt"),
        (parse_row, "la(base=ldan)", "ldam"),
        (parse_rows, "ce,ldan", "ldam"),
    ],
)
def test_unknown_names_get_the_nearest(function, typed, nearest):
    with pytest.raises(UnknownName) as caught:
        function(typed)
    assert nearest in caught.value.suggestions
    assert f"'{nearest}'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_are_listed_without_torch_or_numpy():
    code = (
        "import sys; from tailwise.registry import entries, names, find;"
        "[entries(k) for k in ('method', 'modifier', 'recipe')]; names('method'); find('method', 'ldam');"
        "print([m for m in ('torch', 'numpy', 'polars') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


# --- splitting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a,b", ["a", "b"]),
        ("a(b,c),d", ["a(b,c)", "d"]),
        ("a(b(c,d),e),f", ["a(b(c,d),e)", "f"]),
        ("", [""]),
        ("a,", ["a", ""]),
        (",", ["", ""]),
    ],
)
def test_splits_outside_brackets(text, parts):
    assert split_outside(text, ",") == parts


@pytest.mark.parametrize("text", ["a(b", "a)b(", "a)", "((a)", "ldam(max_margin=0.3"])
def test_unmatched_brackets_are_refused(text):
    refused(BadValue, parse_row, text)


@pytest.mark.fuzz
@given(st.lists(st.text(alphabet="ab=.", max_size=4), min_size=1, max_size=5))
def test_joining_undoes_splitting(parts):
    nested = [f"{p}({p},{p})" for p in parts]
    assert split_outside(",".join(nested), ",") == nested


@pytest.mark.fuzz
@settings(max_examples=200)
@given(st.text(alphabet="ce(),+=.01ldamrwb ", max_size=14))
def test_any_text_is_read_or_refused_in_one_line(text):
    said = ""
    try:
        assert parse_row(text).text
    except TailwiseError as reason:
        said = str(reason)
    assert "\n" not in said


# --- rows ---------------------------------------------------------------------------------------------------------------


def test_a_row_with_everything():
    row = parse_row("la(tau=0.5, base=ldam-drw(max_margin=0.3,beta=0.999))+ema(decay=0.9)+sam(rho=0.1,adaptive=yes)")
    assert (row.method.tau, row.method.base.max_margin, row.method.base.beta) == (0.5, 0.3, 0.999)
    assert row.method.base.scale == 30.0
    ema, sam = row.modifiers
    assert (ema.decay, ema.warm_up, sam.rho, sam.adaptive) == (0.9, True, 0.1, True)


def test_bases_nest():
    row = parse_row("la(base=crt(base=ldam(scale=10),per_class=2))")
    assert (row.method.base.base.scale, row.method.base.per_class) == (10.0, 2)


def test_a_preset_and_a_knob_the_later_one_counts():
    assert parse_method("ldam(imagenet-lt)").max_margin == 0.3
    assert parse_method("ldam(imagenet-lt,max_margin=0.2)").max_margin == 0.2
    assert parse_method("ldam(max_margin=0.2,imagenet-lt)").max_margin == 0.3
    assert parse_method("ldam()") == parse_method("ldam")


@pytest.mark.parametrize(
    "text",
    [
        "ce",
        "ldam(max_margin=0.3)",
        "la(tau=val,base=ldam-drw(beta=0.999))",
        "ldam-drw+sam(rho=0.1,adaptive=True)",
        "crt(per_class=2,base=ldam(scale=10.0))+ema(decay=0.9)",
        "ce+drw(start=0.5)+sam+ema",
    ],
)
def test_a_row_s_text_is_what_one_types(text):
    row = parse_row(text)
    assert row.text == text
    assert spec(parse_row(row.text).method) == spec(row.method)


def test_defaults_are_not_written():
    assert parse_row("ldam(max_margin=0.5,scale=30)").text == "ldam"


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("ce+sam+sam", ("sam", "gradient")),
        ("ce+sam+ema+sam(rho=0.1)", ("sam(rho=0.1)", "gradient")),
        ("ce+ema(decay=0.9)+ema", ("ema(decay=0.9)", "average")),
        ("ce+drw+drw(start=0.5)", ("drw(start=0.5)", "criterion")),
    ],
)
def test_two_modifiers_of_one_kind_clash(text, pair):
    said = refused(Clash, parse_row, text)
    assert all(name in said for name in pair)


@pytest.mark.parametrize(
    "text", ["ldam(max_margin=-1)", "ldam(max_margin=a)", "la(tau=vel)", "crt(per_class=2.5)", "ce+sam(rho=-1)", "ce+sam(adaptive=2)"]
)
def test_wrong_values_are_refused_in_one_line(text):
    said = refused(BadValue, parse_row, text)
    assert "got" in said


def test_rows_are_separated_by_commas_outside_brackets():
    rows = parse_rows("ce, ldam(max_margin=0.3,scale=10) ,la(base=ldam)")
    assert [row.text for row in rows] == ["ce", "ldam(max_margin=0.3,scale=10.0)", "la(base=ldam)"]


def test_all_and_families_are_many_rows():
    assert [row.text for row in parse_rows("all")] == list(entries("method"))
    decoupled = [e.name for e in entries("method").values() if e.family == "decoupled"]
    assert len(decoupled) > 1
    assert [row.text for row in parse_rows("ce,decoupled")] == ["ce", *decoupled]
    adjusted = [e.name for e in entries("method").values() if e.family == "logit adjustment"]
    assert [row.text for row in parse_rows("logit adjustment")] == adjusted


@pytest.mark.parametrize("text", ["ce,ce", "ldam,ldam(max_margin=0.5)", "ce,all", "la,logit-adjustment"])
def test_a_row_stands_once(text):
    assert "twice" in refused(BadValue, parse_rows, text)


@pytest.mark.parametrize("text", ["", "ce,", "ce+", "+sam", "(a=1)"])
def test_empty_names_are_refused(text):
    refused(UnknownName, parse_rows, text)


# --- settings -----------------------------------------------------------------------------------------------------------

RECIPE: Recipe = load("recipe", "cifar")


def test_a_recipe_s_inner_fields_are_set():
    rows, recipe = apply_settings([parse_row("ce")], ["recipe.optimiser.rate=0.05", "recipe.epochs=10", "recipe.clip=none"], RECIPE)
    assert (recipe.optimiser.rate, recipe.epochs, recipe.clip) == (0.05, 10, None)
    assert recipe.optimiser.momentum == RECIPE.optimiser.momentum == 0.9
    assert RECIPE.optimiser.rate == 0.1
    assert [row.text for row in rows] == ["ce"]


def test_a_knob_alone_belongs_to_the_only_method():
    (row,), _ = apply_settings([parse_row("ldam+sam")], ["max_margin=0.3", "ldam.scale=10", "sam.rho=0.2"], RECIPE)
    assert row.text == "ldam(max_margin=0.3,scale=10.0)+sam(rho=0.2)"


def test_later_settings_count():
    (row,), _ = apply_settings([parse_row("ldam(scale=5)")], ["scale=10", "scale=20"], RECIPE)
    assert row.method.scale == 20.0


def test_a_base_s_knob_is_reached_by_a_path():
    (row,), _ = apply_settings([parse_row("la(base=ldam)")], ["base.max_margin=0.3"], RECIPE)
    assert row.text == "la(base=ldam(max_margin=0.3))"


def test_an_owner_s_name_reaches_its_row_among_many():
    rows, _ = apply_settings(parse_rows("ce,ldam,ldam-drw"), ["ldam.max_margin=0.3"], RECIPE)
    assert [row.text for row in rows] == ["ce", "ldam(max_margin=0.3)", "ldam-drw"]


@pytest.mark.parametrize(
    ("kind", "text", "setting", "named"),
    [
        (BadValue, "ldam", "max_margin", "KNOB=VALUE"),
        (UnknownName, "ldam", "margin=1", "max_margin"),
        (UnknownName, "ldam", "sam.rho=1", "sam"),
        (UnknownName, "ce", "recipe.epoch=1", "'epochs'"),
        (UnknownName, "ce", "recipe.optimiser.rat=1", "'rate'"),
        (BadValue, "ce", "recipe.epochs=many", "recipe.epochs"),
        (BadValue, "ce", "recipe.epochs=0", "recipe.epochs"),
        (BadValue, "ce", "recipe.optimiser.rate=x", "recipe.optimiser.rate"),
        (BadValue, "ldam", "max_margin=-1", "max_margin"),
        (BadValue, "ce,ldam", "max_margin=0.1", "ldam.KNOB"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(kind, text, setting, named):
    assert named in refused(kind, apply_settings, parse_rows(text), [setting], RECIPE)


def test_a_part_of_a_recipe_is_no_word():
    """`recipe.optimiser` is a part; a word in its place would fail later, in the middle of training."""
    refused(BadValue, apply_settings, [parse_row("ce")], ["recipe.optimiser=adamw"], RECIPE)


# --- users' files -------------------------------------------------------------------------------------------------------

MINE = """
from dataclasses import dataclass
from tailwise.method import Card, Method, knob, method

@method(Card(title="Mine", family="baseline", presets={"wide": {"width": 9.0}}))
@dataclass(frozen=True)
class Mine(Method):
    width: float = knob(1.0, low=0.0, help="a width")

    def stages(self, about):
        return []
"""


def test_a_file_is_a_method_by_its_path(tmp_path):
    path = tmp_path / "my_idea.py"
    path.write_text(MINE)
    row = parse_row(f"{path}(width=2)+sam")
    assert row.method.width == 2.0
    assert row.text == "my-idea(width=2.0)+sam"
    assert parse_method(f"{path}(wide)").width == 9.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "defines 0 methods"),
        (MINE + MINE.replace("class Mine", "class Other"), "defines 2 methods"),
        ("def broken(:\n", "no Python module"),
    ],
)
def test_a_file_that_is_no_method_is_refused(tmp_path, text, said):
    path = tmp_path / "mine.py"
    path.write_text(text)
    assert said in refused(BadData, load_file, path)


def test_a_missing_file_is_refused(tmp_path):
    assert "no file" in refused(BadData, parse_method, str(tmp_path / "mine.py"))


def test_a_syntax_error_names_the_file_that_has_it(tmp_path):
    (tmp_path / "mine.py").write_text("import tailwise_broken_helper\n" + MINE)
    (tmp_path / "tailwise_broken_helper.py").write_text("\n\ndef broken(:\n")
    assert "tailwise_broken_helper.py:3" in refused(BadData, load_file, tmp_path / "mine.py")


def test_a_row_may_be_named():
    assert Row(parse_method("ce"), (parse_modifier("sam"),), "mine").text == "mine"


def test_methods_of_other_packages_come_through_entry_points(tmp_path, monkeypatch):
    from tailwise.registry import entries, load

    (tmp_path / "their_package.py").write_text(
        "from dataclasses import dataclass\n"
        "from tailwise.losses.cross_entropy import CrossEntropyLoss\n"
        "from tailwise.method import Card, Method, Stage, knob, method\n"
        "@method(Card(title='Theirs', family='baseline', formula='CE'))\n"
        "@dataclass(frozen=True)\n"
        "class Theirs(Method):\n"
        "    width: int = knob(2, low=1, help='a number')\n"
        "    def stages(self, about):\n"
        "        yield Stage(criterion=CrossEntropyLoss())\n"
    )
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tailwise.methods]\ntheir-method = their_package:Theirs\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    entries.cache_clear()
    load.cache_clear()
    try:
        row = parse_row("their-method(width=3)")
        assert row.text == "their-method(width=3)"
        assert row.method.width == 3
        assert "their-method" in entries("method")
    finally:
        entries.cache_clear()
        load.cache_clear()
