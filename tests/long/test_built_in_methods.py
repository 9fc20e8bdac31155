"""Every built-in method, and every method that the documentation begins with, keeps the contract. It takes minutes:

    pytest tests/long

Parameters make fits short; one torch thread makes small networks quick.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dfcbench.cli.new_method import Kind, write_method
from dfcbench.testing import contract_tests
from dfcbench.testing.catalogue import CHECKS
from dfcbench.testing.check import Outcome
from dfcbench.testing.examination import examine
from dfcbench.testing.subject import Subject
from tests.test_readme import block

NETWORK = {"batch": 4, "crop": 32, "validate_every": 20, "threads": 1}

test_low_resolution_labels = contract_tests("low-resolution-labels")
test_bag = contract_tests("bag")
test_epitome = contract_tests("epitome", size=24, batches=60, embedding_windows=2000, threads=1)
test_track1_ensemble = contract_tests("track1-ensemble", bag="low-resolution-labels", epitome="bag")
test_neural_smoothing = contract_tests(
    "neural-smoothing", ensemble="low-resolution-labels", most_steps=60, chip=32, batch=4, width=16, threads=1
)
test_neural_smoothing_of_validation = contract_tests(
    "neural-smoothing",
    ensemble="low-resolution-labels",
    fitted_on="validation",
    most_steps=60,
    chip=32,
    batch=4,
    width=16,
    threads=1,
)
test_final_ensemble = contract_tests("final-ensemble", approaches="low-resolution-labels,bag", shares=[0.5, 1.0])
test_antonia = contract_tests("antonia", forests_weighted=2, forests_unweighted=2, water_forests=2, trees=3, draw=5000)
test_antonia_1 = contract_tests("antonia", experiment=1, forests_weighted=2, forests_unweighted=0, trees=3, draw=5000)
test_antonia_track1 = contract_tests(
    "antonia-track1", forests_weighted=2, forests_unweighted=2, trees=3, draw=5000, min_samples=20
)
test_whu_yuxia = contract_tests("whu-yuxia", cnn="low-resolution-labels", trees=5, draw=5000, types=24)
test_whu_yuxia_without_a_part = contract_tests("whu-yuxia", cnn="none", rules="none", trees=5, draw=5000, types=24)
test_kmeans = contract_tests("kmeans", inputs="s1+s2")
test_random_forest = contract_tests("random-forest", indices=True, pixels=10_000, trees=20)
test_random_forest_of_labelled = contract_tests("random-forest", source="labelled", pixels=10_000, trees=20)
PINEAPPLES = {"clusters": 16, "cluster_pixels": 4000, "pixels": 4000, "trees": 10}
test_pineapples_track1 = contract_tests("pineapples-track1", documents=300, words=12, topics=4, **PINEAPPLES)
test_pineapples_track2 = contract_tests("pineapples-track2", **PINEAPPLES)
test_dfchen = contract_tests(
    "dfchen", pixels=4000, trees=10, steps=20, retraining_steps=10, batch=4, crop=32, threads=1
)
test_unet = contract_tests("unet", steps=40, width=8, **NETWORK)
test_deeplabv3 = contract_tests("deeplabv3", inputs="s1+s2", steps=60, learning_rate=3e-3, **NETWORK)


def keeps(reference: str, folder: Path, **parameters: object) -> dict[str, str]:
    """What failed, by check."""
    results = examine(Subject(reference, folder, parameters=parameters), CHECKS)
    return {result.check.name: result.seen for result in results if result.outcome is Outcome.failed}


@pytest.mark.parametrize(
    ("marker", "name", "parameters"),
    [
        ("plug-in", "Threshold", {}),
        ("plug-in sklearn", "Bayes", {}),
        ("plug-in sklearn", "Bayes", {"source": "target"}),
        ("plug-in torch", "Small", {"steps": 30, **NETWORK}),
    ],
)
def test_the_plug_ins_of_the_readme(tmp_path: Path, marker: str, name: str, parameters: dict[str, object]) -> None:
    (tmp_path / "mine.py").write_text(block(marker))
    assert keeps(f"{tmp_path / 'mine.py'}:{name}", tmp_path / "work", **parameters) == {}


@pytest.mark.parametrize("kind", list(Kind))
def test_a_new_method_as_it_is_written(tmp_path: Path, kind: Kind) -> None:
    path, name = write_method("my-own", kind, tmp_path / "my_own.py", ())
    parameters = {"plain": {}, "sklearn": {"pixels": 10_000}, "torch": {"steps": 30, **NETWORK}}[kind]
    assert keeps(f"{path}:{name}", tmp_path / "work", **parameters) == {}
