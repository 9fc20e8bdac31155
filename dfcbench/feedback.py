"""A contest server's answers: scores of whole map sets, ten at most, counted across restarts.

In the test phase of the contest a team could submit ten times; the server answered with the average accuracy and the
accuracy of each class (Robinson et al. 2021, Sec. II). A method that uses such answers is tuned on the leaderboard.
A run stands for a team here: each run has ten answers of its own, however often it is broken off or started over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dfcbench.errors import ContractError, SubmissionError, UsageError
from dfcbench.files import write_json
from dfcbench.method import FEEDBACK_LIMIT, Answer, Prediction
from dfcbench.patches import LabelledPatchSet
from dfcbench.scheme import SCORED_NAMES
from dfcbench.scoring import Confusion, Scores, confusion_matrix


class Feedback:
    """Answers for the maps of one split; ``ledger`` is the file that remembers those given.

    Raises SubmissionError if the ledger is there and cannot be read: without it nobody knows what was answered.
    """

    def __init__(self, reference: LabelledPatchSet, ledger: Path) -> None:
        self._reference = reference
        self._ledger = ledger
        self._answers: dict[str, Any] = {}
        if ledger.exists():
            try:
                self._answers = dict(json.loads(ledger.read_text(encoding="utf-8"))["answers"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise SubmissionError(f"{ledger}: cannot be read ({error}); restore it from a copy.") from error

    def __reduce__(self) -> str:
        raise TypeError("the contest's server stays where it is")

    @property
    def remaining(self) -> int:
        """How many answers are left."""
        return FEEDBACK_LIMIT - len(self._answers)

    def __call__(self, predictions: Iterable[Prediction]) -> Answer:
        """Score maps of all patches of the split; each may be made when its turn comes, and none is kept.

        Maps that were answered before get the same answer and cost none. Raises UsageError when all answers are spent,
        ContractError if a patch is missing, unknown, twice there, or of another size.
        """
        by_id = {patch.id: patch for patch in self._reference}
        digest = hashlib.blake2b(digest_size=16)
        matrices = {}
        for prediction in predictions:
            patch = by_id.pop(prediction.patch_id, None)
            if patch is None:
                raise ContractError(f"feedback: {prediction.patch_id!r} is no patch of the split, or came twice.")
            labels = prediction.labels()
            high = patch.high
            if labels.shape != high.shape:
                raise ContractError(f"feedback: the map of {patch.id} is {labels.shape}, the patch {high.shape}.")
            matrices[patch.id] = confusion_matrix(high, labels)
            digest.update(hashlib.blake2b(patch.id.encode() + labels.tobytes(), digest_size=16).digest())
        if by_id:
            raise ContractError(f"feedback: {len(by_id)} patches have no map ({next(iter(by_id))}, …).")
        return self._answer(digest.hexdigest(), matrices)

    def _answer(self, digest: str, matrices: dict[str, Any]) -> Answer:
        if digest not in self._answers:
            if self.remaining <= 0:
                raise UsageError(f"feedback: all {FEEDBACK_LIMIT} answers are spent ({self._ledger}).")
            scores = Scores.of(Confusion.collect(matrices.items()))
            self._answers[digest] = {
                "average_accuracy": scores.average_accuracy,
                "producers_accuracy": {name: scores.classes[name].producers_accuracy for name in SCORED_NAMES},
            }
            write_json(self._ledger, {"limit": FEEDBACK_LIMIT, "answers": self._answers})
        given = self._answers[digest]
        return Answer(given["average_accuracy"], tuple(given["producers_accuracy"][name] for name in SCORED_NAMES))
