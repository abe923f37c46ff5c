"""RAM that training takes: the reference models under budgets, as in docs/memory.md.

    build/venv/bin/python scripts/memory.py                      # all, on the unix port
    build/venv/bin/python scripts/memory.py resnet8 --budget 220000
    build/venv/bin/python scripts/memory.py --boards             # also on emulated boards

A model with a budget has all its parameters outside (those of build/models/<model>.params where
scripts/pretrain.py made them, else drawn by a seed) and what it trains in the block. With --boards
the models run on the emulated RP2040 (LeNet) and Cortex-M7, where the parameters are in a ROMFS
image in memory, as in flash; every loss and the CRC of the trained parameters must be those of the
unix port. Records: build/bench/memory.json.
"""

import argparse
import json
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import build_qemu
import build_rp2
import sim_qemu
import sim_rp2
from common import BUILD, ROOT, fail, run_main, say
from make_romfs import romfs
from pretrain import FOLDER, MICROPYTHON, MODELS
from records import Records, print_table

JOB = ROOT / "scripts" / "memory_job.py"
MPREMOTE = BUILD / "venv" / "bin" / "mpremote"
STEPS = 2
# Name -> (file of examples/models, function, budget, board it is run on). 0: everything trains.
SETTINGS = {
    "lenet": ("lenet", "layers", 0, "RPI_PICO"),
    "lenet-48k": ("lenet", "layers", 48_000, None),
    "lenet5": ("lenet", "lenet5", 0, None),
    "lenet5-128k": ("lenet", "lenet5", 128_000, None),
    "ds_cnn": ("ds_cnn", "layers", 0, None),
    "ds_cnn-250k": ("ds_cnn", "layers", 250_000, "MPS2_AN500"),
    "ds_cnn-96k": ("ds_cnn", "layers", 96_000, None),
    "resnet8": ("resnet8", "layers", 0, None),
    "resnet8-250k": ("resnet8", "layers", 250_000, "MPS2_AN500"),
    "autoencoder": ("autoencoder", "layers", 0, None),
    "autoencoder-250k": ("autoencoder", "layers", 250_000, "MPS2_AN500"),
    "autoencoder-64k": ("autoencoder", "layers", 64_000, None),
    "mobilenet": ("mobilenet", "layers", 0, None),
    "mobilenet-250k": ("mobilenet", "layers", 250_000, "MPS2_AN500"),
}
DRAW = """
import sys
sys.path.insert(0, {models!r})
import tinyprop as tp, {model}
m = tp.Sequential({model}.{network}(), getattr({model}, "LOSS", "softmax_cross_entropy"))
with open({path!r}, "wb") as f:
    for i, y in enumerate(m.layers):
        if getattr(y, "_kind", 9) <= 3:
            f.write(m.weights(i))
            f.write(m.bias(i))
"""


def on_unix(script, arguments=()):
    command = [MICROPYTHON, "-X", "heapsize=64M", *arguments, "-c", script]
    if not MICROPYTHON.is_file():
        fail("build/bin/micropython does not exist: make build")
    run = subprocess.run(command, capture_output=True, text=True, cwd=MODELS)
    if run.returncode != 0:
        fail(run.stderr.strip().splitlines()[-1])
    return run.stdout


def parameters(model, network):
    """The file of a model's parameters: pretrained, or drawn."""
    pretrained = FOLDER / f"{model}.params"
    if network == "layers" and pretrained.is_file():
        return pretrained
    return drawn(model, network)


def drawn(model, network):
    path = FOLDER / "drawn" / f"{model}-{network}.params"
    path.parent.mkdir(parents=True, exist_ok=True)
    on_unix(DRAW.format(models=str(MODELS), model=model, network=network, path=str(path)))
    return path


def job_of(model, network, budget, contributions=None):
    job = {"model": model, "network": network, "budget": budget, "steps": STEPS}
    if contributions:
        job["contributions"] = contributions
    if budget:
        job["file"] = str(parameters(model, network))
    return job


def run_on_unix(job):
    with tempfile.NamedTemporaryFile("w", suffix=".py") as f:
        # -c takes no long text.
        f.write(f"JOB = {job!r}\n{JOB.read_text()}")
        f.flush()
        script = f"import sys; sys.path.insert(0, {str(MODELS)!r}); exec(open({f.name!r}).read())"
        return json.loads(on_unix(script))


@contextmanager
def board_running(board, image):
    """Serial port of an emulated board; image: what lies in its memory at sim_qemu.MAPPED."""
    with tempfile.TemporaryDirectory() as folder:
        if board == "RPI_PICO":
            firmware = build_rp2.build_rp2(board) / "firmware.bin"
            with sim_rp2.running(firmware, Path(folder) / "flash.bin") as port:
                yield port
            return
        (Path(folder) / "image").write_bytes(image)
        elf = build_qemu.build_qemu(board)
        with sim_qemu.running(board, elf, mapped=Path(folder) / "image") as port:
            yield port


def run_on_board(board, job):
    """The job's result on an emulated board."""
    job, image = dict(job), b""
    if job["budget"]:
        file = Path(job["file"])
        image = romfs({file.name: file.read_bytes()})
        job.update(file=file.name, romfs=[sim_qemu.MAPPED, len(image)])
    with board_running(board, image) as port:
        command = [MPREMOTE, "connect", port, "mount", MODELS, "exec", f"JOB = {job!r}"]
        run = subprocess.run([*command, "run", JOB], capture_output=True, text=True, timeout=300)
    if run.returncode != 0:
        fail(f"{board}: {(run.stdout + run.stderr).strip().splitlines()[-1]}")
    return json.loads(next(line for line in run.stdout.splitlines() if line.startswith("{")))


def parts(train):
    """What trains, in a few words: the layers with weights from the first to the last."""
    marks = {True: "all", False: "-", "bias": "b"}
    return " ".join(str(marks.get(part, part)) for part in train or ["all"])


def layers(text):
    """Numbers of 1,3-5."""
    ends = [list(map(int, part.split("-"))) for part in text.split(",")]
    return [i for end in ends for i in range(end[0], end[-1] + 1)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", help=", ".join(SETTINGS))
    parser.add_argument("--budget", type=int, help="another one, in bytes")
    parser.add_argument("--recompute", type=layers, default=(), help="layers, such as 1,3-5")
    parser.add_argument("--contributions", type=Path, help="table of scripts/contributions.py")
    parser.add_argument("--boards", action="store_true", help="also on emulated boards")
    a = parser.parse_args()
    unknown = [name for name in a.settings if name not in SETTINGS]
    if unknown:
        fail(f"no setting {unknown[0]}: there is {', '.join(SETTINGS)}")
    table = json.loads(a.contributions.read_text()) if a.contributions else None
    records, rows = Records("memory", "build/venv/bin/python scripts/memory.py"), []
    for name in a.settings or SETTINGS:
        model, network, budget, board = SETTINGS[name]
        job = job_of(model, network, budget if a.budget is None else a.budget, table)
        job["recompute"] = a.recompute
        result = run_on_unix(job)
        plan = result["plan"]
        where = "unix"
        if a.boards and board:
            there = run_on_board(board, job)
            for key in ("plan", "losses", "crc"):
                if there[key] != result[key]:
                    fail(f"{name}: {key} {there[key]} on {board}, {result[key]} on unix")
            where = board
            records.add("heap_bytes", there["heap"], "B", board, name, "Full")
        names = ("total", "parameters", "activations", "scratch", "external")
        figures = [f"{plan[n]:,}" for n in names]
        rows.append(
            (name, *figures, f"{sum(result['macs']):,}", where, parts(result.get("train")))
        )
        records.add("block_bytes", plan["total"], "B", where, name, "Full")
        say(f"{name}: {plan['total']} bytes ({where})")
    header = ("model", "block", "parameters", "activations", "scratch", "outside", "full MACs")
    print_table("RAM to train, batch 1, SGD: bytes", (*header, "ran on", "trains"), rows)
    records.write()


if __name__ == "__main__":
    run_main(main)
