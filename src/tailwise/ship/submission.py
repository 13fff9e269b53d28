"""Submissions: a competition's sample filled with a run's answers, and read back."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tailwise.data.listing import first_five
from tailwise.disk import check_leavable, leave_file
from tailwise.errors import BadData, BadValue
from tailwise.evaluation import Predictions
from tailwise.study.predict import Answer, find_images, predict
from tailwise.study.runs import Run

KIND = "submission under the sample's header"
"""What alone a submission replaces."""


@dataclass(frozen=True)
class Sample:
    """A sample submission.

    Attributes:
        path: of the file.
        header: names of its two columns.
        ids: of the images, in the order and the spelling of the file.
        values: how many classes each row names.
    """

    path: Path
    header: tuple[str, str]
    ids: tuple[str, ...]
    values: int


@dataclass(frozen=True)
class Submission:
    """What was written.

    Attributes:
        path: of the file.
        images: rows.
        values: classes a row, best first.
        classes: how many different classes come first in a row.
        commonest: the class that most often does, and its share of the rows, 0-1.
        left_out: images that the sample does not ask for.
        stood: whether the same file was there already.
    """

    path: Path
    images: int
    values: int
    classes: int
    commonest: tuple[str, float]
    left_out: int
    stood: bool

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON values under the names of the attributes, and `schema`."""
        name, share = self.commonest
        return {"schema": "tailwise.submission/1", **vars(self), "path": str(self.path), "commonest": {"class": name, "share": share}}


def write_submission(
    run: Run,
    images: Sequence[Path],
    sample: Path,
    out: Path,
    values: int | None = None,
    force: bool = False,
    **asking: Any,
) -> Submission:
    """Answer the images that a sample submission asks for, in its order, under its header and its ids, with the classes' own ids.

    An id is a path below one of the folders, a file's name, the name without its ending, or the number that it ends with
    (`test-000012.jpg` is `12`): the first of these that finds one image for every id. Rows hold as many classes as those of the sample,
    best first, the lowest label among equals. The file is written whole, UTF-8 with LF, and read back.

    Args:
        run: trained on images.
        images: files, and folders that are searched at any depth.
        sample: CSV with a header of two columns, such as `Id,Predicted`, and a row an image.
        out: where the submission goes.
        values: classes a row; None for as many as in the sample.
        force: replace another submission that stands there; no other file is ever replaced.
        asking: of `predict`: `method`, `device`, `progress`, `test_prior`.

    Raises:
        BadData: no such sample or another form, ids twice or without an image, classes that cannot be written in this form.
        BadValue: more classes a row than there are.
        OutputExists: `out` holds something else.
    """
    predictions = run.predictions
    asked = read_sample(sample, predictions.class_ids or predictions.classes)
    if out.exists() and out.samefile(sample):
        raise BadValue(f"--out {out} is the sample; give another name")
    check_leavable(out, lambda there: _is_for(there, asked), KIND)
    count = asked.values if values is None else values
    if count > len(predictions.classes):
        raise BadValue(f"{sample} has {count} classes a row, and the run knows {len(predictions.classes)}; give --top with fewer")
    names = _class_ids(predictions, count)
    found = find_images(images)
    files, left_out = match(asked, found, [place for place in images if place.is_dir()])
    answers = predict(run, files, count, **asking)
    rows = list(_rows(asked, answers, names))
    stood = _write(out, asked, rows, force)
    firsts = Counter(answer.classes[0] for answer in answers)
    name, times = firsts.most_common(1)[0]
    return Submission(out, len(rows), count, len(firsts), (name, times / len(rows)), left_out, stood)


def read_sample(path: Path, classes: Collection[str] = ()) -> Sample:
    """Read a sample submission.

    Args:
        path: of the file.
        classes: what classes are called, where that is known: a row that holds one such name holds one class, however many words it has.

    Raises:
        BadData: no such file, not two named columns, no row, an id twice, or rows with different numbers of classes.
    """
    expected = "expected a CSV with a header of two columns, such as Id,Predicted, and a row an image"
    try:
        table = _table(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadData(f"{path} cannot be read ({error}); {expected}") from None
    if not table or len(table[0]) != 2 or not all(word.strip() for word in table[0]):
        raise BadData(f"{path}: the header is {','.join(table[0]) if table else 'missing'!r}; {expected}, without an index column")
    rows = [row for row in table[1:] if row]
    for place, row in enumerate(rows, start=2):
        if len(row) != 2:
            raise BadData(f"{path}: row {place} has {len(row)} columns; {expected}")
    ids = [row[0] for row in rows]
    twice = next((id_ for id_, times in Counter(ids).items() if times > 1), None)
    if twice is not None:
        raise BadData(f"{path}: id {twice!r} is there twice; every image is asked for once")
    counts = {1 if row[1] in classes else len(row[1].split()) for row in rows}
    if not rows or (len(counts) > 1):
        raise BadData(f"{path}: {'there is no row' if not rows else f'rows have {min(counts)} to {max(counts)} classes'}; {expected}")
    return Sample(path, (table[0][0], table[0][1]), tuple(ids), max(counts.pop(), 1))


def match(asked: Sample, images: Sequence[Path], folders: Sequence[Path]) -> tuple[list[Path], int]:
    """Find the image of each id: the files in the sample's order, and how many images are not asked for.

    Raises:
        BadData: under no rule has every id one image.
    """
    best: tuple[int, str] = (-1, "")
    for rule, of in RULES.items():
        named: dict[str, list[Path]] = {}
        for image in images:
            for name in of(image, folders):
                named.setdefault(name, []).append(image)
        wanted = [_number(id_) if rule == "number" else id_ for id_ in asked.ids]
        found = [named.get(name or "", []) for name in wanted]
        if all(len(places) == 1 for places in found) and len({places[0] for places in found}) == len(found):
            return [places[0] for places in found], len(images) - len(found)
        lacking = [id_ for id_, places in zip(asked.ids, found, strict=True) if len(places) != 1]
        if len(found) - len(lacking) > best[0]:
            best = (len(found) - len(lacking), f"{len(lacking):,} of {len(found):,} ids have no image, or several: {first_five(lacking)}")
    raise BadData(f"{asked.path}: by path, name or number of {len(images):,} images, {best[1]}; give the folder of the test images")


def _paths(image: Path, folders: Sequence[Path]) -> Iterator[str]:
    for folder in folders:
        if image.is_relative_to(folder):
            yield image.relative_to(folder).as_posix()


def _number(text: str) -> str | None:
    found = re.search(r"(\d+)$", text)
    return str(int(found[1])) if found else None


RULES: dict[str, Callable[[Path, Sequence[Path]], Iterator[str]]] = {
    "path": _paths,
    "name": lambda image, folders: iter((image.name,)),
    "stem": lambda image, folders: iter((image.stem,)),
    "number": lambda image, folders: iter(filter(None, (_number(image.stem),))),
}
"""How an image may be called."""


def _class_ids(predictions: Predictions, count: int) -> dict[str, str]:
    """Give what each class is called in a submission, by its name.

    Raises:
        BadData: two classes are called alike, or a name could be taken for several.
    """
    ids = predictions.class_ids or predictions.classes
    bad = [name for name in ids if not name or (count > 1 and len(name.split()) != 1)]
    if bad or len(set(ids)) != len(ids):
        what = f"class {bad[0]!r} has a blank in it" if bad else "two classes have one id"
        raise BadData(f"{what}, and classes of a row are separated by blanks; train on data whose classes have ids")
    return dict(zip(predictions.classes, ids, strict=True))


def _rows(asked: Sample, answers: Sequence[Answer], names: dict[str, str]) -> Iterator[tuple[str, str]]:
    for id_, answer in zip(asked.ids, answers, strict=True):
        yield id_, " ".join(names[name] for name in answer.classes)


def _write(out: Path, asked: Sample, rows: Sequence[tuple[str, str]], force: bool) -> bool:
    """Write the file and read it back; say whether it stood already."""
    is_new = leave_file(out, _csv([asked.header, *rows]), force, lambda there: _is_for(there, asked), KIND)
    if _table(out) != [list(row) for row in (asked.header, *rows)]:
        raise BadData(f"{out} does not read back as it was written; write it to another disk")
    return not is_new


def _csv(rows: Iterable[tuple[str, str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _table(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"))))


def _is_for(there: bytes, asked: Sample) -> bool:
    """Say whether bytes are a submission under the sample's header."""
    return there.startswith(_csv([asked.header]))
