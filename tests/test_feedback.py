"""The contest's server: right scores, ten answers, remembered across restarts, and a badge for who used them."""

from __future__ import annotations

import numpy as np
import pytest

from dfcbench.contest import FusionContest
from dfcbench.errors import ContractError, HiddenError, SubmissionError, UsageError
from dfcbench.feedback import Feedback
from dfcbench.leaderboard import build
from dfcbench.method import FEEDBACK_LIMIT, Needs, Prediction
from dfcbench.runner import execute
from dfcbench.scoring import Confusion, Scores, confusion_matrix
from dfcbench.submission import find_submissions
from tests.test_runner import Quiet, make_plan


def maps(archive, offset=0):
    for patch in archive.patches("test"):
        yield Prediction(patch.id, (patch.low + offset) % 11)


def test_an_answer_is_what_the_scorer_says(small, tmp_path):
    answer = Feedback(small.labelled("test"), tmp_path / "ledger.json")(maps(small))
    scores = Scores.of(Confusion.collect((p.id, confusion_matrix(p.high, p.low)) for p in small.labelled("test")))
    assert answer.average_accuracy == scores.average_accuracy
    assert answer.producers_accuracy == tuple(c.producers_accuracy for c in scores.classes.values())


def test_ten_answers_are_given_and_the_count_outlives_a_restart(small, tmp_path):
    for asked in range(FEEDBACK_LIMIT):
        server = Feedback(small.labelled("test"), tmp_path / "ledger.json")
        assert server.remaining == FEEDBACK_LIMIT - asked
        server(maps(small, asked))
    server = Feedback(small.labelled("test"), tmp_path / "ledger.json")
    with pytest.raises(UsageError, match="all 10 answers are spent"):
        server(maps(small, 10))
    first = server(maps(small, 0))
    assert first == server(maps(small, 0)), "the same maps get the same answer, at no cost"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m[1:], "have no map"),
        (lambda m: [*m, m[0]], "came twice"),
        (lambda m: [Prediction(m[0].patch_id, m[0].values[:4]), *m[1:]], "the patch"),
    ],
)
def test_incomplete_maps_get_no_answer_and_cost_none(small, tmp_path, change, words):
    server = Feedback(small.labelled("test"), tmp_path / "ledger.json")
    with pytest.raises(ContractError, match=words):
        server(change(list(maps(small))))
    assert server.remaining == FEEDBACK_LIMIT


def test_a_damaged_ledger_is_not_taken_for_an_empty_one(small, tmp_path):
    (tmp_path / "ledger.json").write_text("{")
    with pytest.raises(SubmissionError, match="cannot be read"):
        Feedback(small.labelled("test"), tmp_path / "ledger.json")


def test_feedback_is_refused_to_a_method_that_does_not_declare_it(small, tmp_path):
    server = Feedback(small.labelled("test"), tmp_path / "ledger.json")
    contest = FusionContest(small, 1, "test")
    with pytest.raises(HiddenError, match="feedback=True"):
        _ = contest.view(Needs(), feedback=server).feedback
    assert contest.view(Needs(feedback=True), feedback=server).feedback.remaining == FEEDBACK_LIMIT


TUNED = '''\
import numpy as np
from dfcbench.method import Method, Needs, Prediction


class Tuned(Method):
    """The constant map that the server likes best."""

    name = "tuned"
    needs = Needs(inputs=frozenset(), labels="low", transductive=True, feedback=True)

    def fit(self, contest, run):
        def constant(code):
            return (Prediction(p.id, np.full(p.shape, code)) for p in contest.target)

        answers = {code: contest.feedback(constant(code)).average_accuracy for code in (1, 5, 10)}
        self.code_ = max(answers, key=answers.get)

    def predict(self, patches, run):
        for patch in patches:
            yield Prediction(patch.id, np.full(patch.shape, self.code_))
'''


def test_a_tuned_run_records_its_answers_and_ranks_apart(small, tmp_path):
    plan = make_plan(small, tmp_path, TUNED)
    submission = execute(plan, Quiet())
    assert submission.meta["badges"] == ["transductive", "leaderboard-tuned"]
    assert submission.meta["feedback"] == {"answers": 3, "limit": FEEDBACK_LIMIT}
    execute(plan, Quiet(), rerun=True)
    again = find_submissions(plan.submissions)[0]
    assert again[0].meta["feedback"]["answers"] == 3, "answers once given stay given"
    board = build(again, data=plan.contest.archive.identity.name, track=1, split="test")
    assert [section.kind for section in board.sections] == ["leaderboard-tuned"]
    assert np.isfinite(board.sections[0].entries[0].scores.average_accuracy)
