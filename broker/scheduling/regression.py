"""A linear model of ln(CPU seconds) and ln(peak bytes) over a job's traits, fitted as jobs end. Pure.

Recursive least squares (Plackett 1950; Haykin, Adaptive Filter Theory, ch. 10) with a prior: with x the
features, w the weights of one target, P their covariance over the noise's variance,

    k = P x / (1 + x' P x)      w += k clip(y - w' x)      P -= k (P x)'

Both targets have the same features, so they share P. A little is added to P's diagonal with each step (a
random walk of the weights), up to the prior's, so that it never stops to learn. Residuals are clipped: one job
moves the weights by a bounded amount.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from zcc.traits import Traits

# Guesses that are not fitted: bench/knowing.py shows how far off they are (on 12 small C++ programs CPU time
# was a quarter of this). The first jobs of a toolchain correct them. The weights are of:
# constant, ln(closure in units of 64 KiB), C++, optimizes at all, -O2 and above, -g, sanitizers.
FEATURES = 7
PRIOR_LN_COST = (-2.9, 0.55, 0.2, 0.6, 0.3, 0.15, 0.5)
PRIOR_LN_PEAK = (17.3, 0.30, 0.1, 0.1, 0.1, 0.1, 0.3)
STATE_FLOATS = 1 + FEATURES * (FEATURES + 2)
_UNIT_BYTES = 64 << 10
# Variances of the prior's weights, over that of the noise.
_PRIOR_VARIANCE = (4.0, 0.25, 1.0, 1.0, 1.0, 1.0, 1.0)
_WALK = 1e-4
MAX_RESIDUAL = 1.0


def features_of(traits: Traits) -> list[float]:
    return [
        1.0,
        math.log((traits.closure_bytes + 1024) / _UNIT_BYTES),
        1.0 if traits.is_cxx else 0.0,
        1.0 if traits.optimizes else 0.0,
        1.0 if traits.optimizes >= 2 else 0.0,
        1.0 if traits.debugs else 0.0,
        float(traits.sanitizers),
    ]


def prior_of(traits: Traits) -> tuple[float, float]:
    """(ln CPU seconds, ln peak bytes) of a job of which nobody knows more."""
    features = features_of(traits)
    return _dot(PRIOR_LN_COST, features), _dot(PRIOR_LN_PEAK, features)


class Regression:
    """Begins with the weights of `parent`, or the prior's."""

    __slots__ = ("_covariance", "_ln_cost", "_ln_peak", "seen")

    def __init__(self, parent: Regression | None = None) -> None:
        self.seen = 0
        self._ln_cost: list[float] = list(parent._ln_cost if parent else PRIOR_LN_COST)
        self._ln_peak: list[float] = list(parent._ln_peak if parent else PRIOR_LN_PEAK)
        self._covariance = [
            [value if row == column else 0.0 for column in range(FEATURES)]
            for row, value in enumerate(_PRIOR_VARIANCE)
        ]

    @classmethod
    def of_state(cls, state: Sequence[float]) -> Regression:
        """
        Raises:
            ValueError: it is no state that `state` gave.
        """
        if len(state) != STATE_FLOATS or not all(map(math.isfinite, state)):
            raise ValueError(f"expected {STATE_FLOATS} numbers")
        made = cls()
        made.seen = int(state[0])
        made._ln_cost = list(state[1 : 1 + FEATURES])
        made._ln_peak = list(state[1 + FEATURES : 1 + 2 * FEATURES])
        rest = state[1 + 2 * FEATURES :]
        made._covariance = [list(rest[at : at + FEATURES]) for at in range(0, len(rest), FEATURES)]
        return made

    def state(self) -> list[float]:
        return [
            float(self.seen),
            *self._ln_cost,
            *self._ln_peak,
            *(value for row in self._covariance for value in row),
        ]

    def predict(self, traits: Traits) -> tuple[float, float]:
        """(ln CPU seconds, ln peak bytes)"""
        features = features_of(traits)
        return _dot(self._ln_cost, features), _dot(self._ln_peak, features)

    def learn(self, traits: Traits, ln_cost: float, ln_peak: float) -> None:
        """Take in what a job has cost on the average slot, and had in memory."""
        features = features_of(traits)
        covariance = self._covariance
        spread = [_dot(row, features) for row in covariance]
        gain = 1.0 / (1.0 + _dot(spread, features))
        for weights, target in ((self._ln_cost, ln_cost), (self._ln_peak, ln_peak)):
            residual = target - _dot(weights, features)
            step = gain * min(max(residual, -MAX_RESIDUAL), MAX_RESIDUAL)
            for at, value in enumerate(spread):
                weights[at] += step * value
        for at, row in enumerate(covariance):
            factor = gain * spread[at]
            for column, value in enumerate(spread):
                row[column] -= factor * value
            row[at] = min(row[at] + _WALK, _PRIOR_VARIANCE[at])
        self.seen += 1


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum([a * b for a, b in zip(left, right, strict=True)])
