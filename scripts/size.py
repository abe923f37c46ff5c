"""Bytes of object code of core and kernels for Cortex-M0+ at -Os, per file and per function,
and the memory plan of the reference models. Records: build/bench/size.json."""

import re
import subprocess
import sys

from build_unix import build_unix
from common import BUILD, ROOT, fail, run_main, say
from records import Records, print_table
from setup_env import lacking

SOURCES = ROOT / "usermod_tinyprop"
FLAGS = "-mcpu=cortex-m0plus -mthumb -Os -std=c99 -ffp-contract=off -fno-math-errno".split()
# What a program that trains dense layers by SGD never calls.
OPTIONAL = re.compile(r"tp_(file_\w+|crc32|backoff_\w+|k_adam_f32|k_momentum_f32|model_check)$")
MODELS = {"mlp-64-32-10": (64, 32, 10), "mlp-784-64-10": (784, 64, 10)}

PLAN = """
import tinyprop as tp
for i, h, o in {models}:
    m = tp.Sequential([tp.Input((i,)), tp.Dense(h, activation="relu"), tp.Dense(o)])
    p = m.plan()
    print(p["total"], p["parameters"], 4 * (i + h + o), 4 * (h + o))
"""


def object_code():
    """{function: bytes} of text and constants, per file."""
    folder = BUILD / "size"
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for source in sorted([*SOURCES.glob("core/*.c"), *SOURCES.glob("kernels/*.c")]):
        target = folder / (source.stem + ".o")
        command = ["arm-none-eabi-gcc", *FLAGS, "-ffunction-sections", "-c", source, "-o", target]
        if subprocess.call(command) != 0:
            fail(f"{source.name} does not compile for Cortex-M0+")
        sections = subprocess.run(
            ["arm-none-eabi-objdump", "-h", target], capture_output=True, text=True, check=True
        ).stdout
        sizes = {}
        for name, size in re.findall(
            r"^ *\d+ \.(?:text|rodata)(\S*) +([0-9a-f]{8})", sections, re.M
        ):
            name = name.lstrip(".").split(".")[0]
            name = name if name.startswith("tp_") else "constants"
            sizes[name] = sizes.get(name, 0) + int(size, 16)
        files[source.stem] = sizes
    return files


def memory_plans():
    script = PLAN.format(models=list(MODELS.values()))
    run = subprocess.run([build_unix(), "-c", script], capture_output=True, text=True, check=True)
    return dict(zip(MODELS, (map(int, line.split()) for line in run.stdout.splitlines())))


def main():
    missing = [p for p in lacking("test") if "arm" in p]
    if missing:
        fail(f"missing {', '.join(missing)}: run `make setup`")
    records = Records("size", "make size")
    files = object_code()
    rows = [(name, sum(sizes.values())) for name, sizes in files.items()]
    total = sum(size for _, size in rows)
    optional = sum(
        size for sizes in files.values() for name, size in sizes.items() if OPTIONAL.match(name)
    )
    print_table(
        f"Object code, Cortex-M0+, {' '.join(FLAGS[2:3])}: bytes",
        ("file", "bytes"),
        [
            *rows,
            ("all", total),
            ("without checkpoints, back-off, momentum, Adam", total - optional),
        ],
    )
    records.add("flash_bytes", total, "B", board="M0", policy="all", name="core")
    records.add("flash_bytes", total - optional, "B", board="M0", policy="all", name="core-sgd")
    if "--functions" in sys.argv:
        functions = [(n, s) for sizes in files.values() for n, s in sizes.items()]
        print_table("Functions", ("function", "bytes"), sorted(functions, key=lambda f: -f[1]))
    plans = []
    for model, (block, parameters, activations, deltas) in memory_plans().items():
        sum_of_parts = parameters + activations + deltas
        over = 100 * (block / sum_of_parts - 1)
        plans.append((model, block, parameters, activations, deltas, f"{over:+.2f} %"))
        records.add("block_bytes", block, "B", model=model)
        records.add("block_over_parts", round(over, 3), "%", model=model)
    header = ("model", "block", "parameters", "activations", "delta", "block against their sum")
    print_table("Memory plan, SGD, batch 1, float32: bytes", header, plans)
    records.write()
    say(f"core with all layers, four policies, SGD: {total - optional} B (for dense ones 12000)")


if __name__ == "__main__":
    run_main(main)
