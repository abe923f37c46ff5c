"""The integer kernels of each instruction set give the bytes of plain loops (odd sizes, extremes,
rows that begin anywhere), and cost on their core what they were written for."""

import shutil
import sys

import core_api
import pytest
from conftest import need

sys.path.insert(0, str(core_api.ROOT / "scripts"))
import kernel_costs  # noqa: E402

KERNELS = 18


@pytest.fixture(scope="module")
def measured():
    need(shutil.which("arm-none-eabi-gcc"), "arm-none-eabi-gcc", "make setup")
    need(shutil.which("qemu-system-arm"), "qemu-system-arm", "make setup")
    need(shutil.which("valgrind"), "valgrind", "make setup")
    kept = {}

    def get(board):
        if board not in kept:
            kept[board] = kernel_costs.measure(board, repeats=12)
        return kept[board]

    return get


@pytest.mark.parametrize("board", ["x86-64", "M0", "M3", "M4F", "M7", "M55"])
def test_kernels_give_the_bytes_of_plain_loops(measured, board):
    _, same, wrong = measured(board)
    assert not wrong
    assert len(same) == KERNELS and min(same.values()) > 300


def test_comparison_notices_a_wrong_byte():
    need(shutil.which("arm-none-eabi-gcc"), "arm-none-eabi-gcc", "make setup")
    need(shutil.which("qemu-system-arm"), "qemu-system-arm", "make setup")
    # The noise of the plain loops has one other bit.
    _, same, wrong = kernel_costs.measure("M4F", repeats=1, flags=["-DBREAK_PLAIN"])
    assert {"rows_update_i8", "rows_update_i16"} <= set(wrong)
    assert "matvec_i8" in same


@pytest.mark.parametrize(
    ("board", "dtype", "most"),
    [
        ("M0", "i8", 6.0),
        ("M0", "i16", 8.2),
        ("M3", "i8", 3.8),
        ("M3", "i16", 4.7),
        ("M4F", "i8", 2.3),
        ("M4F", "i16", 2.2),
        ("M55", "i8", 0.7),
        ("M55", "i16", 1.2),
    ],
)
def test_dense_step_costs_few_instructions(measured, board, dtype, most):
    counts = measured(board)[0]
    passes = [f"{name}_{dtype} 64x784" for name in ("matvec", "rows_update")]
    mean = sum(kernel_costs.per_product(counts, what) for what in passes) / 2
    assert mean < most


def test_special_kernels_are_faster_than_plain_loops(measured):
    for board in ("M0", "M3", "M4F", "M55"):
        counts = measured(board)[0]
        for what in counts:
            if "64x784" in what and not what.startswith("plain_") and "rows_dx" not in what:
                assert counts[what] < counts[f"plain_{what}"], (board, what)
