from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailwise.data import read
from tailwise.data.formats import detect
from tailwise.data.place import Place
from tailwise.data.readers import regression
from tailwise.errors import BadData, TailwiseError
from tailwise.groups import by_counts


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str | bytes, name: str = "ages.csv") -> Path:
        (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return tmp_path / name

    return write


def values_of(manifest) -> dict[str, tuple[float, str]]:
    return {id_: (value, manifest.classes[label]) for id_, value, label in manifest.rows.select("id", "value", "label").iter_rows()}


def test_a_year_of_age_is_a_bin_and_empty_years_have_one_too(table):
    found = read(table("age,path,split\n31,x_31_f.jpg,train\n33.5,y.jpg,train\n31.9,z.jpg,test\n42,w.jpg,val\n"))
    assert (found.task, found.name) == ("regression", "ages")
    assert values_of(found) == {"x_31_f.jpg": (31.0, "31"), "y.jpg": (33.5, "33"), "z.jpg": (31.9, "31"), "w.jpg": (42.0, "42")}
    assert found.classes == tuple(str(age) for age in range(31, 43))
    assert found.counts() == (1, 0, 1) + (0,) * 9
    assert "values of 'age' from 31 to 42, labels are bins 1 wide" in found.provenance
    assert found.origin.tables[0].first == {"age": "31", "path": "x_31_f.jpg", "split": "train"}


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([0.0, 0.143, 0.3, 0.29], ("0.0", "0.1", "0.2", "0.3")),
        ([-0.05, 0.05], ("-0.1", "0.0")),
        ([7.5], ("7.5",)),
        ([7.0, 9.0], ("7", "8", "9")),  # whole numbers
        ([-1.5, 8.5], tuple(str(n) for n in range(-2, 9))),  # ten units: bins of one
        ([0.0, 998.0], tuple(str(n) for n in range(999))),
        ([5.0, 1004.0], tuple(str(10 * n) for n in range(101))),
        ([1e12, 1e12 - 20], tuple(str(10**12 - 20 + n) for n in range(21))),
    ],
)
def test_bins_are_narrow_where_values_are_close_and_wide_where_they_are_far_apart(values, names):
    bins = regression.bins_of(pl.Series(values))
    assert bins.names == names
    assert all(
        float(bins.names[n]) <= value < float(bins.names[n]) + bins.width + 1e-9 for n, value in zip(bins.numbers, values, strict=True)
    )


def test_a_value_on_the_edge_of_a_bin_belongs_to_it():
    tenths = [n / 10 for n in range(-40, 50)]
    bins = regression.bins_of(pl.Series(tenths))
    assert [bins.names[n] for n in bins.numbers] == [f"{value:.1f}" for value in tenths]


def test_a_few_far_values_make_no_million_bins(table):
    assert len(read(table("age,path\n0,a.jpg\n1000000000000,b.jpg\n")).classes) <= regression.MOST_BINS


@pytest.mark.parametrize("target", ["", "  ", "nan", "NaN", "inf", "-inf", "1e400", "x", "1,5", "1e13", "-1e13", "0x1f", "٣١"])
def test_targets_that_are_no_numbers_are_refused_by_row(table, target):
    with pytest.raises(BadData, match=r"ages.csv: target .* in row 3 is no number between") as caught:
        read(table(f'age,path\n31,a.jpg\n"{target}",b.jpg\n33,c.jpg\n'))
    assert "\n" not in str(caught.value)


def test_all_unfit_targets_are_counted(table):
    with pytest.raises(BadData, match=r"target '' in row 3 \(and 1 more\)"):
        read(table("age,path\n31,a.jpg\n,b.jpg\n,c.jpg\n4,d.jpg\n5,e.jpg\n"))


def test_bins_that_are_only_tested_are_named(table):
    found = read(table("age,path,split\n31,a.jpg,train\n33,b.jpg,test\n33,c.jpg,test\n31,d.jpg,test\n40,e.jpg,val\n"))
    (note,) = found.origin.findings
    assert (note.kind, note.severity, note.ids) == ("bins-without-training-images", "note", ("b.jpg", "c.jpg"))
    assert note.says == "ages.csv: 1 bins of test images have no training image (zero-shot): 33"


def test_an_age_is_compared_with_the_one_in_the_name(table):
    found = read(table("age,path\n31,1_Ann_31_f.jpg\n59,2_Bo_95_m.jpg\n7,no_age.jpg\n"))
    (warning,) = found.origin.findings
    assert (warning.kind, warning.severity, warning.ids, warning.scores) == ("age-unlike-name", "warning", ("2_Bo_95_m.jpg",), (36.0,))
    assert "2_Bo_95_m.jpg has 59" in warning.says


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("age,path\n31,a.jpg\n", True),
        ("Image Path,Age\na.jpg,31\n", True),
        ("path,target\na.jpg,0.5\nb.jpg,1.5\n", True),
        ("path,target\na.jpg,1.0\nb.jpg,2.0\n", False),  # classes that someone's program wrote as floats
        ("path,target\n" + "".join(f"{n}.jpg,{n}\n" for n in range(100)), False),  # classes 0..99
        ("path,target\na.jpg,1\nb.jpg,2\nc.jpg,1.5\n", False),  # a slip among classes
        ("path,score\n" + "".join(f"{n}.jpg,{n}\n" for n in range(51)), True),
        ("path,score\n" + "".join(f"{n}.jpg,{n % 50}\n" for n in range(99)), False),
        ("path,label\na.jpg,0.5\nb.jpg,1.5\n", False),
        ("path,age,species\na.jpg,31,owl\nb.jpg,4,ant\n", False),
        ("path,age\na.jpg,old\nb.jpg,young\n", False),
        ("age,weight\n31,4.5\n", False),
        ("age\n31\n", False),
        ("", False),
    ],
)
def test_a_table_of_classes_is_not_taken_for_one_of_numbers(table, text, is_one):
    assert regression.recognises(Place(table(text))) == is_one


def test_other_tables_are_read_when_the_user_says_so(table):
    file = table("path,label,age\na.jpg,1,0.5\nb.jpg,2,1.5\n")
    assert values_of(read(file, format="regression", columns="path=path,label=age")) == {"a.jpg": (0.5, "0.5"), "b.jpg": (1.5, "1.5")}
    with pytest.raises(BadData, match="columns 'label' and 'age' could each be the label"):
        read(file, format="regression")
    assert read(table("path,label\na.jpg,1\nb.jpg,3\n"), format="regression").task == "regression"


def test_real_ages_are_recognised_and_read(real_data):
    file = real_data / "metadata/regression/agedb.csv.excerpt"
    assert detect(file).name == "regression"
    found = read(file)
    assert (found.rows.height, found.has_files) == (400, False)
    assert values_of(found)["AgeDB/11706_OliviaHussey_31_f.jpg"] == (31.0, "31")
    assert [finding.kind for finding in found.origin.findings] == ["bins-without-training-images"]  # of the excerpt, not of the whole


def test_real_ages_have_the_counts_that_were_published(real_data, table):
    """The table itself is too large to be here: one is written that has its counts."""
    counts = json.loads((real_data / "metadata/regression/agedb_counts.json").read_text())
    rows = [f"{age},AgeDB/{n}_Name_{age}_f.{split}.jpg,{split}" for split, ages in counts.items() for age in ages for n in range(ages[age])]
    found = read(table("age,path,split\n" + "\n".join(rows), "agedb.csv"))
    assert [found.select(split).height for split in ("train", "val", "test")] == [12_208, 2140, 2140]
    assert found.rows.height == 16_488
    assert found.classes == tuple(str(age) for age in range(1, 102))
    real = found.counts()
    assert (sum(n > 0 for n in real), max(real), min(n for n in real if n)) == (100, 353, 1)
    assert found.classes[real.index(0)] == "2"
    groups = by_counts([n for n in real if n]).members
    assert {name: len(bins) for name, bins in groups.items()} == {"many": 51, "medium": 16, "few": 33}
    for split in ("val", "test"):
        assert (max(found.counts(split)), sum(n > 0 for n in found.counts(split))) == (30, 92)
    assert found.origin.findings == ()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stsb_train_new.tsv.excerpt", "pairs of sentences with a score, as of STS-B: there are no images in it, and text is not read"),
        ("nyu2_train_FDS_subset.csv.excerpt", "pairs of an image and a depth image, as of NYUD2: its labels are images"),
    ],
)
def test_real_tables_of_other_tasks_are_refused_for_what_they_are(real_data, tmp_path, name, message):
    file = real_data / "metadata/regression" / name
    plain = tmp_path / name.removesuffix(".excerpt")
    plain.write_bytes(file.read_bytes())
    for path in (file, plain):
        assert detect(path).name == "regression"
        with pytest.raises(BadData, match=message) as caught:
            read(path)
        assert "\n" not in str(caught.value)


CELLS = st.sampled_from(["a.jpg", "b_31_f.jpg", "31", "0.5", "-3", "nan", "inf", "", '"', "1e300", "1e12", "train", "x", "\0", "../a.jpg"])


@pytest.mark.fuzz
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(st.binary(max_size=60), st.lists(st.lists(CELLS, min_size=1, max_size=3)), st.lists(st.floats(), max_size=4)), st.booleans()
)
def test_any_bytes_give_a_manifest_or_one_line(table, content, headed):
    if isinstance(content, list):
        rows = [",".join(row) if isinstance(row, list) else f"{row!r},{n}.jpg" for n, row in enumerate(content)]
        content = "\n".join(rows).encode()
    file = table((b"age,path\n" if headed else b"") + content)
    said = ""
    try:
        regression.recognises(Place(file))
        found = regression.read_regression(file)
    except TailwiseError as error:
        said = str(error)
    assert "\n" not in said
    assert said or found.rows.height > 0
