"""For tests of pages: HTML as a tree, by the standard library's parser, and a submission with maps and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from dfcbench.contest import FusionContest
from dfcbench.maps import write_labels
from dfcbench.report.patch_pictures import write_pictures
from dfcbench.scheme import SCORED_CODES
from dfcbench.scoring import Confusion, confusion_matrix
from dfcbench.submission import Submission, write_scores, write_submission
from tests.made_submissions import made_meta

VOID = frozenset({"meta", "link", "img", "br", "wbr", "input", "hr"})


@dataclass
class Node:
    """An element: its name, attributes, children and text, that of its children included."""

    name: str
    attributes: dict[str, str]
    children: list[Node] = field(default_factory=list)
    pieces: list[str | Node] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(p if isinstance(p, str) else p.text for p in self.pieces)

    def all(self, name: str, css: str = "") -> Iterator[Node]:
        """Elements of that name and class below this one, in order."""
        for child in self.children:
            if child.name == name and (not css or css in child.attributes.get("class", "").split()):
                yield child
            yield from child.all(name, css)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {key: value or "" for key, value in attrs})
        self.open[-1].children.append(node)
        self.open[-1].pieces.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].name == tag, f"</{tag}> closes <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].pieces.append(data)


def parsed(page: bytes) -> Node:
    """The page's tree; AssertionError if an element is not closed where it should be."""
    reader = _Reader()
    reader.feed(page.decode("utf-8"))
    reader.close()
    assert len(reader.open) == 1, f"<{reader.open[-1].name}> is not closed"
    return reader.root


def mapped_submission(root: Path, contest: FusionContest, name: str, quality: float = 0.6) -> Submission:
    """A finished run on a contest with maps of which about ``quality`` of the pixels are right, and its pictures."""
    folder = root / "track1" / name / "a"
    generator = np.random.default_rng(0)
    pairs = []
    for patch in contest.reference:
        reference = patch.high
        share = quality * generator.random() * 1.3
        right = generator.random(reference.shape) < share
        guess = np.where(right, reference, generator.choice(np.array(SCORED_CODES, np.uint8), reference.shape))
        write_labels(folder, patch.id, guess.astype(np.uint8), None)
        pairs.append((patch.id, confusion_matrix(reference, guess.astype(np.uint8))))
    write_scores(folder, Confusion.collect(pairs))
    submission = write_submission(folder, made_meta(name, data={"patches": len(pairs)}))
    write_pictures(contest, submission)
    return submission
