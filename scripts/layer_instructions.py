"""Instructions of training steps and of single layers (benchmarks/layers.c): on the host by
callgrind, on emulated Cortex-M cores without an operating system by QEMU's -icount. Prints a table
and, per board, the CRC-32 of what was trained. Records: build/bench/layers.json."""

import argparse
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import setup_env
from common import BUILD, ROOT, fail, run_main, say, short
from records import Records, print_table

BENCHMARKS = ROOT / "benchmarks"
SOURCES = ROOT / "usermod_tinyprop"
NUMERICS = ["-ffp-contract=off", "-fno-math-errno"]
FLAGS = ["-std=gnu11", "-O3", "-Wall", "-Wextra", "-ffunction-sections", "-fdata-sections"]
FPU4 = ["-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]
FPU5 = ["-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"]
RV32 = ["-march=rv32imac", "-misa-spec=2.2", "-mabi=ilp32"]
RV32 += ["-specs=picolibc.specs", "-Wl,--defsym=rom=0x80000000", "-Wl,--defsym=ram=0x80400000"]
# Its SysTick counts at 32 MHz, its code memory is small and its data is in DDR.
M55 = ["-mthumb", "-mcpu=cortex-m55", "-mfloat-abi=hard", "-DINSTRUCTIONS_PER_4_TICKS=125u"]
M55 += ["-Wl,--defsym=ram=0x60000000"]
# Core -> QEMU's machine and what the compiler is told. ARMv6-M is a part of what the M3 runs.
CORES = {
    "M0": ("mps2-an385", ["-mthumb", "-mcpu=cortex-m0plus", "-mfloat-abi=soft"]),
    "M3": ("mps2-an385", ["-mthumb", "-mcpu=cortex-m3", "-mfloat-abi=soft"]),
    "M4F": ("mps2-an386", ["-mthumb", "-mcpu=cortex-m4", *FPU4]),
    "M7": ("mps2-an500", ["-mthumb", "-mcpu=cortex-m7", *FPU5]),
    "M55": ("mps3-an547", M55),
    "RV32": ("virt", RV32),
}
BOARDS = ["x86-64", *CORES]
SECONDS = 300


def units():
    return [*sorted(SOURCES.glob("core/*.c")), *sorted(SOURCES.glob("kernels/*.c"))]


def compiled(compiler, output, arguments):
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [compiler, *FLAGS, *arguments, "-o", output]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if "error" in line]
        fail(f"{short(output)} does not compile: {(said or ['no message'])[0]}")
    return output


def parsed(output):
    """{what: instructions} and {what: CRC-32} from what the program printed."""
    lines = re.findall(r"^(count|crc) (.+) ([0-9a-f]{8,16})$", output, re.M)
    counts = {what: int(value, 16) for kind, what, value in lines if kind == "count"}
    return counts, {what: value for kind, what, value in lines if kind == "crc"}


def with_core(*arguments, program="layers"):
    """What a program of benchmarks/ that uses the core is compiled with."""
    return [*NUMERICS, *arguments, BENCHMARKS / f"{program}.c", *units()]


def bare_metal(core):
    """What a program for a core without an operating system is compiled with."""
    linker = ["-T", BENCHMARKS / "bare_metal.ld", "-nostartfiles", "-Wl,--gc-sections"]
    return [*CORES[core][1], BENCHMARKS / "bare_metal.c", *linker]


def compiler_for(core):
    return "riscv64-unknown-elf-gcc" if core == "RV32" else "arm-none-eabi-gcc"


def of_process(*command, env=None):
    """Instructions that callgrind counts in a whole process."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command]
    environment = {**os.environ, **(env or {})}
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    counted = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode != 0 or not counted:
        fail(f"valgrind failed: {(run.stderr.strip() or 'no message').splitlines()[-1]}")
    return int(counted[1])


def counted_by_callgrind(program, cwd=None):
    """({what: instructions}, what it printed)"""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "counts"
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", program]
        run = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=cwd)
        if run.returncode != 0:
            fail(f"valgrind failed: {(run.stderr.strip() or 'no message').splitlines()[-1]}")
        counts = {}
        for dump in sorted(out.parent.glob("counts.*"), key=lambda p: int(p.suffix[1:])):
            text = dump.read_text()
            what = re.search(r"^desc: Trigger: Client Request: (.+)$", text, re.M)
            if what:
                counts[what[1]] = int(re.search(r"^totals: (\d+)$", text, re.M)[1])
    return counts, run.stdout


def emulator_for(core):
    return "qemu-system-riscv32" if core == "RV32" else "qemu-system-arm"


def run_on_core(core, program, cwd=None):
    """(exit code, output) in QEMU."""
    command = [emulator_for(core), "-machine", CORES[core][0], "-nographic", "-monitor", "null"]
    command += ["-bios", "none"] if core == "RV32" else []
    command += ["-serial", "null", "-semihosting", "-icount", "shift=0", "-kernel", program]
    try:
        run = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, timeout=SECONDS, cwd=cwd
        )
    except subprocess.TimeoutExpired:
        fail(f"{short(program)} did not end on {core} within {SECONDS} s")
    return run.returncode, run.stdout + run.stderr


def on_host(flags):
    counts, output = counted_by_callgrind(
        compiled("gcc", BUILD / "bench" / "layers", with_core(*flags))
    )
    return counts, parsed(output)[1]


def printed_by(core, program="layers", flags=(), cwd=None):
    """What a program of benchmarks/ prints on an emulated core."""
    image = BUILD / "bench" / f"{program}-{core}.elf"
    arguments = with_core(*flags, *bare_metal(core), program=program)
    compiled(compiler_for(core), image, arguments)
    code, output = run_on_core(core, image, cwd)
    if code != 0 or not output.strip():
        fail(f"{program}.c failed on {core}: {output.strip()[-200:] or 'silence'}")
    return output


def on_core(core, flags):
    return parsed(printed_by(core, flags=flags))


def measure(board, flags=()):
    """({what: instructions}, {what: CRC-32}) of one board."""
    return on_host(flags) if board == "x86-64" else on_core(board, flags)


# --- Multiply-accumulates of dense work, to divide by ---


def dense_macs(what):
    """Of `conv3x3-16-16@16 full` and the like; sparse passes are divided by the dense work too."""
    name, kind = what.split()
    numbers = [int(n) for n in re.findall(r"\d+", name)]
    if name.startswith("mlp"):
        i, h, o = numbers[:3]
        return i * h + h * o if kind == "forward" else 2 * i * h + 3 * h * o
    passes = 1 if kind == "forward" else 2
    if name.startswith("dense"):
        return passes * numbers[0] * numbers[1]
    if name.startswith("scale"):
        return passes * numbers[0] * numbers[1] ** 2
    *shape, size = numbers
    size = size if "@7" not in name else size - 2  # the one without a border
    return passes * shape[0] * shape[1] * shape[2] * (shape[3] if shape[3:] else 1) * size**2


def table(results):
    names = list(dict.fromkeys(what for counts, _ in results.values() for what in counts))
    rows = []
    for what in names:
        macs = dense_macs(what)
        cells = []
        for counts, _ in results.values():
            count = counts.get(what)
            cells += [f"{count:,}", f"{count / macs:.2f}"] if count else ["", ""]
        rows.append((what, *cells))
    header = ["", *(cell for board in results for cell in (board, "/MAC"))]
    print_table("Instructions, float32; per multiply-accumulate of dense work", header, rows)


def records_of(results, command):
    records = Records("layers", command)
    for board, (counts, _) in results.items():
        for what, count in counts.items():
            model, policy = what.split()
            per_mac = round(count / dense_macs(what), 4)
            records.add("instructions", count, "instructions", board, model, policy)
            records.add("instructions_per_mac", per_mac, "instructions", board, model, policy)
    return records


def missing_for(board):
    """The program that counts for a board, where it is not here."""
    program = "valgrind" if board == "x86-64" else emulator_for(board)
    return program if not shutil.which(program) else None


def measure_all(boards, flags=()):
    """{board: (counts, CRCs)}; printed and recorded. All boards must have learnt the same."""
    results = {}
    for board in boards:
        if missing_for(board):
            fail(f"missing {missing_for(board)}: {setup_env.advice([missing_for(board)])}")
        say(f"Counting on {board} ...")
        results[board] = measure(board, flags)
    table(results)
    for what in next(iter(results.values()))[1]:
        found = {crcs.get(what) for _, crcs in results.values()}
        if len(found) > 1 and not flags:
            fail(f"{what}: not the same parameters on {', '.join(results)}: {sorted(found)}")
    command = " ".join(["python3 scripts/layer_instructions.py", *(f"--flag={f}" for f in flags)])
    records_of(results, command).write()
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--board", action="append", choices=BOARDS, help="default: all")
    parser.add_argument("--flag", action="append", default=[], help="for the compiler: -DX=1")
    arguments = parser.parse_args()
    measure_all(arguments.board or BOARDS, arguments.flag)


if __name__ == "__main__":
    run_main(main)
