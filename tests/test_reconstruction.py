"""The mark of methods that re-implement an entry of which little is public: on every card, plan, run, board and table."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dfcbench import paper
from dfcbench.comparison import compare, fold
from dfcbench.contest import FusionContest
from dfcbench.errors import SubmissionError
from dfcbench.plan import Plan, resolve_parameters
from dfcbench.plugin_source import sketch_methods
from dfcbench.registry import Registry
from dfcbench.report.comparison import sides_table
from dfcbench.report.html import BADGES
from dfcbench.report.paper_table import paper_table
from dfcbench.report.tables import to_csv, to_latex, to_markdown
from dfcbench.submission import RECONSTRUCTION_BADGE, Submission, find_submissions
from dfcbench.testing.catalogue import chosen
from dfcbench.testing.examination import examine
from dfcbench.testing.subject import Subject
from dfcbench.tracking_names import tags
from tests.in_process import call
from tests.made_submissions import made_submission
from tests.plugins import MAJORITY

SUMMARY = "Every pixel gets the patch's most frequent low-resolution label."
TOLD = f'"""{SUMMARY}\n\n    Known: it takes the majority. Chosen: of ties the lowest code.\n    """'
REBUILT = MAJORITY.replace(f'"""{SUMMARY}"""', TOLD).replace("    needs =", "    reconstruction = True\n    needs =")
COMPOSED = """

from dfcbench.method import Part


class Copied(Majority):
    \"\"\"The maps of another method's run.\"\"\"

    name = "copied"
    reconstruction = False

    def parts(self):
        return {"first": Part("majority")}
"""


@pytest.fixture
def methods(tmp_path: Path) -> Path:
    folder = tmp_path / "methods"
    folder.mkdir()
    (folder / "rebuilt.py").write_text(REBUILT)
    return folder


def test_a_method_s_card_says_so_and_tells_what_is_known_and_what_was_chosen(methods):
    listed = " ".join(call("methods", "--methods-dir", methods).out.split())
    assert "[reconstruction]" in listed
    shown = call("methods", "show", "majority", "--methods-dir", methods).out
    assert "Known: it takes the majority. Chosen: of ties the lowest code." in shown
    assert "\nReconstruction: " in shown
    assert "Reconstruction" not in call("methods", "show", "bag").out
    assert sketch_methods(methods / "rebuilt.py")["Majority"].reconstruction is True


def test_the_plan_the_run_its_page_and_every_form_of_its_board_say_so(methods, small_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = ("run", "--track", 1, "--method", "majority", "--methods-dir", methods, "--data", small_root)
    planned = call(*run, "--dry-run").err
    assert f"majority 1 [{RECONSTRUCTION_BADGE}]" in planned
    done = call(*run)
    assert done.code == 0, done.err
    (file,) = tmp_path.glob("submissions/*/majority/*/submission.json")
    meta = json.loads(file.read_text())
    assert meta["method"]["reconstruction"] is True
    assert meta["badges"] == [RECONSTRUCTION_BADGE]
    assert tags(meta)["dfcbench.reconstruction"] == "true"
    assert BADGES[RECONSTRUCTION_BADGE] in (file.parent / "artifacts" / "page.html").read_text()
    assert call("leaderboard").code == 0
    for suffix in ("md", "csv", "tex", "html"):
        (board,) = tmp_path.glob(f"leaderboards/*/track1-test.{suffix}")
        assert RECONSTRUCTION_BADGE in board.read_text(), suffix
    (page,) = tmp_path.glob("leaderboards/*/track1-test/majority-*.html")
    assert BADGES[RECONSTRUCTION_BADGE] in page.read_text()
    assert call("leaderboard", "--check").code == 0


@pytest.mark.skipif(os.name != "posix", reason="sealed runs are offered on POSIX only")
def test_a_method_that_is_known_by_hearsay_only_is_marked_alike(methods, small_root, tmp_path):
    place = ("--methods-dir", methods, "--data", small_root, "--submissions", tmp_path / "s")
    planned = call("run", "--track", 1, "--method", "majority", *place, "--sealed", "--dry-run")
    assert planned.code == 0, planned.err
    assert f", {RECONSTRUCTION_BADGE}]" in planned.err


def test_other_methods_submissions_do_not_speak_of_it_and_their_tags_neither(small_root, tmp_path):
    done = call(
        "run", "--track", 1, "--method", "low-resolution-labels", "--data", small_root, "--submissions", tmp_path
    )
    assert done.code == 0, done.err
    (file,) = tmp_path.rglob("submission.json")
    assert "reconstruction" not in file.read_text()
    assert "dfcbench.reconstruction" not in tags(json.loads(file.read_text()))


def test_what_is_built_upon_a_reconstruction_is_none(small, methods, tmp_path):
    (methods / "rebuilt.py").write_text(REBUILT + COMPOSED)
    registry = Registry((methods,))
    loaded = registry.load("copied")
    params, preset = resolve_parameters(loaded.method, {}, None, demo=False)
    place = (0, "cpu", 1, tmp_path / "submissions", registry)
    plan = Plan(FusionContest(small, 1, "test"), loaded, params, preset, *place)
    assert plan.parts["first"].badges == [RECONSTRUCTION_BADGE]
    assert plan.badges == []


def test_submissions_of_former_times_are_of_none_and_an_odd_entry_is_refused(tmp_path):
    plain = made_submission(tmp_path, "a")
    marked = made_submission(tmp_path, "b", method={"reconstruction": True})
    assert [plain.reconstruction, marked.reconstruction] == [False, True]
    found, problems = find_submissions(tmp_path)
    assert len(found) == 2 and not problems
    odd = made_submission(tmp_path, "c").folder / "submission.json"
    meta = json.loads(odd.read_text())
    meta["method"]["reconstruction"] = "yes"
    odd.write_text(json.dumps(meta))
    with pytest.raises(SubmissionError, match=r"method\.reconstruction is 'yes', not of type bool"):
        _ = Submission(odd.parent).meta


@pytest.mark.parametrize("number", ["IV", "V", "VI", "VII"])
def test_the_papers_tables_mark_the_row_and_say_what_the_mark_means(tmp_path, number):
    definition = paper.table(number)
    marked, plain = definition.rows[0], definition.rows[-1 if number != "IV" else 3]

    def rendered(reconstruction: bool) -> list[str]:
        runs = []
        for row, name in ((marked, "a"), (plain, "b")):
            about = {"reconstruction": True} if reconstruction and row is marked else {}
            where = {"track": row.track, "split": row.splits[0], "parameters": dict(row.parameters)}
            root = tmp_path / f"{reconstruction}"
            runs.append(made_submission(root, row.method, name, method=about, **where))
        table = paper_table(definition, runs[0].meta["data"]["name"], runs)
        return [to_markdown(table), to_latex(table), to_csv(table)]

    markdown, latex, values = rendered(True)
    for text in (markdown, latex):
        assert f"{marked.label} †" in text
        assert f"{plain.label} †" not in text
        assert "† Reconstruction: " in text
    assert "†" in values or definition.classes, "names of a class table's columns in CSV stay what they are"
    assert "†" not in "".join(rendered(False))


def test_comparisons_show_the_badge(tmp_path):
    badges = [RECONSTRUCTION_BADGE]
    runs = [made_submission(tmp_path, "a", badges=badges), made_submission(tmp_path, "b")]
    cells = [row[5] for row in sides_table(compare(fold(runs))).rows]
    assert cells == [RECONSTRUCTION_BADGE, ""]


def test_the_contract_wants_to_be_told_what_is_known_and_what_was_chosen(tmp_path):
    outcomes = []
    for number, source in enumerate((REBUILT, REBUILT.replace(TOLD, f'"""{SUMMARY}"""'))):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "rebuilt.py").write_text(source)
        subject = Subject(f"{folder / 'rebuilt.py'}:Majority", folder / "work", contests=tmp_path / "contests")
        (result,) = examine(subject, chosen(["identity"]))
        outcomes.append((result.outcome.name, "what is known and what was chosen" in (result.seen or "")))
    assert outcomes == [("passed", False), ("failed", True)]
