"""Run experiments: `make experiments SET=quick`, or run.py NAME-OR-FILE ... (sets/*.toml).

Trains every policy with every seed on MicroPython, prints the table of accuracy and effort, and
writes build/experiments/<name>/: results.json (records), table.md, pictures. A run that was
interrupted goes on where it was.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import parts  # noqa: E402
import report  # noqa: E402
import runner  # noqa: E402
from common import BUILD, ROOT, fail, run_main, say  # noqa: E402
from experiment import SETS, Collection  # noqa: E402
from records import print_table  # noqa: E402

# The share of the dense backward pass that a job is taken to do, to guess its time.
SHARE = {"Full": 1.0, "TopK": 0.3, "TinyProp": 0.3, "TinyPropV2": 0.15}


def model_of(experiment):
    """(the model of a job, files it needs, its name or None where its size has to tell)."""
    model = experiment.model
    if "file" in model:
        name = Path(model["file"]).stem
        arguments = model.get("arguments", {})
        path = ROOT / model["file"]
        files = {"net.py": (path, runner.digest(path.read_bytes()))}
        return {"module": "net", "arguments": arguments}, files, model.get("name", name)
    kinds = {layer["layer"] for layer in model["layers"]}
    name = model.get(
        "name", None if kinds <= {"Dense", "Flatten", "ReLU", "Activation"} else "cnn"
    )
    return {"layers": model["layers"]}, {}, name


class Planned:
    """An experiment with its data, and the jobs that make it: `before` trains what a fine-tuning
    starts from, jobs = [(policy, seed, who, job)]."""

    def __init__(self, experiment, cases, unix):
        self.experiment, self.cases = experiment, cases
        self.net, self.files, self.model = model_of(experiment)
        self.block_bytes = 0
        self.size = self._probe(unix)
        self.block_bytes = self.size["block_bytes"]
        if self.model is None:
            units = [y["units"] for y in self.net["layers"] if y["layer"] == "Dense"]
            sizes = [self.size["inputs"], *units[:-1], self.size["outputs"]]
            self.model = "-".join(map(str, ["mlp", *sizes]))
        self.before, self.jobs = [], []
        for seed in experiment.seeds:
            for case in cases:
                self._add(seed, case)

    def _job(self, label, table, policy, seed, train, test=None, **more):
        """A training as the table [training] or [finetune] says."""
        e = self.experiment
        options = {**e.optimizer, "lr": table["lr"]}
        settings = runner.settings(
            model=self.net,
            loss=e.loss,
            batch_size=e.batch_size,
            optimizer=[options.pop("kind"), options],
            policy=policy,
            rates=runner.hex_rates(e.rates(table)),
            seed=seed,
            tests=test is not None,
            block_bytes=self.block_bytes,
            **more,
        )
        files = {"train.tpd": (train.path, train.digest), **self.files}
        if test:
            files["test.tpd"] = (test.path, test.digest)
        job = runner.Job(f"{e.name}, {label}", settings, files)
        if not settings["describe"]:
            job.cost = self._seconds(policy[0], train.n, test.n if test else 0, table["epochs"])
        return job

    def _probe(self, unix):
        """Make the model and predict once, with each policy: what is wrong is said at once, and
        how large the model is."""
        e, case = self.experiment, self.cases[0]
        sizes = []
        for label, policy in e.policies.items():
            more = {"trainable": e.trainable.get(label), "describe": True}
            job = self._job(label, e.training, policy, 1, case.before or case.train, **more)
            try:
                runner.run_job(job, unix)
            except runner.JobError as error:
                fail(f"{e.name}: {error}")
            sizes.append(job.result)
        return max(sizes, key=lambda size: size["block_bytes"])

    def _add(self, seed, case):
        e = self.experiment
        who = f"{case.who}, " if case.who else ""
        start = None
        if case.before:
            label = f"before {who}seed {seed}"
            start = self._job(
                label, e.training, ["Full", {}], seed, case.before, keep=["model.tp"]
            )
            self.before.append(start)
        more = {"curve": e.curve, "scores": e.metric == "auc", "before": start is not None}
        more["start"] = "start.tp" if start else ""
        for policy, spec in e.policies.items():
            label = f"{policy}, {who}seed {seed}"
            table = e.finetune or e.training
            more["trainable"] = e.trainable.get(policy)
            job = self._job(label, table, spec, seed, case.train, case.test, **more)
            job.start, job.scored = start, case.scored
            self.jobs.append((policy, seed, case.who, job))

    def _seconds(self, kind, n_train, n_test, epochs):
        """A guess of the time of one job on the unix port."""
        forward, backward = self.size["forward_macs"], self.size["backward_macs"]
        macs = n_train * (forward + SHARE.get(kind, 1) * backward)
        macs += n_test * forward * self.experiment.curve
        samples = n_train + n_test * self.experiment.curve
        return epochs * (macs / runner.MACS_PER_SECOND + samples * runner.SECONDS_PER_SAMPLE)

    def outcome(self, board):
        e = self.experiment
        result = report.Outcome(e.name, e.title, self.model, e.metric, board)
        for policy, seed, who, job in self.jobs:
            result.policies.setdefault(policy, []).append((seed, who, job))
        return result


def chosen(collection, policies=None, seeds=None, rates=None, epochs=None):
    """The experiments with what the command line changes."""
    for e in collection.experiments:
        if policies:
            unknown = [p for p in policies if p not in e.policies]
            if unknown:
                fail(f"{e.name} has no policy {unknown[0]!r}: {', '.join(e.policies)}")
            e.policies = {p: e.policies[p] for p in policies}
        if seeds:
            e.set_seeds(seeds)
        if epochs:
            (e.finetune or e.training)["epochs"] = epochs
    if rates:
        collection.experiments = [
            e.variant(f" lr={lr:g}", lr) for e in collection.experiments for lr in rates
        ]


def prepare(collection, unix, data=None, skip_bad=False, **limits):
    """The experiments whose data are there, with their jobs."""
    planned = []
    for e in collection.experiments:
        if e.metric == "auc" and limits.get("validation"):
            e.metric = "fit"  # there are no anomalies in a training part
        arrays = parts.arrays_of(e, data, skip_bad)
        if arrays is None:
            place = data or "no folder given: --data FOLDER, or DATA=FOLDER"
            missing = f"no {parts.wanted(e)} ({place})"
            if e.name not in collection.optional:
                fail(f"{e.name}: {missing}")
            say(f"skipped {e.name}: {missing}")
            continue
        planned.append(Planned(e, parts.cases(e, arrays, **limits), unix))
    if not planned:
        fail("no experiment left to run")
    return planned


def measure(planned, machine, unix, fresh=False):
    """Run all jobs; the outcomes."""
    before = [job for p in planned for job in p.before]
    if before:
        # What a fine-tuning starts from is trained here, wherever that runs.
        runner.run_jobs(before, unix, fresh)
    runner.run_jobs([job for p in planned for *_, job in p.jobs], machine, fresh)
    return [p.outcome(machine.name) for p in planned]


def show_plan(planned, workers):
    rows, total = [], 0.0
    for p in planned:
        size = p.size
        jobs = {}
        for job in (*p.before, *(job for *_, job in p.jobs)):
            job.set_key("")
            jobs[job.key] = job
        jobs = jobs.values()
        seconds = sum(job.cost for job in jobs) / workers
        total += seconds
        first = p.cases[0]
        cells = (first.train.n, first.test.n, f"{size['forward_macs']:,}")
        cells += (f"{size['backward_macs']:,}", f"{size['block_bytes']:,}", len(jobs))
        rows.append((p.experiment.name, p.model, *cells, runner.duration(seconds)))
    rows.append(("total", *[""] * 7, runner.duration(total)))
    header = ("experiment", "model", "train", "test", "forward MACs", "backward MACs")
    header += ("bytes", "jobs", "guess")
    print_table(f"Time is a guess for {workers} cores", header, rows)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = ", ".join(sorted(p.stem for p in SETS.glob("*.toml")))
    parser.add_argument("names", nargs="+", metavar="NAME", help=f"a .toml file, or: {known}")
    parser.add_argument("--data", default=os.environ.get("DATA"), help="folder of the data sets")
    parser.add_argument("--on", default="unix", help="unix, an emulated board, or a serial port")
    parser.add_argument("--workers", type=int, help="jobs at once (as many as there are cores)")
    parser.add_argument("--policies", nargs="+", metavar="POLICY")
    parser.add_argument("--seeds", type=int, default=os.environ.get("SEEDS"))
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--lr", nargs="+", type=float, help="try these learning rates")
    parser.add_argument(
        "--validation",
        type=int,
        nargs="?",
        const=7,
        metavar="SEED",
        help="test on a fifth of the training part instead, drawn by this seed",
    )
    parser.add_argument("--train-samples", type=int, help="at most so many to train with")
    parser.add_argument("--test-samples", type=int)
    parser.add_argument("--skip-bad", action="store_true", help="leave corrupt files out")
    parser.add_argument("--fresh", action="store_true", help="forget what was trained before")
    parser.add_argument("--plan", action="store_true", help="only say what it would take")
    parser.add_argument("--kept", type=Path, help="finished trainings (build/experiments)")
    parser.add_argument("--out", type=Path, help="instead of build/experiments/<name>")
    parser.add_argument("--markdown", type=Path, help="write the table with its text, too")
    return parser.parse_args(arguments)


def train(arguments):
    """Run what the command line says; (collection, outcomes), without outcomes for --plan."""
    a = parse(arguments)
    for name in ("workers", "seeds", "epochs", "validation", "train_samples", "test_samples"):
        value = getattr(a, name)
        if value is not None and value < 1:
            fail(f"--{name.replace('_', '-')} is {value}, allowed 1 and more")
    if a.data and not Path(a.data).is_dir():
        fail(f"no folder {a.data}")
    if a.kept:
        runner.JOBS, parts.FOLDER = a.kept / "jobs", a.kept / "data"
    collection = Collection(a.names)
    chosen(collection, a.policies, a.seeds, a.lr, a.epochs)
    unix = runner.where("unix")
    limits = {"train_limit": a.train_samples, "test_limit": a.test_samples}
    planned = prepare(collection, unix, a.data, a.skip_bad, validation=a.validation, **limits)
    machine = unix if a.on == "unix" else runner.where(a.on)
    machine.workers = a.workers or machine.workers
    if a.plan:
        show_plan(planned, machine.workers)
        return collection, []
    outcomes = measure(planned, machine, unix, a.fresh)
    # The command as anyone can repeat it: without a folder of this machine.
    words = [w for i, w in enumerate(arguments) if "--data" not in (w, *arguments[i - 1 : i])]
    command = " ".join(["scripts/experiments/run.py", *words])
    name = collection.name if machine is unix else f"{collection.name}-{Path(machine.name).name}"
    folder = a.out or BUILD / "experiments" / name
    report.write(outcomes, collection, command, folder, a.markdown)
    return collection, outcomes


def main():
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    train(sys.argv[1:])


if __name__ == "__main__":
    run_main(main)
