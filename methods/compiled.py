"""How the methods' loops are compiled, and an exponential that vectorises within them.

Compiled functions run without the interpreter lock, on the calling thread alone: threads run over patches. Machine code
is cached beside the source, or, where that folder cannot be written, in numba's user-wide cache directory
(``NUMBA_CACHE_DIR`` overrides both); where neither can be written it is compiled anew in each process.

What kernels call is ``inlined``. Left apart, it would be there twice, as a module of its own and as a copy in its
caller's that was optimised again, with sums in another order; which of them runs would depend on which was loaded first,
and so on whether this process compiled them or found them in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit, types
from numba.extending import overload

Function = TypeVar("Function", bound=Callable[..., Any])

_FASTMATH = {"nnan", "nsz", "reassoc", "contract", "arcp"}

# exp(x) = 2**n * exp(r) with r = x - n ln 2 in [-0.35, 0.35]; the Taylor polynomial of degree 6 leaves a relative error
# below 2e-7. Exponents below 2**-86 (1.3e-26) are cut to zero: such posteriors count for nothing, and the denormal
# numbers that follow from them slow every later product down several times.
_LOG2_E = np.float32(1.4426950408889634)
_LN_2 = np.float32(0.6931471805599453)
_HALF = np.float32(0.5)
_SMALLEST = np.float32(-86.0)
_C2, _C3, _C4, _C5, _C6 = (np.float32(1 / math.factorial(k)) for k in range(2, 7))
_ONE = np.float32(1.0)
_ZERO = np.float32(0.0)


def kernel(function: Function) -> Function:
    """Compile a function whose inputs are finite: it may assume that no NaN occurs, and reorder sums."""
    return _compiled(function, fastmath=_FASTMATH)


def inlined(function: Function) -> Function:
    """As ``kernel``, for a function that becomes part of every kernel that calls it; others must not be called there."""
    return _compiled(function, fastmath=_FASTMATH, forceinline=True)


def exact_kernel(function: Function) -> Function:
    """Compile a function that keeps the order of its sums, and NaN; a division by zero is as in numpy."""
    return _compiled(function, error_model="numpy")


def _compiled(function: Function, **options: Any) -> Function:
    try:
        compiled: Function = njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:  # numba: "cannot cache function: no locator available"
        compiled = njit(nogil=True, **options)(function)
    return compiled


def exp(x: float) -> float:
    """exp(x) for x <= 0, within compiled functions: relative error below 2e-7 in single precision, 0 below 2**-86."""
    return math.exp(x)


@overload(exp, inline="always")
def _exp_by_type(x: Any) -> Any:
    if x == types.float32:

        def single(x: Any) -> Any:
            y = x * _LOG2_E
            clipped = max(y, _SMALLEST)
            n = np.int32(clipped - _HALF)
            r = (clipped - np.float32(n)) * _LN_2
            p = ((((_C6 * r + _C5) * r + _C4) * r + _C3) * r + _C2) * r * r + r + _ONE
            value = p * np.int32((n + 127) << 23).view(np.float32)
            return value if y > _SMALLEST else _ZERO

        return single

    def double(x: Any) -> Any:
        return math.exp(x) if x > -300.0 else 0.0

    return double
