"""Pages of boards and submissions: all there, one file each, the same bytes, and nothing of a stranger's is executed."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dfcbench.contest import FusionContest
from dfcbench.leaderboard import Leaderboard, build, build_all
from dfcbench.report.board import board_latex, render_board
from dfcbench.report.board_page import page_name
from dfcbench.report.html import PATTERNS, SHADES, contrast, shade, shade_colours
from dfcbench.report.submission_page import run_page
from dfcbench.scheme import CLASSES, SCORED_NAMES
from dfcbench.submission import METRICS, find_submissions
from tests.made_submissions import DATA, made_submission
from tests.pages import Node, mapped_submission, parsed

OFFICIAL = {"name": "dfc2020", "title": "DFC2020", "official": True}


def board(root: Path, data: str = DATA) -> Leaderboard:
    return build(find_submissions(root)[0], data=data, track=1, split="test")


def every_kind(root: Path, **changes: object) -> None:
    """A submission for each section of a board."""
    for number, quality in enumerate((0.5, 0.62, 0.45)):
        made_submission(root, f"method-{number}", quality=quality, **changes)
    data = changes.get("data", {})
    assert isinstance(data, dict)
    limited = {**changes, "data": {**data, "patches": 24, "limit": 6}}
    made_submission(root, "limited", quality=0.9, **limited)
    made_submission(root, "tuned", quality=0.8, **{**changes, "badges": ["transductive", "leaderboard-tuned"]})
    made_submission(root, "maps", quality=0.7, **{**changes, "badges": ["maps only"]})
    made_submission(root, "blind", quality=None, **changes)


def page(root: Path, name: str = "track1-test.html", data: str = DATA) -> Node:
    return parsed(render_board(board(root, data))[f"{data}/{name}"])


def submission_page(root: Path, method: str, data: str = DATA) -> Node:
    pages = render_board(board(root, data))
    (name,) = (name for name in pages if name.startswith(f"{data}/track1-test/{method}-"))
    return parsed(pages[name])


def table_of(root: Node, title: str) -> Node:
    (found,) = (region for region in root.all("div", "scroll") if region.attributes.get("aria-label") == title)
    return next(found.all("table"))


def values(table: Node) -> list[list[str]]:
    return [[cell.text.strip() for cell in row.children] for row in next(table.all("tbody")).all("tr")]


def test_every_submission_has_a_page_and_every_link_leads_to_a_file(tmp_path: Path) -> None:
    every_kind(tmp_path)
    pages = render_board(board(tmp_path))
    folder = DATA
    runs = [name for name in pages if name.startswith(f"{folder}/track1-test/")]
    assert len(runs) == 7
    linked = set()
    for name, content in pages.items():
        if name.endswith(".html"):
            for anchor in parsed(content).all("a"):
                target = anchor.attributes["href"]
                if not target.startswith("#"):
                    path = os.path.normpath(str(Path(name).parent / target))
                    assert path in pages, f"{name} leads to {target}"
                    linked.add(path)
    assert set(runs) <= linked


def test_sections_stand_in_the_order_of_the_board(tmp_path: Path) -> None:
    every_kind(tmp_path)
    titles = [node.text for node in page(tmp_path).all("h2")]
    assert titles == [
        "Ranked",
        "Tuned on the server's answers",
        "Maps made elsewhere",
        "Partial runs (not ranked)",
        "Without scores (not ranked)",
        "Key",
    ]


def test_demo_pages_say_that_they_are_not_about_the_contest_and_show_nothing_published(tmp_path: Path) -> None:
    every_kind(tmp_path)
    for name, content in render_board(board(tmp_path)).items():
        if name.endswith(".html"):
            (statement,) = parsed(content).all("div", "statement")
            assert "scores on the demo contest, not on DFC2020" in statement.text
            assert "Published" not in content.decode()
            assert "57.49" not in content.decode()


def test_other_data_are_not_called_the_demo(tmp_path: Path) -> None:
    made_submission(tmp_path, data={"name": "mine-0123", "title": "Unidentified contest data (mine)"})
    (statement,) = page(tmp_path, data="mine-0123").all("div", "statement")
    assert "not on DFC2020" in statement.text
    assert "demo" not in statement.text


def test_official_board_shows_published_results_with_source_and_leaves_unknown_cells_empty(tmp_path: Path) -> None:
    made_submission(tmp_path, split="test", track=2, data=OFFICIAL)
    found = build(find_submissions(tmp_path)[0], data="dfc2020", track=2, split="test")
    root = parsed(render_board(found)["dfc2020/track2-test.html"])
    rows = values(table_of(root, "Published: results of others"))
    assert all(row[-1] for row in rows), "a row has no source"
    late = next(row for row in rows if row[0] == "U-Net ResNet-18 late fusion")
    assert late[3:12] == ["52.30", "63.68", "58.38", "35.84", "5.33", "34.67", "82.31", "38.88", "99.31"]
    silent = next(row for row in rows if row[0] == "satMAE++ ViT-L frozen")
    assert silent[3:12] == ["53.15", *[""] * 8]


def test_page_tells_the_scores_of_the_submissions(tmp_path: Path) -> None:
    made = made_submission(tmp_path, "bag", quality=0.7).scores
    made_submission(tmp_path, "other", quality=0.2)
    assert made is not None and made.average_accuracy_interval is not None
    (row, _) = values(table_of(page(tmp_path), "Ranked"))
    low, high = made.average_accuracy_interval
    assert row[0] == "1"
    assert row[1] == "bag"
    assert row[2] == f"{100 * (made.average_accuracy or 0):.2f}"
    assert row[3] == f"{100 * low:.2f} to {100 * high:.2f}"
    assert row[6:14] == [f"{100 * (made.classes[n].producers_accuracy or 0):.2f}" for n in SCORED_NAMES]


def test_heat_map_has_the_number_in_each_cell_and_its_shade(tmp_path: Path) -> None:
    every_kind(tmp_path)
    for table in page(tmp_path).all("table", "sortable"):
        for cell in table.all("td", "heat"):
            if cell.attributes["data-value"]:
                share = float(cell.attributes["data-value"])
                assert cell.text == f"{100 * share:.2f}"
                assert shade(share) in cell.attributes["class"].split()
            else:
                assert cell.text == ""


def test_every_shade_can_be_read_and_darkens_with_its_share() -> None:
    colours = [shade_colours(step) for step in range(SHADES)]
    assert all(contrast(*pair) >= 4.5 for pair in colours)
    on_white = [contrast(background, "#ffffff") for background, _ in colours]
    assert on_white == sorted(on_white)
    assert [shade(share) for share in (0.0, 0.024, 0.026, 0.5, 1.0)] == ["h0", "h0", "h1", "h10", "h20"]


def test_contrast_of_known_pairs() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # WebAIM's well-known almost-pass
    assert contrast("#123456", "#123456") == 1


def test_legend_names_every_class_in_its_colour_and_tells_classes_apart_without_colour(tmp_path: Path) -> None:
    made_submission(tmp_path)
    (legend,) = page(tmp_path).all("ul", "legend")
    entries = list(legend.all("li"))
    for entry, cover in zip(entries, CLASSES, strict=True):
        assert f"{cover.code} {cover.name}" in entry.text
        assert ("(not scored)" in entry.text) == (not cover.scored)
        assert next(entry.all("rect")).attributes["fill"] == cover.colour
    assert len(set(PATTERNS.values())) == len(CLASSES) == len(PATTERNS)


def test_pages_ask_for_nothing_outside_themselves(tmp_path: Path, small) -> None:
    mapped_submission(tmp_path, FusionContest(small, 1, "test"), "bag")
    every_kind(tmp_path)
    for name, content in render_board(board(tmp_path)).items():
        if name.endswith(".html"):
            text = content.decode()
            assert not re.search(r"(?:https?:)?//[a-z]", text), name
            assert "@import" not in text
            root = parsed(content)
            for tag, attribute in (("img", "src"), ("link", "href"), ("script", "src"), ("iframe", "src")):
                for node in root.all(tag):
                    assert node.attributes.get(attribute, "data:").startswith("data:"), (name, tag)
            (policy,) = (m for m in root.all("meta") if m.attributes.get("http-equiv") == "Content-Security-Policy")
            assert policy.attributes["content"].startswith("default-src 'none';")


HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'


def test_nothing_of_a_stranger_becomes_markup(tmp_path: Path) -> None:
    made = made_submission(
        tmp_path,
        "bag",
        run="a",
        method={"name": HOSTILE, "version": HOSTILE, "summary": HOSTILE, "citation": HOSTILE},
        badges=[HOSTILE],
        preset=HOSTILE,
        parameters={HOSTILE: HOSTILE},
        overrides={HOSTILE: HOSTILE},
        parts={HOSTILE: HOSTILE},
        software={HOSTILE: HOSTILE},
        data={"title": HOSTILE},
        device=HOSTILE,
        commit=HOSTILE,
    )
    lines = [json.dumps({"name": HOSTILE, "value": value, "step": value}) for value in (1, 2)]
    lines.append(json.dumps({"name": HOSTILE + "once", "value": 1, "step": None}))
    (made.folder / METRICS).write_text("\n".join(lines) + "\n")
    pages = [c for name, c in render_board(board(tmp_path)).items() if name.endswith(".html")]
    assert len(pages) == 2
    for content in pages:
        root = parsed(content)
        assert len(list(root.all("script"))) == 1
        assert list(root.all("img")) == []
        assert HOSTILE in root.text


@pytest.mark.parametrize("name", ["../../outside", "a/b", "", "..", "x" * 300, "ä ö", "CON:", "a\nb"])
def test_page_names_are_plain_file_names(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}\.html", page_name(name, "0123456789abcdef"))


def test_equal_page_names_are_numbered(tmp_path: Path) -> None:
    for run in ("a", "b"):
        made_submission(tmp_path, "bag", run=run, key="0123456789abcdef")
    made_submission(tmp_path, "BAG", run="c", key="0123456789abcdef")
    names = [name.rsplit("/")[-1].lower() for name in render_board(board(tmp_path)) if "track1-test/" in name]
    assert sorted(names) == ["bag-01234567-2.html", "bag-01234567-3.html", "bag-01234567.html"]


def test_pages_do_not_depend_on_place_or_order(tmp_path: Path, small) -> None:
    here, there = tmp_path / "here", tmp_path / "some" / "where" / "else"
    mapped_submission(here, FusionContest(small, 1, "test"), "mapped")
    every_kind(here)
    shutil.copytree(here, there)
    first = [render_board(b) for b in build_all(find_submissions(here)[0])]
    submissions = find_submissions(there)[0]
    random.Random(3).shuffle(submissions)
    assert [render_board(b) for b in build_all(submissions)] == first


def test_pages_do_not_depend_on_the_process(tmp_path: Path, small) -> None:
    mapped_submission(tmp_path, FusionContest(small, 1, "test"), "mapped")
    code = (
        "import hashlib, sys; from pathlib import Path; from dfcbench.leaderboard import build_all\n"
        "from dfcbench.submission import find_submissions; from dfcbench.report.board import render_board\n"
        "(board,) = build_all(find_submissions(Path(sys.argv[1]))[0])\n"
        "print(hashlib.sha256(repr(render_board(board)).encode()).hexdigest())"
    )
    printed = set()
    for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone}
        command = [sys.executable, "-c", code, str(tmp_path)]
        printed.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(printed) == 1


def test_submission_page_without_scores_maps_and_metrics_says_what_is_missing(tmp_path: Path) -> None:
    made_submission(tmp_path, "blind", quality=None)
    root = submission_page(tmp_path, "blind")
    missing = [node.text for node in root.all("p", "missing")]
    assert len(missing) == 3
    assert "no scores" in missing[0]
    assert "No pictures" in missing[1]
    assert "no metrics" in missing[2]
    assert list(root.all("table", "matrix")) == []


def test_the_page_of_a_run_by_itself_leads_nowhere_and_ranks_nothing(tmp_path: Path) -> None:
    first, _ = (made_submission(tmp_path, name, quality=0.6) for name in ("bag", "other"))
    alone = parsed(run_page(first))
    on_board = submission_page(tmp_path, "bag")
    assert [link.attributes["href"] for link in on_board.all("a") if "track1-test" in link.attributes["href"]]
    assert not [link for link in alone.all("a") if not link.attributes["href"].startswith("#")]
    assert "rank" in on_board.text and "rank" not in alone.text
    assert values(table_of(alone, "Scores of the classes")) == values(table_of(on_board, "Scores of the classes"))


def test_confusion_matrix_on_the_page_is_the_one_of_the_run(tmp_path: Path) -> None:
    made = made_submission(tmp_path, "bag", quality=0.5)
    (matrix,) = submission_page(tmp_path, "bag").all("table", "matrix")
    columns = [node.text for node in next(matrix.all("thead")).all("th")]
    assert columns == [*SCORED_NAMES, "no labelnot scored", "Savannanot scored", "Snow/Icenot scored", "pixels"]
    codes = [1, 2, 4, 5, 6, 7, 9, 10, 0, 3, 8]
    total = made.confusion.total
    for cover, row in zip((c for c in CLASSES if c.scored), next(matrix.all("tbody")).all("tr"), strict=True):
        *cells, pixels = row.all("td")
        assert pixels.text == f"{total[cover.code].sum():,}"
        for code, cell in zip(codes, cells, strict=True):
            count = int(total[cover.code, code])
            assert f" {count:,} pixels" in cell.attributes["title"]
            assert cell.text == (f"{100 * count / total[cover.code].sum():.1f}" if count else "·")
            assert ("right" in cell.attributes.get("class", "").split()) == (code == cover.code)


def test_bars_are_as_long_as_the_accuracies(tmp_path: Path) -> None:
    made = made_submission(tmp_path, "bag", quality=0.5)
    assert made.scores is not None
    bars = list(submission_page(tmp_path, "bag").all("svg", "bar"))
    for bar, name in zip(bars, SCORED_NAMES, strict=True):
        score = made.scores.classes[name]
        ground, filled, *_ = bar.all("rect")
        share = float(filled.attributes["width"]) / float(ground.attributes["width"])
        assert share == pytest.approx(score.producers_accuracy, abs=0.001)
        whisker = next(bar.all("path", "range")).attributes["d"]
        ends = [float(number) / 200 for number in re.match(r"M([\d.]+) \d+H([\d.]+)", whisker).groups()]  # type: ignore[union-attr]
        assert ends == pytest.approx(score.producers_accuracy_interval, abs=0.001)


def test_provenance_is_on_the_page_and_parts_are_linked(tmp_path: Path) -> None:
    part = made_submission(tmp_path, "bag")
    parts = {"first": part.key, "second": "f" * 16}
    whole = made_submission(tmp_path, "whole", parts=parts, commit="0123456789abcdef+", seed=3, preset="quick")
    (whole.folder / "timing.json").write_text(json.dumps({"seconds": {"fit": 2.0, "score": 0.5}, "workers": 2}))
    root = submission_page(tmp_path, "whole")
    text = root.text
    for words in ("0123456789abcdef, with changes", "2.5 s (fit 2.0 s, score 0.5 s) with 2", "numpy 2.4.6", "f" * 16):
        assert words in text
    assert [a.attributes["href"] for a in root.all("a") if a.text.startswith("bag")] == [page_name("bag", part.key)]
    assert "second ffffffffffffffff" in text


def test_parameters_that_were_given_are_marked(tmp_path: Path) -> None:
    made_submission(tmp_path, "forest", parameters={"trees": 7, "depth": 3}, overrides={"trees": 7})
    lines = [row.text for row in submission_page(tmp_path, "forest").all("tr")]
    assert any(line.startswith("trees7 (given") for line in lines)
    assert "depth3" in lines


def test_damaged_timing_is_no_reason_to_fail(tmp_path: Path) -> None:
    made = made_submission(tmp_path, "bag")
    for content in ("", "[]", '{"seconds": {"fit": "long"}}', '{"seconds": 3}'):
        (made.folder / "timing.json").write_text(content)
        assert "duration" not in submission_page(tmp_path, "bag").text


def test_pages_stay_small_with_long_logs_and_many_parameters(tmp_path: Path) -> None:
    made = made_submission(tmp_path, "bag", parameters={f"p{i}": "x" * 5000 for i in range(100)})
    names = [f"metric {i}" for i in range(60)]
    with (made.folder / METRICS).open("w") as lines:
        for step in range(2000):
            lines.writelines(json.dumps({"name": n, "value": step**0.5, "step": step}) + "\n" for n in names)
    (content,) = (c for name, c in render_board(board(tmp_path)).items() if "track1-test/" in name)
    assert len(content) < 500_000
    text = parsed(content).text
    assert "36 more curves" in text


def test_latex_has_one_float_per_section_with_whole_rows(tmp_path: Path) -> None:
    every_kind(tmp_path)
    text = board_latex(board(tmp_path))
    assert text.count(r"\begin{table*}") == text.count(r"\end{table*}") == 5
    assert text.count("not the data of DFC2020") == 1 + 5
    for block in text.split(r"\begin{tabular}")[1:]:
        alignment = re.match(r"{([lr]+)}", block)
        assert alignment is not None
        lines = [line for line in block.splitlines() if line.endswith(r"\\")]
        assert len(lines) >= 2
        for line in lines:
            assert len(re.findall(r"(?<!\\)&", line)) + 1 == len(alignment[1])


def test_latex_takes_names_of_strangers(tmp_path: Path) -> None:
    made_submission(tmp_path, method={"name": r"50%_of {a}\input{x} & $b$ #1 ~^"}, data={"title": "A & B_1"})
    text = board_latex(board(tmp_path))
    expected = r"50\%\_of \{a\}\textbackslash{}input\{x\} \& \$b\$ \#1 \textasciitilde{}\textasciicircum{}"
    assert expected in text
    assert r"A \& B\_1" in text
    assert r"\input" not in text


def test_templates_are_package_data() -> None:
    """Every template is matched by what pyproject.toml puts into the wheel."""
    import tomllib
    from fnmatch import fnmatch

    root = Path(__file__).parents[1]
    told = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["dfcbench.report"]
    files = [p.relative_to(root / "dfcbench" / "report") for p in (root / "dfcbench/report/templates").rglob("*.*")]
    assert files
    for file in files:
        assert any(fnmatch(str(file), pattern) for pattern in told), file
