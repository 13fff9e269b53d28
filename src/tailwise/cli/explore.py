"""`tailwise explore`: what is in a data set, before anything trains."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from tailwise.cli.options import Reading, check_data, typed
from tailwise.study.words import DataWords

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tailwise.data.describe import ClassSize, Description, DomainSize, LevelSize
    from tailwise.data.headers import Headers, Spread
    from tailwise.data.manifest import Manifest
    from tailwise.data.origin import Finding

EIGHTHS = " ▏▎▍▌▋▊▉"
NAME_WIDTH = 24
LONGEST_BAR = 60
LONGEST_VALUE = 60


def explore(data: str, /, *, reading: Reading = None, json: bool = False) -> None:
    """Say what is in a data set, with advice; nothing is trained.

    Without --split and --tail the set is described as it lies there; a set without splits is not split.

    Parameters
    ----------
    data
        A folder of class folders, a file, or a name (digits).
    json
        Print all of it as JSON.
    """
    words = reading or DataWords()
    check_data(data)

    from tailwise.checks.run import look
    from tailwise.cli.tables import print_json
    from tailwise.data.describe import describe

    manifest = _read(data, words)
    found = describe(manifest, words.groups, look(manifest))
    as_typed = _as_typed(data, words)
    if json:
        print_json(_named(found.to_dict(), as_typed))
    else:
        _print(found, as_typed)


def _read(data: str, words: DataWords) -> Manifest:
    """Read, and do only what the words ask for; a tail is cut from the training images that the other commands would have."""
    from tailwise.data import check_trainable, read, split, thin

    manifest = read(data, root=words.root, columns=words.columns, format=words.format)
    if words.split is not None or (words.tail is not None and manifest.splits == ("train",)):
        manifest = split(manifest, words.split, words.split_seed)
    if words.tail is not None:
        manifest = thin(manifest, words.tail, words.split_seed)
    return check_trainable(manifest, "drop") if words.empty_classes == "drop" else manifest


def _as_typed(data: str, words: DataWords) -> str:
    """Give the set as it was named, with the options that it was read with: what a next command needs."""
    keeps = words.empty_classes == "keep"  # left out, for the advice says what to do about empty classes
    return shlex.quote(data) + typed(words, leave_out=("empty_classes",) if keeps else ())


def _named(value: Any, as_typed: str) -> Any:
    """Put the set in its place in the commands of a record."""
    from tailwise.data.advice import name_data

    advice = [{**item, "command": item["command"] and name_data(item["command"], as_typed)} for item in value["advice"]]
    return {**value, "advice": advice, "commands": [name_data(command, as_typed) for command in value["commands"]]}


def _print(found: Description, as_typed: str) -> None:
    from tailwise.cli.tables import say
    from tailwise.data.advice import name_data

    what = "rows of features" if found.kind == "features" else found.kind
    of_task = {"classification": "classes", "multi-label": "classes, several an image", "regression": "bins of a real target"}[found.task]
    say(f"{found.name}: {found.images:,} {what} of {len(found.classes):,} {of_task}")
    for line in found.provenance:
        say(f"  {line}")
    say("")
    _print_facts(_facts(found))
    if found.tables:
        say("")
        _print_tables(found)
    say("")
    _print_groups(found)
    say("")
    _print_curve(found)
    say("")
    if found.findings:
        _print_findings(found.findings)
        say("")
    say("Advice:" if found.advice else "No advice: nothing stands out.")
    for advice in found.advice:
        _print_point(f"{advice.says} {advice.because}", advice.command and name_data(advice.command, as_typed))
    say("")
    say("next:")
    for command in found.commands:
        say(f"  {name_data(command, as_typed)}")


def _print_facts(facts: Iterable[tuple[str, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from tailwise.cli.tables import console

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in facts:
        table.add_row(Text(name), Text(text))
    console.print(table)


def _facts(found: Description) -> Iterable[tuple[str, str]]:
    total = sum(found.splits.values())
    yield "splits", ", ".join(f"{name} {rows:,} ({100 * rows / total:.0f} %)" for name, rows in found.splits.items())
    if found.default_split is not None:
        sizes = ", ".join(f"{name} {rows:,}" for name, rows in found.default_split.items())
        yield "", f"none yet: commands that train would make {sizes}; the numbers below are of all images"
    if found.generated:
        yield "generated", f"{found.generated:,} images, counted in no class below"
    if found.unlabelled:
        yield "unlabelled", f"{found.unlabelled:,} {found.kind}, counted in no class below"
    yield "imbalance", _imbalance(found)
    if found.gini is not None:
        yield "", f"Gini {found.gini:.3f}{_shares(found)}"
    yield "largest", _listed(found.largest)
    yield "smallest", _listed(found.smallest)
    yield from _level_facts(found.levels)
    yield from _domain_facts(found.domains)
    if found.files is not None:
        yield from _file_facts(found.files)
    for name, array in found.arrays.items():
        yield f"array {name}", f"{' x '.join(f'{side:,}' for side in array.shape)}, {array.dtype}"


def _imbalance(found: Description) -> str:
    if found.imbalance_ratio is None:
        return "no training images"
    most, least = found.largest[0].train, found.smallest[0].train
    empty = len(found.empty_classes)
    left_out = f"; {empty:,} empty {'class is' if empty == 1 else 'classes are'} left out" if empty else ""
    return f"ratio {found.imbalance_ratio:,.4g} ({most:,} : {least:,} training images){left_out}"


def _shares(found: Description) -> str:
    """Say how much the largest classes have, where there are enough for a hundredth or a tenth to be some."""
    assert found.shares is not None
    parts = [(100, "1 %"), (10, "10 %")]
    said = [
        f"{100 * share:.1f} % in the largest {part}"
        for share, (least, part) in zip(found.shares, parts, strict=True)
        if len(found.classes) >= least
    ]
    return f"; of the images {' and '.join(said)} of the classes" if said else ""


def _listed(classes: Sequence[ClassSize]) -> str:
    return ", ".join(f"{_cut(one.name)} {one.train:,}" for one in classes)


def _level_facts(levels: Iterable[LevelSize]) -> Iterable[tuple[str, str]]:
    for level in levels:
        ratio = "" if level.imbalance_ratio is None else f", ratio {level.imbalance_ratio:,.4g}"
        unknown = f"; unknown of {level.unknown:,} classes" if level.unknown else ""
        ends = [", ".join(f"{_cut(name)} {n:,}" for name, n in end) for end in (level.largest, level.smallest)]
        yield level.name, f"{level.groups:,}{ratio}{unknown}; largest {ends[0]}" + (f"; smallest {ends[1]}" if level.groups > 1 else "")


def _domain_facts(domains: Iterable[DomainSize]) -> Iterable[tuple[str, str]]:
    for domain in domains:
        empty = f"; none of {len(domain.empty):,}: {', '.join(map(_cut, domain.empty[:5]))}" if domain.empty else ""
        yield f"domain {_cut(domain.name)}", f"{domain.train:,} training images, {domain.largest:,} to {domain.smallest:,} a class{empty}"


def _file_facts(files: Headers) -> Iterable[tuple[str, str]]:
    sample = f" (headers of {files.read:,} of {files.files:,} files, at even steps)" if files.read < files.files else ""
    yield "files", f"{_tally(files.formats)}; {_tally(files.kinds)}{sample}"
    if files.other_sizes:
        width, height = files.common_size
        yield "pixels", f"width {_spread(files.width)}, height {_spread(files.height)} (smallest / median / largest)"
        yield "", f"most common {width:,} x {height:,}; {100 * files.other_sizes:.1f} % are of another size"
    else:
        yield "pixels", f"all {files.width.median:,} x {files.height.median:,} (width x height)"


def _tally(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in numbers.items())


def _spread(spread: Spread) -> str:
    return f"{spread.smallest:,} / {spread.median:,} / {spread.largest:,}"


def _print_tables(found: Description) -> None:
    """Print what the source holds: each table with its number of records and its first one."""
    from tailwise.cli.tables import say

    say(f"Tables of the source ({found.format}), each with its first record:")
    for table in found.tables:
        say(f"  {table.name}: {table.records:,}")
        if table.first is not None:
            say(f"    {_record(table.first)}")


def _record(first: Mapping[str, Any]) -> str:
    """Write a record on one line; a long value, such as an outline, by its beginning."""
    said = []
    for name, value in first.items():
        text = " ".join(str(value).split())
        said.append(f"{name}={text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + '…'}")
    return ", ".join(said)


def _print_findings(findings: Sequence[Finding]) -> None:
    from tailwise.cli.tables import say

    say("Findings:")
    for finding in findings:
        _print_point(f"{finding.severity}: {finding.says}", None)


def _print_groups(found: Description) -> None:
    """Print the groups that tables will show and, where these are others, those by counts."""
    from rich.table import Table
    from rich.text import Text

    from tailwise.cli.tables import console, say

    shown = [found.groups] if found.groups.scheme == found.by_counts.scheme else [found.groups, found.by_counts]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("group")
    for grouping in shown:
        table.add_column(f"{grouping.scheme}: classes", justify="right")
        table.add_column("training images", justify="right")
    for name in found.groups.groups:
        sizes = (grouping.groups[name] for grouping in shown)
        table.add_row(Text(name), *(f"{number:,}" for size in sizes for number in (size.classes, size.images)))
    console.print(table)
    say(f"Tables will show {found.groups.scheme}: {found.groups.rule}.")
    if len(shown) > 1:
        say(f"By counts: {found.by_counts.rule}.")


def _print_curve(found: Description) -> None:
    """Draw training images a class, most first: one bar a class, or one a bin of classes with their mean."""
    from rich.table import Table
    from rich.text import Text

    from tailwise.cli.tables import console, say

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    rows = list(_curve_rows(found))
    taken = max(len(name) for name, _, _ in rows) + max(len(number) for _, number, _ in rows) + 4
    width = max(8, min(LONGEST_BAR, console.width - taken))
    top = max(height for _, _, height in rows)
    for name, number, height in rows:
        table.add_row(Text(name), Text(number), Text(bar(height / top if top else 0.0, width)))
    console.print(table)
    if len(found.curve) < len(found.classes):
        say("Classes by training images, most first; a bar is the mean of its classes.")


def _curve_rows(found: Description) -> Iterable[tuple[str, str, float]]:
    if len(found.curve) == len(found.classes):
        empty = [one for one in found.classes if not one.train]
        for one in (*found.by_size, *empty):
            yield _cut(one.name), f"{one.train:,}", float(one.train)
        return
    for part in found.curve:
        name = f"class {part.first:,}" if part.first == part.last else f"classes {part.first:,} to {part.last:,}"
        number = f"{part.largest:,}" if part.largest == part.smallest else f"{part.largest:,} to {part.smallest:,}"
        yield name, number, part.mean


def bar(share: float, width: int) -> str:
    """Draw a share of 0-1 as blocks in eighths of a column; what is above 0 is always seen.

    >>> bar(0.5, 5), bar(1.0, 3), bar(0.001, 5), bar(0.0, 5)
    ('██▌', '███', '▏', '')
    """
    eighths = max(round(share * width * 8), 1 if share > 0 else 0)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _print_point(text: str, command: str | None) -> None:
    """Print one piece of advice, folded between words, and its command whole, so that it can be copied."""
    from rich.table import Table
    from rich.text import Text

    from tailwise.cli.tables import console, say

    grid = Table.grid(padding=(0, 1))
    grid.add_row(Text("-"), Text(text, overflow="fold"))
    console.print(grid)
    if command:
        say(f"  {command}")


def _cut(name: str) -> str:
    """Shorten a name for its column."""
    line = " ".join(name.split())
    return line if len(line) <= NAME_WIDTH else f"{line[: NAME_WIDTH - 1]}…"
