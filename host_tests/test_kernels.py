"""The kernels of single instruction sets: they must give the bits of the host on an emulated core,
and the counts that justify them. The generic ones run there too (Cortex-M3)."""

import shutil
import sys

import core_api
import pytest
from conftest import need

sys.path.insert(0, str(core_api.ROOT / "scripts"))
import layer_instructions  # noqa: E402


@pytest.fixture(scope="module")
def results():
    need(shutil.which("arm-none-eabi-gcc"), "arm-none-eabi-gcc", "make setup")
    need(shutil.which("qemu-system-arm"), "qemu-system-arm", "make setup")
    need(shutil.which("valgrind"), "valgrind", "make setup")
    boards = ("x86-64", "M3", "M4F")
    return {board: layer_instructions.measure(board) for board in boards}


@pytest.mark.parametrize("board", ["M3", "M4F"])
def test_cores_learn_the_same_bits(results, board):
    crcs = results["x86-64"][1]
    assert len(crcs) == 18
    assert results[board][1] == crcs


@pytest.mark.parametrize("board", ["x86-64", "M4F"])
def test_every_pass_is_counted(results, board):
    assert results[board][0].keys() == results["M3"][0].keys()
    assert min(results[board][0].values()) > 1000


def test_special_kernels_are_worth_their_code(results):
    for what, macs in (("mlp-784-64-10 Full", 2.2), ("conv3x3-32-32@8 full", 2.8)):
        count = results["M4F"][0][what]
        assert count < macs * layer_instructions.dense_macs(what)


def test_a_dense_step_of_integers_costs_few_instructions(results):
    for board, most in (("M3", 4.0), ("M4F", 2.5)):
        for dtype in ("i8", "i16"):
            what = f"mlp-784-64-10-{dtype} Full"
            assert results[board][0][what] < most * layer_instructions.dense_macs(what), board


def test_convolution_backward_costs_what_a_dense_layer_costs(results):
    def per_mac(what):
        return results["M4F"][0][what] / layer_instructions.dense_macs(what)

    for layer in ("conv3x3-16-16@16", "conv3x3-32-32@8", "conv1x1-64-64@8"):
        assert per_mac(f"{layer} full") < 1.3 * per_mac("dense-256-64 full")


def test_a_tenth_of_the_errors_costs_a_fraction_of_dense_backward(results):
    counts = results["M4F"][0]
    for layer, times in (
        ("conv3x3-16-16@16", 5.95),
        ("conv3x3-32-32@8", 7.3),
        ("conv1x1-64-64@8", 4.85),
    ):
        assert counts[f"{layer} full"] > times * counts[f"{layer} TopK"]


def test_fused_multiply_adds_change_bits_and_save_instructions(results):
    counts, crcs = layer_instructions.measure("M4F", ["-DTP_FUSED=1"])
    what = "mlp-784-64-10 Full"
    assert crcs[what] != results["M4F"][1][what]
    assert counts[what] < 0.75 * results["M4F"][0][what]
