"""A plug-in that keeps the contract, and one broken copy of it for every check."""

from __future__ import annotations

GOOD = '''\
import os, random, sys, threading, time
from pathlib import Path
import numpy as np
from dfcbench.method import Field, Method, Needs, Params, Prediction
from dfcbench.scheme import SCORED_CODES
from dfcbench.sensors import scale_s1, scale_s2


class MeansParams(Params):
    sharpness: float = Field(50.0, gt=0, description="of the probabilities")


class Means(Method):
    """Each pixel takes the class whose mean colour is nearest."""

    name = "means"
    needs = Needs(inputs={"s1", "s2"}, labels="low", training=True)
    Params = MeansParams
    presets = {"published": {}, "quick": {"sharpness": 40.0}}

    def fit(self, contest, run):
        sums, counts = np.zeros((8, 15)), np.zeros(8)
        for patch in contest.training:
            x, low = self.colours(patch), patch.low
            for k, code in enumerate(SCORED_CODES):
                sums[k] += x[:, low == code].sum(axis=1)
                counts[k] += (low == code).sum()
        self.means_ = sums / np.maximum(counts, 1)[:, None]

    def predict(self, patches, run):
        for patch in patches:
            yield Prediction(patch.id, self.one(patch))

    def one(self, patch):
        distance = ((self.colours(patch)[None] - self.means_[:, :, None, None]) ** 2).sum(axis=1)
        p = np.exp(-self.params.sharpness * (distance - distance.min(axis=0)))
        return (p / p.sum(axis=0)).astype(np.float32)

    def colours(self, patch):
        return np.concatenate([scale_s1(patch.s1), scale_s2(patch.s2)])
'''

_TURNED = "np.roll(self.one(patch), {}, axis=0)"
"""What ``one`` gives, some of it for other classes: another map, and one that means as much."""


def _after_fit(line: str) -> tuple[str, str]:
    kept = "        self.means_ = sums / np.maximum(counts, 1)[:, None]\n"
    return kept, f"{kept}        {line}\n"


def _before_fit(line: str) -> tuple[str, str]:
    return "        sums, counts =", f"        {line}\n        sums, counts ="


def _answer(values: str) -> tuple[str, str]:
    return "yield Prediction(patch.id, self.one(patch))", f"yield Prediction(patch.id, {values})"


_PREDICT = (
    "        for patch in patches:\n            yield",
    "        for k, patch in enumerate(patches):\n            yield",
)
_CODES = _answer("np.array(SCORED_CODES)[self.one(patch).argmax(axis=0)]")

BROKEN: dict[str, list[tuple[str, str]]] = {
    "identity": [('    """Each pixel takes the class whose mean colour is nearest."""\n', "")],
    "needs": [
        (
            "    def fit(",
            "    def requires(self):\n        return self.needs if self.params.sharpness < 50 else None\n\n    def fit(",
        )
    ],
    "parameters": [(', description="of the probabilities"', "")],
    "defaults": [("Field(50.0, gt=0", "Field(-1.0, gt=0"), ('"published": {}', '"published": {"sharpness": 50.0}')],
    "unknown-parameters": [
        ("    sharpness:", '    model_config = {"extra": "ignore"}\n    sharpness:'),
    ],
    "presets": [('"published": {}', '"published": {}, "slow": {"sharpnes": 1.0}')],
    "json": [
        (
            "    sharpness:",
            '    pairs: dict[tuple[int, int], int] = Field({(1, 2): 3}, description="of two numbers")\n    sharpness:',
        )
    ],
    "immutable-parameters": [("    sharpness:", '    model_config = {"frozen": False}\n    sharpness:')],
    "constructor": [
        (
            "    def fit(",
            """    def __init__(self, params=None):
        super().__init__(params)
        self.cache = {}

    def fit(""",
        )
    ],
    "runs": [_after_fit('raise RuntimeError("no more")')],
    "every-patch-once": [("in patches:", "in patches[1:]:")],
    "size": [_answer("self.one(patch)[:, 1:]")],
    "type": [_answer("np.array(SCORED_CODES, float)[self.one(patch).argmax(axis=0)]")],
    "codes": [_answer("np.array(SCORED_CODES)[self.one(patch).argmax(axis=0)] + 1")],
    "probabilities": [_answer("2 * self.one(patch)")],
    "above-chance": [_answer("np.roll(self.one(patch), 4, axis=0)")],
    "unfitted": [
        ("self.means_", "self.means"),
        (
            "    def one(",
            '    def save(self, folder):\n        np.save(folder / "means.npy", self.means)\n\n    def one(',
        ),
        (
            "    def one(",
            '    def load(self, folder):\n        self.means = np.load(folder / "means.npy")\n\n    def one(',
        ),
    ],
    "deterministic": [_after_fit("self.means_ += np.random.default_rng().normal(0, 1e-3, self.means_.shape)")],
    "global-state": [_after_fit("np.random.seed(0)")],
    "order": [_PREDICT, _answer(_TURNED.format("k % 2"))],
    "subset": [_answer(_TURNED.format("len(patches) % 2"))],
    "save-load": [
        ("    def fit(", "    gain = 1.0\n\n    def fit("),
        _after_fit("self.gain = 0.9"),
        ("(distance - ", "self.gain * (distance - "),
    ],
    "workers": [_answer(_TURNED.format("run.workers - 1"))],
    "new-process": [
        (
            "    def one(",
            """    def streaked(self, patch):
        p = self.one(patch)
        p[:, :, [hash(word) % p.shape[2] for word in ("one", "another", "a third")]] = 0.125
        return p

    def one(""",
        ),
        _answer("self.streaked(patch)"),
    ],
    "inputs-unchanged": [
        ("        return np.concatenate", "        s2 = patch.s2\n        s2 //= 2\n        return np.concatenate"),
        ("scale_s2(patch.s2)", "scale_s2(s2)"),
    ],
    "declared-needs": [_before_fit('hasattr(contest, "target")')],
    "hidden-labels": [
        (
            "    def one(",
            """    def stolen(self, patch):
        import rasterio

        path = str(next(iter(patch._record.files.values())))
        for token in ("s1", "s2", "lc"):
            path = path.replace(f"/{token}_", "/dfc_").replace(f"_{token}_", "_dfc_")
        with rasterio.open(path) as source:
            return np.isin(source.read(1), [1, 2, 4])

    def one(""",
        ),
        _answer("np.where(self.stolen(patch), np.float32(0.125), self.one(patch))"),
    ],
    "silent": [_before_fit('print("fitting")')],
    "writes": [_before_fit('Path(__file__).with_suffix(".cache").write_text("kept")')],
    "missing-modality": [
        (
            "        return np.concatenate",
            """        try:
            s1 = patch.s1
        except Exception:
            s1 = None
        return np.concatenate""",
        ),
        ("scale_s1(patch.s1)", "scale_s1(s1[:])"),
    ],
    "no-data": [("scale_s1(patch.s1)", "patch.s1 / 25")],
    "odd-size": [
        ("        return np.concatenate", "        patch.s2.reshape(13, 64, 64)\n        return np.concatenate")
    ],
    "resume": [
        _before_fit("kept = run.load_checkpoint('times') or 0\n        run.save_checkpoint('times', 1)"),
        _after_fit("time.sleep(0.6)\n        self.means_ = np.roll(self.means_, kept, axis=0)"),
    ],
    "stop": [
        ("            x, low =", "            try:\n                x, low ="),
        (
            "            for k, code",
            """            except KeyboardInterrupt:
                x, low = self.colours(patch), patch.low
            for k, code""",
        ),
    ],
}
"""By check: edits of ``GOOD`` that break it, each ``(old, new)``."""


def broken(check: str) -> str:
    """The source of the plug-in that breaks this check."""
    source = GOOD
    for old, new in BROKEN[check]:
        assert old in source, f"{check}: {old!r} is not there"
        source = source.replace(old, new)
    return source
