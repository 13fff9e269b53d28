"""The data card for people: a page of Markdown, made of `card.json` alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailwise.groups import make_groups

PAGE = "README.md"


def page_of(card: Mapping[str, Any]) -> bytes:
    """Say what a folder holds, where it comes from and how it is read. Equal cards give equal bytes; there is no time in it."""
    lines = [f"# {card['name']}", "", f"A set of images, written by tailwise in the layout `{card['layout']}`.", ""]
    lines += [*_counts(card), ""]
    if "source" in card:
        lines += [*_making(card), ""]
    lines += ["How it came about:", "", *(f"1. {line}" for line in card["provenance"]), ""]
    lines += [f"Identity (SHA-256 of ids, contents, labels, splits and class names): `{card['identity']}`.", ""]
    lines.append("Read it with `tailwise explore FOLDER`, or in Python with `tailwise.read(FOLDER)`; `card.json` is the same for machines.")
    return ("\n".join(lines) + "\n").encode()


def _counts(card: Mapping[str, Any]) -> list[str]:
    """Give the images of every split, by group of classes and in all."""
    counts = card["counts"]
    head = ["| | classes |", *(f" {split} |" for split in counts)]
    lines = ["".join(head), "| --- | ---: |" + " ---: |" * len(counts)]
    groups = make_groups(counts.get("train", [0] * len(card["classes"])))
    members = {**groups.members, "all": range(len(card["classes"]))}
    for name, labels in members.items():
        images = "".join(f" {sum(of_class[label] for label in labels):,} |" for of_class in counts.values())
        lines.append(f"| {name} | {len(labels):,} |{images}")
    return [*lines, "", f"Images a split; groups by training images: {groups.rule}."]


def _making(card: Mapping[str, Any]) -> list[str]:
    rule, source = card["rule"], card["source"]
    of = f" ({source['format']})" if source["format"] else ""
    said = {
        "source": f"{source['name']}{of}",
        "split": rule["split"],
        "tail": f"{rule['tail']}, order of classes: {rule['class_order']}" if rule["tail"] else "none",
        "seed": card["seed"],
        "licence": card["licence"],
    }
    return [f"- {word}: {value}" for word, value in said.items()]
