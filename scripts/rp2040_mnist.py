"""Cycles of a training sample of real images on the RP2040: MNIST, TinyPropV2, epochs 2 to 5.

The unix port trains the epochs before; its checkpoint and the first samples of the epoch go to the
emulated board, which trains on and counts each step by its SysTick timer. Both must end with the
same weights. Integers: each of the epochs, their mean, and what the worst of them takes against
the target; float32 and Full, which takes the same in each: the first of them. Records:
build/bench/rp2040_mnist.json.
"""

import argparse
import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import make_dataset
import sim_rp2
from build_unix import build_unix
from common import BUILD, fail, run_main, say, short
from records import Records, print_table
from rp2040_cycles import BOARD, CLOCK_MHZ, COUNT, MPREMOTE, on_board

# Cycles a sample, mlp-784-64-10 TinyPropV2; with back-off as well.
TARGETS = {"f32": (2_000_000, None), "i16": (150_000, 80_000), "i8": (150_000, 80_000)}
RUNS = (
    *((64, "TinyPropV2", dtype) for dtype in TARGETS),
    *((64, "Full", dtype) for dtype in ("i16", "i8")),
    *((32, policy, "f32") for policy in ("TinyPropV2", "Full")),
)
EPOCHS = (2, 3, 4, 5)
SAMPLES = 200

CRC = """
import tinyprop as tp, _tinyprop
def crc(m):
    return _tinyprop.crc32(memoryview(m._m.block)[:m.plan()["persist"]])
"""
EPOCHS_BEFORE = """
import sys
folder, hidden, n, policy, dtype, epoch = sys.argv[1:]
hidden, n, epoch = int(hidden), int(n), int(epoch)
data = tp.Dataset(folder + "/train.tpd")
def model(policy):
    return tp.Sequential(
        [data.input(), tp.Flatten(), tp.Dense(hidden, activation="relu"), tp.Dense(10)],
        optimizer=tp.SGD(lr=0.01), policy=policy, seed=1, dtype=dtype)
# With back-off: what becomes of the samples of that epoch.
m = model(tp.TinyPropV2(backoff=8))
def after(info):
    if info["epoch"] == epoch - 1:
        m.reset_stats()
m.fit(data, epochs=epoch, callback=after, verbose=0)
s = m.stats()
print("SHARES", s["skipped"] / s["seen"], s["trained"] / s["seen"])
m = model(getattr(tp, policy)())
m.fit(data, epochs=epoch - 1, verbose=0)
m.reset_stats()
m.save(folder + "/m.tp")
# The order of the epoch.
with tp.Dataset.create(folder + "/next.tpd", data.shape, classes=10, scale=data.scale) as few:
    for i in range(n):
        x, y = data[_tinyprop.permute(i, len(data), m.seed + 7919 * (epoch - 1))]
        few.append(x, y)
few = tp.Dataset(folder + "/next.tpd")
for i in range(n):
    m.train_step(*few[i])
s = m.stats()
print("RESULT", s["trained"], s["effort_total"], m.plan()["total"], crc(m))
"""
# The largest model takes most of the heap: its block is there before anything is compiled.
RESERVE = "room = bytearray(%d)"
LOAD = """
from tinyprop import sequential
sequential.new_block = lambda n: room
def load():
    return tp.load("m.tp"), tp.Dataset("next.tpd")
"""
EPOCH = """
def nothing(x, y):
    pass
def go(n):
    m, few = load()
    x = few.x
    few.read(0)
    empty = min([count(nothing, x, 0) for _ in range(5)])
    step, counters, sums = m.train_step, m._m.counters, [0, 0]
    for i in range(n):
        y = few.read(i)
        before = counters()[1]
        cycles = count(step, x, y) - empty
        sums[counters()[1] - before] += cycles
    print("RESULT", sums[0], sums[1], m.stats()["trained"], crc(m))
"""
SPLIT = """
def split(n):
    m, few = load()
    sums, trains = {}, 0
    for i in range(n):
        for line in m.profile(*few[i]):
            for key in ("forward", "select", "dx", "update"):
                k = line["layer"] + ":" + key
                sums[k] = sums.get(k, 0) + line[key]
    for k in sums:
        print("SPLIT", k, sums[k] / n)
"""


def epochs_before(folder, hidden, samples, policy, dtype, epoch=2):
    """Train on the host; (samples trained, effort, bytes of the model, CRC) after those behind,
    and the shares of samples skipped and trained in the epoch with back-off."""
    script = folder / "first.py"
    script.write_text(CRC + EPOCHS_BEFORE)
    command = [
        BUILD / "bin" / "micropython",
        "-X",
        "heapsize=8M",
        script,
        folder,
        str(hidden),
        str(samples),
        policy,
        dtype,
        str(epoch),
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"training on the host: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    trained, effort, block, crc = done.stdout.split("RESULT")[1].split()
    shares = tuple(map(float, done.stdout.split("SHARES")[1].split()[:2]))
    return int(trained), float(effort), int(block), int(crc), shares


def put(port, *files):
    command = [MPREMOTE, "connect", port, "cp", *files, ":"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"copying to the board: {(done.stderr.strip() or 'no message').splitlines()[-1]}")


def measure(port, folder, hidden, samples, policy="TinyPropV2", dtype="f32", epoch=2):
    """(cycles a sample, the same with back-off, share trained, total effort, bytes of the model)
    of an epoch. With back-off: the cycles of a sample skipped and of one trained, in the shares
    that there are of them; the others wait."""
    trained, effort, block, crc, shares = epochs_before(
        folder, hidden, samples, policy, dtype, epoch
    )
    put(port, folder / "m.tp", folder / "next.tpd")
    code = CRC + LOAD + COUNT + EPOCH + f"go({samples})"
    output = on_board(port, RESERVE % block, code, timeout=3600)
    skips, trains, board_trained, board_crc = map(int, output.split("RESULT")[1].split())
    if (board_trained, board_crc) != (trained, crc):
        fail(f"board and host disagree: {board_trained} and {trained} samples trained")
    each = skips / max(samples - trained, 1), trains / max(trained, 1)
    waiting = sum(share * cycles for share, cycles in zip(shares, each))
    return (skips + trains) / samples, waiting, trained / samples, effort, block


def measure_split(port, block, samples):
    """{(layer, pass): cycles} of the model that is on the board, as profile() tells."""
    code = CRC + LOAD + SPLIT + f"split({samples})"
    output = on_board(port, RESERVE % block, code, timeout=3600)
    split = {}
    for line in output.splitlines():
        if line.startswith("SPLIT"):
            name, us = line.removeprefix("SPLIT ").rsplit(" ", 1)
            split[tuple(name.split(":"))] = float(us) * CLOCK_MHZ
    return split


def measure_board(train, samples, hidden, policy, dtype, epoch, splits):
    """(what measure() gives, {(layer, pass): cycles} if it splits) of a board of its own."""
    say(f"MNIST, 784-{hidden}-10, {policy}, {dtype}: trained here up to epoch {epoch} ...")
    firmware = BUILD / "firmware" / BOARD / "firmware.bin"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "train.tpd").symlink_to(train)
        with sim_rp2.running(firmware, folder / "flash.bin") as port:
            result = measure(port, folder, hidden, samples, policy, dtype, epoch)
            split = measure_split(port, result[-1], min(samples, 30)) if splits else {}
    return result, split


def measure_all(data, samples=SAMPLES, epochs=EPOCHS, dtypes=tuple(TARGETS)):
    """[(what, cycles, "<=", target)], of several epochs for the worst; None where MNIST or the
    firmware is not there."""
    firmware = BUILD / "firmware" / BOARD / "firmware.bin"
    npz = Path(data) / "mnist.npz"
    for path, remedy in (
        (npz, "DATA=folder"),
        (firmware, "make firmware"),
        (MPREMOTE, "make setup"),
    ):
        if not path.is_file():
            say(f"MNIST on the RP2040: not measured, {short(path)} does not exist: {remedy}")
            return None
    records = Records("rp2040_mnist", "python3 scripts/rp2040_mnist.py --data folder")
    rows, targets, split = [], [], {}
    x, y = make_dataset.read_arrays(npz, ["x_train", "y_train"])
    build_unix()
    sim_rp2.install_emulator()
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(2) as boards:
        train = Path(temporary) / "train.tpd"
        train.write_bytes(make_dataset.to_bytes(x, y, 10, [1 / 255]))
        running = {}
        for run in RUNS:
            hidden, policy, dtype = run
            several = policy == "TinyPropV2" and dtype != "f32"
            for epoch in epochs if several else epochs[:1]:
                if dtype in dtypes:
                    splits = (hidden, policy) == (32, "TinyPropV2")
                    job = boards.submit(measure_board, train, samples, *run, epoch, splits)
                    running.setdefault(run, {})[epoch] = job
        for (hidden, policy, dtype), jobs in running.items():
            model, sparse, results = f"mlp-784-{hidden}-10", policy == "TinyPropV2", {}
            measured = list(jobs)
            for epoch, job in jobs.items():
                (*results[str(epoch)], _), passes = job.result()
                split.update(passes)
            worst = [max(column) for column in zip(*results.values())]
            span = f"{measured[0]}"
            if len(measured) > 1:
                span += f"-{measured[-1]}"
                results[span] = [sum(c) / len(measured) for c in zip(*results.values())]
            for epoch, (cycles, waiting, trained, effort) in results.items():
                rows.append(
                    (
                        f"{model} {dtype}",
                        policy,
                        epoch,
                        f"{cycles:,.0f}",
                        f"{waiting:,.0f}" if sparse else "",
                        f"{trained:.0%}",
                        f"{effort:.3f}",
                    )
                )
                name = "rp2040_mnist" if epoch == "2" else f"rp2040_mnist-epoch-{epoch}"
                for metric, value, unit in (
                    ("cycles_per_sample", round(cycles), "cycles"),
                    ("trained_share", trained, "1"),
                    ("effort_total", effort, "1"),
                    *([("cycles_per_sample_backoff", round(waiting), "cycles")] if sparse else []),
                ):
                    records.add(metric, value, unit, BOARD, model, policy, dtype, name=name)
            if hidden == 64 and sparse:
                what = f"RP2040: MNIST, epoch {span}, {model} {dtype} {policy}, cycles a sample"
                what += ", worst epoch" if len(measured) > 1 else ""
                for how, value, most in zip(("", ", back-off"), worst, TARGETS[dtype]):
                    targets += [(what + how, value, "<=", most)] if most else []
    title = f"MNIST on the emulated RP2040, {samples} samples of each epoch"
    header = ("model", "policy", "epoch", "cycles a sample", "with back-off", "trained", "effort")
    print_table(title, header, rows)
    passes = ("forward", "select", "dx", "update")
    layers = list(dict.fromkeys(layer for layer, _ in split))
    lines = [(name, *(f"{split[name, p]:,.0f}" for p in passes)) for name in layers]
    if lines:
        print_table("Cycles by pass, mlp-784-32-10, of samples that train", ("", *passes), lines)
    for (layer, name), cycles in split.items():
        model = "mlp-784-32-10"
        records.add(f"cycles_{name}", round(cycles), "cycles", BOARD, model, f"TinyPropV2 {layer}")
    records.write()
    return targets


def epochs_of(text):
    """(2, 3, 4, 5) of "2-5", (2,) of "2"."""
    first, _, last = text.partition("-")
    numbers = tuple(range(int(first), int(last or first) + 1))
    if not numbers or numbers[0] < 2:
        raise ValueError(text)
    return numbers


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("DATA"), help="folder of mnist.npz")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument(
        "--epochs", type=epochs_of, default=EPOCHS, help="which are measured, from 2 on: 2 or 2-5"
    )
    parser.add_argument("--dtype", action="append", choices=TARGETS, help="default: all")
    arguments = parser.parse_args()
    if not arguments.data:
        fail("no folder given: --data FOLDER, or DATA=FOLDER")
    dtypes = arguments.dtype or TARGETS
    if measure_all(arguments.data, arguments.samples, arguments.epochs, dtypes) is None:
        fail("not measured")


if __name__ == "__main__":
    run_main(main)
