"""What docs/performance.md says of how the cost of a step grows."""

import shutil
import sys

import core_api
import numpy as np
import pytest
from conftest import need

sys.path.insert(0, str(core_api.ROOT / "scripts"))
import scaling  # noqa: E402


def test_fit_finds_a_plane_and_says_how_well_it_fits():
    forward, backward = np.array([10, 20, 30, 40.0]), np.array([5, 50, 1, 7.0])
    exact = 7 + 2 * forward + 3 * backward
    constant, factors, r_squared = scaling.fit([forward, backward], exact)
    assert constant == pytest.approx(7) and factors == pytest.approx([2, 3])
    assert r_squared == pytest.approx(1)
    _, _, worse = scaling.fit([forward], exact)
    assert worse < 0.9


def test_cost_of_a_step_grows_with_the_multiply_accumulates_that_are_kept():
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        need(shutil.which(tool), tool, "make setup")
    points, split = scaling.measure("M4F")
    (_, per_mac, r_squared), _ = scaling.figures(points)
    assert len(points) == 120 and r_squared >= scaling.TARGET and 2 < per_mac < 4
    # Of one network, the fewer rows are kept the less it costs. (Half of a few rows costs more
    # than all of them: the choice takes longer than it saves.)
    for net in {net for net, _ in points}:
        costs = {kept: count for (n, kept), (count, _, _) in points.items() if n == net}
        assert costs[5] < costs[10] < costs[25] < min(costs[50], 1.1 * costs[100]), net
        assert costs[10] < costs[100], net
    # The passes of a step are the step, but for the calls of the clock.
    for kept in (100, 10):
        parts = sum(count for (k, _, _), count in split.items() if k == kept)
        assert parts == pytest.approx(points[scaling.SPLIT, kept][0], rel=0.02)
