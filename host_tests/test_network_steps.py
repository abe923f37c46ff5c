"""The networks that `make bench` counts the steps of learn the same on every core."""

import shutil
import sys

import core_api
import pytest
from conftest import need

sys.path.insert(0, str(core_api.ROOT / "scripts"))
import network_steps  # noqa: E402

NAMES = ("lenet TinyPropV2 f32", "lenet TinyPropV2 i8")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    need(network_steps.build_unix(), "build/bin/micropython", "make build")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network_steps, "FOLDER", tmp_path_factory.mktemp("models"))
        patch.setitem(network_steps.MODELS, "lenet", (300, 3, 0))
        told = {name: network_steps.trained_here(name) for name in NAMES}
        network_steps.write_cases(told)
        yield told


@pytest.mark.parametrize("core", ["RV32", "M55"])
def test_a_network_goes_on_learning_the_same_on_another_core(here, core):
    for tool in ("arm-none-eabi-gcc", "riscv64-unknown-elf-gcc"):
        need(shutil.which(tool), tool, "make setup")
    need(not network_steps.missing_for(core), network_steps.missing_for(core), "make setup")
    counts, crcs = network_steps.count_on(core)
    for name, told in here.items():
        assert crcs[name] == told["crc"].split(",")[-1]
        assert len(set(told["crc"].split(","))) == 3  # each step changes something
        # Between what no core can beat and libgcc's floats on RISC-V.
        assert 0.1 < counts[name] / 3 / int(told["macs"]) < 300
