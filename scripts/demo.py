"""The demo: a digit classifier learns on MicroPython's unix port, by full training, by TinyPropV2
and by TinyPropV2 with back-off; mean of five seeds.

Prints the table, draws build/demo/training.png, writes build/demo/results.json. It is the
experiment digits-mlp with fewer policies, always trained anew.
"""

import sys
import time
from pathlib import Path

from common import BUILD, ROOT, fail, run_main, say, short

sys.path.insert(0, str(Path(__file__).resolve().parent / "experiments"))
import report  # noqa: E402
import run  # noqa: E402
import runner  # noqa: E402
from experiment import Collection  # noqa: E402
from records import print_table  # noqa: E402

FOLDER = BUILD / "demo"
DIGITS = ROOT / "examples" / "digits"
POLICIES, SEEDS = ("Full", "TinyPropV2", "TinyPropV2+backoff"), 5
COLUMNS = (1, 2, 3, 4, 5, 8, 9)


def train(machine):
    """The outcome of the demo on this machine."""
    collection = Collection(["digits-mlp"])
    run.chosen(collection, POLICIES, SEEDS)
    return run.measure(run.prepare(collection, machine), machine, machine, fresh=True)[0]


def main():
    machine = runner.where("unix")
    if not DIGITS.is_dir():
        fail(f"{short(DIGITS)} is missing: it is part of the repository")
    started = time.monotonic()
    outcome = train(machine)
    n = sum(len(jobs) for jobs in outcome.policies.values())
    say(f"  {n} trainings in {time.monotonic() - started:.1f} s")
    FOLDER.mkdir(parents=True, exist_ok=True)
    report.draw_curves(outcome, FOLDER / "training.png")
    report.records_of([outcome], "digits", "make demo").write(FOLDER / "results.json")
    say(f"picture: {short(FOLDER / 'training.png')}")
    rows = [[row[i] for i in COLUMNS] for row in report.table_rows([outcome])]
    header = [report.HEADER[i] for i in COLUMNS]
    print_table(
        f"Digits, {outcome.model}, float32, batch 1; efforts: share of dense", header, rows
    )


if __name__ == "__main__":
    run_main(main)
