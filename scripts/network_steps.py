"""What a training step of the reference models costs on bare cores, by policy and dtype.

    build/venv/bin/python scripts/network_steps.py                          # all boards
    build/venv/bin/python scripts/network_steps.py --board M4F --model lenet

Exact counts: instructions of the core alone on the host (callgrind) and on emulated cores without
an operating system (QEMU, benchmarks/network_steps.c), which have room for every model; cycles of
what fits on the emulated RP2040, in its firmware, Python call included. The unix port trains each
network first, so that TinyPropV2 has seen errors; checkpoint and the next samples go to every
board, which must end with the unix port's model, bit for bit. Records: build/bench/networks.json.
"""

import argparse
import os
import struct
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import build_rp2
import setup_env
import sim_rp2
from build_unix import build_unix
from common import BUILD, ROOT, fail, run_main, say
from layer_instructions import (
    BENCHMARKS,
    compiled,
    counted_by_callgrind,
    missing_for,
    parsed,
    printed_by,
    with_core,
)
from records import Records, print_table
from rp2040_cycles import CLOCK_MHZ, on_board
from rp2040_mnist import CRC, RESERVE, put

CORES = ("RV32", "M3", "M4F", "M7", "M55", "x86-64")
PICO = "RPI_PICO"
# Model -> samples trained before, counted, and counted on the Pico: fewer where a step is long.
MODELS = {
    "mlp-64-32-10": (5000, 20, 10),
    "mlp-784-64-10": (2600, 20, 5),
    "lenet": (2600, 10, 2),
    "ds_cnn": (150, 4, 0),
    "resnet8": (40, 2, 0),
}
POLICIES = ("Full", "TopK", "TinyPropV2")
DTYPES = ("f32", "i16", "i8")
FOLDER = BUILD / "bench" / "networks"
DIGITS = ROOT / "examples" / "digits" / "train.tpd"

ON_PICO = """
import time
from tinyprop import sequential
sequential.new_block = lambda n: room
m = tp.load("m.tp")
with open("m.x", "rb") as f:
    x = bytearray(%d)
    total = 0
    for _ in range(%d):
        f.readinto(x)
        inputs, y = memoryview(x)[:-1], x[-1]
        start = time.ticks_us()
        m.train_step(inputs, y)
        total += time.ticks_diff(time.ticks_us(), start)
s = m.stats()
print("RESULT", total, s["trained"], s["effort_total"], "%%08x" %% crc(m))
"""


def stem(name):
    return FOLDER / name.replace(" ", "-")


def trained_here(name):
    """Train `model policy dtype` on the unix port and write its files; what the job printed."""
    model, policy, dtype = name.split()
    command = [BUILD / "bin" / "micropython", "-X", "heapsize=16M"]
    command += [
        BENCHMARKS / "network_steps.py",
        DIGITS,
        stem(name),
        model,
        policy,
        dtype,
        *MODELS[model][:2],
    ]
    where = {**os.environ, "MICROPYPATH": f"{ROOT / 'examples' / 'models'}:.frozen"}
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=where)
    if run.returncode != 0:
        fail(f"{name}: {(run.stderr.strip() or 'no message').splitlines()[-1]}")
    return dict(line.split() for line in run.stdout.splitlines())


def write_cases(here):
    """The file that benchmarks/network_steps.c reads."""
    with open(FOLDER / "cases", "wb") as f:
        for name, told in here.items():
            head = name.encode(), MODELS[name.split()[0]][1], int(told["inputs"])
            f.write(struct.pack("<56sII", *head))
            f.write(stem(name).with_suffix(".tp").read_bytes())
            f.write(stem(name).with_suffix(".x").read_bytes())


def count_on(core):
    """({case: instructions}, {case: CRC-32 of its model})"""
    if core == "x86-64":
        program = compiled("gcc", FOLDER / core, with_core(program="network_steps"))
        counts, output = counted_by_callgrind(program, FOLDER)
        return counts, parsed(output)[1]
    return parsed(printed_by(core, "network_steps", cwd=FOLDER))


def count_on_pico(name, told):
    """(cycles a step, samples trained, total effort)"""
    steps = MODELS[name.split()[0]][2]
    firmware = BUILD / "firmware" / PICO / "firmware.bin"
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"m{end}" for end in (".tp", ".x")]
        for file in files:
            file.write_bytes(stem(name).with_suffix(file.suffix).read_bytes())
        with sim_rp2.running(firmware, Path(folder) / "flash.bin") as port:
            put(port, *files)
            code = CRC + ON_PICO % (int(told["inputs"]) + 1, steps)
            output = on_board(port, RESERVE % int(told["block"]), code, timeout=1200)
    us, trained, effort, crc = output.split("RESULT")[1].split()
    if crc != told["crc"].split(",")[steps - 1]:
        fail(f"{name}: not the parameters of the unix port on {PICO}")
    return int(us) * CLOCK_MHZ / steps, int(trained), float(effort)


def on_cores(cores, here, pool, records):
    write_cases(here)
    say(f"Counting their steps on {', '.join(cores)} ...")
    there, rows = dict(zip(cores, pool.map(count_on, cores))), []
    for name, told in here.items():
        case, steps, cells = name.split(), MODELS[name.split()[0]][1], []
        for core, (counts, crcs) in there.items():
            if crcs.get(name) != told["crc"].split(",")[-1]:
                fail(f"{name}: not the parameters of the unix port on {core}")
            count = counts[name] / steps
            cells.append(f"{count:,.0f}")
            records.add("instructions_per_step", round(count), "instructions", core, *case)
            per_mac = round(count / int(told["macs"]), 4)
            records.add("instructions_per_mac", per_mac, "instructions", core, *case)
        efforts = [f"{float(told[e]):.3f}" for e in ("effort_total", "effort_backward")]
        trained = f"{told['trained']}/{steps}"
        rows.append((name, *cells, *efforts, trained, f"{int(told['block']):,}"))
    header = ("", *cores, "effort", "backward", "trained", "bytes")
    print_table("Instructions of a training step; the inputs are digits", header, rows)


def on_pico(here, pool, records):
    names = [name for name in here if MODELS[name.split()[0]][2]]
    say(f"Counting the steps of {len(names)} of them on {PICO} ...")
    rows = []
    for name, result in zip(names, pool.map(lambda n: count_on_pico(n, here[n]), names)):
        cycles, trained, effort = result
        per_mac = f"{cycles / int(here[name]['macs']):.1f}"
        of = f"{trained}/{MODELS[name.split()[0]][2]}"
        rows.append((name, f"{cycles:,.0f}", per_mac, f"{effort:.3f}", of))
        records.add("cycles_per_step", round(cycles), "cycles", PICO, *name.split())
    header = ("", "cycles", "per dense MAC", "effort", "trained")
    print_table(f"The same on {PICO}, Python call included", header, rows)


def measure_all(boards, models=tuple(MODELS)):
    """Measure, print and record."""
    build_unix()
    if PICO in boards:
        build_rp2.build_rp2(PICO)
    FOLDER.mkdir(parents=True, exist_ok=True)
    names = [f"{m} {p} {d}" for m in models for d in DTYPES for p in POLICIES]
    records = Records("networks", "build/venv/bin/python scripts/network_steps.py")
    # The threads wait for the programs that they start, one a processor.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        say(f"Training {len(names)} networks here ...")
        here = dict(zip(names, pool.map(trained_here, names)))
        for name, told in here.items():
            for what in ("effort_total", "effort_backward"):
                records.add(what, float(told[what]), "1", "unix", *name.split())
            records.add("block_bytes", int(told["block"]), "B", "unix", *name.split())
        cores = [b for b in boards if b != PICO]
        if cores:
            on_cores(cores, here, pool, records)
        if PICO in boards:
            on_pico(here, pool, records)
    records.write()


def missing_on(board):
    """What a board wants that is not here."""
    if board != PICO:
        return [missing_for(board)] if missing_for(board) else []
    return setup_env.lacking("firmware")


def boards_here():
    """All boards, but for those whose tools are missing: they are named."""
    found = [board for board in (*CORES, PICO) if not missing_on(board)]
    for board in (*CORES, PICO):
        if board not in found:
            say(f"Networks on {board}: not measured, missing {', '.join(missing_on(board))}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    choices = (*CORES, PICO)
    parser.add_argument("--board", action="append", choices=choices, help="default: all")
    parser.add_argument("--model", action="append", choices=list(MODELS), help="default: all")
    arguments = parser.parse_args()
    for board in arguments.board or []:
        if missing_on(board):
            fail(f"missing {', '.join(missing_on(board))}: make setup")
    measure_all(arguments.board or boards_here(), arguments.model or tuple(MODELS))


if __name__ == "__main__":
    run_main(main)
