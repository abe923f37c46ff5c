"""What the integer kernels of a core cost (benchmarks/kernels_int.c), beside plain loops on the
same core: instructions on the host (callgrind) and on emulated Cortex-M cores, cycles on the
emulated RP2040. Stops where one gives other bytes. Records: build/bench/kernels.json."""

import argparse
import re
import shutil
import subprocess

import layer_instructions
import setup_env
import sim_rp2
from common import BUILD, fail, run_main, say
from layer_instructions import BENCHMARKS, SOURCES, compiled
from records import Records, print_table

BOARDS = [*layer_instructions.BOARDS, "RP2040"]
# As the ports compile kernels.
OPTIMISATION = {"x86-64": "-O3", "RP2040": "-O2"}
# RAM of the RP2040: the program lies behind its data, the boot ROM is too small for it.
RAM_CODE, RAM_END = "0x20020000", "0x20042000"


def sources():
    return [p for p in sorted(SOURCES.glob("kernels/*.c")) if "tp_kernels_int.h" in p.read_text()]


def built(board, repeats, more):
    """The program for a board, with both sets of kernels."""
    host = board == "x86-64"
    core = "M0" if board == "RP2040" else board
    compiler = "gcc" if host else layer_instructions.compiler_for(core)
    rest = [] if host else layer_instructions.bare_metal(core)
    if board == "RP2040":
        rest += [f"-Wl,--defsym=rom={RAM_CODE},--defsym=stack_end={RAM_END}"]
        rest += ["-DINSTRUCTIONS_PER_4_TICKS=4u"]
    programs = [BENCHMARKS / "kernels_int.c", BENCHMARKS / "kernels_plain.c"]
    flags = [OPTIMISATION.get(board, "-O2"), f"-DREPEATS={repeats}", *more]
    program = BUILD / "bench" / f"kernels-{board}{'' if host else '.elf'}"
    return compiled(compiler, program, [*flags, *programs, *sources(), *rest])


def run_on_rp2040(program):
    bare = sim_rp2.SIM / "bare.js"
    command = ["node", bare, sim_rp2.install_emulator(), program]
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    return run.returncode, run.stdout + run.stderr


def measure(board, repeats=6, flags=()):
    """({what: cost}, {kernel: cases that were compared}, kernels that gave other bytes)."""
    program = built(board, repeats, flags)
    if board == "x86-64":
        counts, output = layer_instructions.counted_by_callgrind(program)
    else:
        on_core = layer_instructions.run_on_core
        code, output = run_on_rp2040(program) if board == "RP2040" else on_core(board, program)
        if "count" not in output or (code != 0 and "wrong" not in output):
            fail(f"kernels_int.c failed on {board}: {output.strip()[-200:] or 'silence'}")
        counts, _ = layer_instructions.parsed(output)
    lines = re.findall(r"^(check|wrong) (\S+) ([0-9a-f]{8})$", output, re.M)
    same = {name: int(cases, 16) for kind, name, cases in lines if kind == "check"}
    return counts, same, [name for kind, name, _ in lines if kind == "wrong"]


def products(what):
    """Multiply-accumulates of `rows_dx_i8 64x784@19%`; of the inputs that are not zero."""
    rows, cols, percent = re.search(r" (\d+)x(\d+)(?:@(\d+)%)?$", what).groups()
    return int(rows) * int(cols) * int(percent or 100) / 100


def per_product(counts, what):
    return counts[what] / products(what)


def table(board, counts):
    unit = "cycles" if board == "RP2040" else "instructions"
    rows = []
    for what, cost in counts.items():
        if what.startswith("plain_"):
            continue
        ours, plain = (per_product(counts, name) for name in (what, f"plain_{what}"))
        rows.append((what, f"{cost:,}", f"{ours:.2f}", f"{plain:.2f}", f"{plain / ours:.1f}"))
    header = ("", unit, "per product", "plain loops", "times faster")
    print_table(f"Integer kernels on {board}; of what is not zero", header, rows)


def missing_for(board):
    """The program that runs a board, where it is not here."""
    if board == "RP2040":
        return "node" if not shutil.which("node") else None
    return layer_instructions.missing_for(board)


def measure_all(boards):
    """{board: costs}; printed and recorded."""
    results = {}
    records = Records("kernels", "python3 scripts/kernel_costs.py")
    for board in boards:
        if missing_for(board):
            fail(f"missing {missing_for(board)}: {setup_env.advice([missing_for(board)])}")
        say(f"Counting on {board} ...")
        results[board], _, wrong = measure(board)
        if wrong:
            fail(f"not the bytes of plain loops on {board}: {', '.join(wrong)}")
        table(board, results[board])
        unit = "cycles" if board == "RP2040" else "instructions"
        for what, cost in results[board].items():
            kernel, size = what.split()
            name, dtype = kernel.rsplit("_", 1)
            records.add(unit, cost, unit, board, f"{name} {size}", dtype=dtype)
    records.write()
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--board", action="append", choices=BOARDS, help="default: all")
    measure_all(parser.parse_args().board or BOARDS)


if __name__ == "__main__":
    run_main(main)
