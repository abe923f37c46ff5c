"""Which samples train, and how many rows of a layer are kept: meProp, TinyProp, TinyPropV2."""

import numpy as np

from .numerics import F32, ONE, lane_sum, rounded_share


def is_tinyprop(policy):
    return policy.kind in ("tinyprop", "tinypropv2")


def _between(low, high, alpha):
    return F32(low) + alpha * (F32(high) - F32(low))


def zeta_power(policy, pos):
    power = ONE
    for _ in range(pos):
        power = power * F32(policy.zeta)
    return power


def decision(policy, y, y_max):
    """D of TinyPropV2, from the error of the output layer. 0 of 0 counts as no error."""
    relative = y / y_max if y_max > 0 else F32(0)
    if policy.beta_mode == 1:
        return _between(policy.d_min, policy.d_max, ONE) * relative
    return _between(policy.d_min, policy.d_max, relative) * ONE


def trains(policy, d, seen, skips_in_row):
    """seen counts the samples before this one."""
    if policy.kind != "tinypropv2" or d > F32(policy.threshold):
        return True
    return seen < policy.warmup or 0 < policy.max_skips <= skips_in_row


def share_kept(policy, y, y_max, pos, y_above):
    """S of TinyProp for the layer at distance pos from the output (y_above: Y of pos - 1)."""
    if pos == 0 and policy.dense_output:
        return ONE
    if y_max == 0:
        return F32(policy.s_min)
    if policy.beta_mode == 1:
        if pos == 0:
            alpha = ONE
        else:
            alpha = ONE if y >= y_above else y / y_above  # 0 below a branch without any error
        return _between(policy.s_min, policy.s_max, alpha) * (y / y_max)
    return _between(policy.s_min, policy.s_max, y / y_max) * zeta_power(policy, pos)


def rows_asked(policy, n, is_output, share):
    """How many rows of n the policy wants; share is that of share_kept."""
    if policy.kind == "full" or (policy.kind == "topk" and is_output):
        return n
    if policy.kind == "topk":
        return min(policy.k, n) if policy.k else rounded_share(n, policy.ratio)
    return rounded_share(n, share)


def kept_errors(policy, delta, rows, asked):
    """delta of the kept rows; with rescale, times sum |delta| / sum |kept delta|."""
    kept = delta[rows]
    if not policy.rescale or asked >= len(delta) or not len(kept):
        return kept
    # The lanes run over the places in the layer, not over the kept ones.
    masked = np.zeros_like(delta)
    masked[rows] = kept
    total, part = lane_sum(np.abs(delta)), lane_sum(np.abs(masked))
    return kept if total == part else kept * (total / part)


class BackOff:
    """One stored sample: after a skip it waits 1, 2, 4 .. limit epochs, after a step none."""

    def __init__(self):
        self.wait = self.left = 0

    def waits(self):
        if self.left == 0:
            return False
        self.left -= 1
        return True

    def note(self, trained, limit):
        self.wait = 0 if trained else min(max(2 * self.wait, 1), limit)
        self.left = self.wait
