"""Source texts of small plug-ins that tests write to disk."""

MAJORITY = '''\
"""A plug-in file."""
import numpy as np
from dfcbench.method import Field, Method, Needs, Params, Prediction


class MajorityParams(Params):
    offset: int = Field(0, ge=0, le=10, description="added to nothing")


class Majority(Method):
    """Every pixel gets the patch's most frequent low-resolution label."""

    name = "majority"
    needs = Needs(inputs=frozenset(), labels="low")
    Params = MajorityParams

    def fit(self, contest, run):
        self.seen_ = 1

    def predict(self, patches, run):
        for patch in run.progress(patches, label="mapping"):
            code = np.bincount(patch.low.ravel(), minlength=11)[1:].argmax() + 1
            yield Prediction(patch.id, np.full(patch.shape, code, np.uint8))
'''

BROKEN = "import a_package_that_is_nowhere\n\n\nclass Broken:\n    name = 'broken'\n"


def with_predict(body: str, *, name: str = "odd", needs: str = "Needs(inputs={'s1', 's2'}, labels='low')") -> str:
    """A plug-in whose ``predict`` has this body (indented by eight spaces) and whose ``fit`` does nothing."""
    return f'''\
import os, time
import numpy as np
from dfcbench.method import Method, Needs, Prediction


class Odd(Method):
    """A method made for a test."""

    name = "{name}"
    needs = {needs}

    def fit(self, contest, run):
        self.contest_ = None

    def predict(self, patches, run):
{body}
'''


LEARNING = with_predict(
    """\
        for n, patch in enumerate(patches):
            if n == 2 and os.path.exists("stop in predict"):
                raise RuntimeError("stopped in predict")
            noise = run.generator("predict", patch.id).random((8, *patch.shape))
            yield Prediction(patch.id, noise + self.bias_ * (patch.low % 8 == np.arange(8)[:, None, None]))
""",
    name="learning",
    needs="Needs(labels='low', transductive=True)",
).replace(
    "        self.contest_ = None",
    """\
        state = run.load_checkpoint("sum") or {"next": 0, "sum": 0.0}
        for n, patch in enumerate(contest.target):
            if n >= state["next"]:
                other = contest.validation[n % len(contest.validation)]
                state = {"next": n + 1, "sum": state["sum"] + float(patch.s2.mean()) + float(other.s2.mean())}
                run.log({"sum": state["sum"]}, n)
                run.save_checkpoint("sum", state)
            if n == 2 and os.path.exists("stop in fit"):
                raise RuntimeError("stopped in fit")
        self.bias_ = state["sum"] % 1 + run.generator("fit").random()""",
)
"""Packs, saves checkpoints, logs and learns; every pixel and every image counts. It stops where a file says so."""
