"""What came out of experiments: means over the seeds, the table, records, pictures."""

import statistics
from dataclasses import dataclass, field

from common import say, short
from records import Records, print_table

METRICS = {
    "accuracy": "%",
    "effort_backward": "share",
    "effort_total": "share",
    "policy_effort_backward": "share",
    "policy_effort_total": "share",
    "skipped_share": "share",
    "block_bytes": "B",
}
EFFORTS = list(METRICS)[1:5]
HEADER = ("data set", "policy", "accuracy %", "points", "backward", "total")
HEADER += ("backward*", "total*", "skipped", "bytes")
# What stands behind a heading. fit: 100 - 100 * loss, the share of the variance of standardised
# targets that a net explains.
NAMES = {"accuracy": "", "auc": " (AUC)", "fit": " (fit)"}
NOTE = "* as the policy asked, as if zeros were multiplied too"
NONE = "no fine-tuning"


@dataclass
class Outcome:
    """All jobs of one experiment: policies[label] = [(seed, who, job)]."""

    name: str
    title: str
    model: str
    metric: str
    board: str
    policies: dict = field(default_factory=dict)

    def row(self, policy):
        """{metric: mean over the seeds}, std: the deviation of the accuracy between seeds."""
        jobs = self.policies[policy]
        row = {m: statistics.fmean(j.result[m] for _, _, j in jobs) for m in METRICS}
        row["std"] = self._deviation(jobs, "accuracy")
        return row

    def before(self):
        """The row of the pretrained net as it is, or None where nothing was trained before."""
        jobs = next(iter(self.policies.values()))
        if "before" not in jobs[0][2].result:
            return None
        row = dict.fromkeys(METRICS, 0.0)
        row["accuracy"] = statistics.fmean(j.result["before"] for _, _, j in jobs)
        row["block_bytes"] = jobs[0][2].result["block_bytes"]
        row["std"] = self._deviation(jobs, "before")
        return row

    @staticmethod
    def _deviation(jobs, metric):
        by_seed = {}
        for seed, _, job in jobs:
            by_seed.setdefault(seed, []).append(job.result[metric])
        means = [statistics.fmean(values) for values in by_seed.values()]
        return statistics.stdev(means) if len(means) > 1 else 0.0

    def rows(self):
        """{policy: row}, where it applies with one for no fine-tuning."""
        before = self.before()
        rows = {NONE: before} if before else {}
        return {**rows, **{policy: self.row(policy) for policy in self.policies}}

    def heading(self):
        model = self.model[4:] if self.model.startswith("mlp-") else self.model
        return f"{self.title}, {model}{NAMES[self.metric]}"


def _cells(row, full):
    points = f"{row['accuracy'] - full['accuracy']:+.2f}" if full else ""
    cells = [f"{row['accuracy']:.2f} ± {row['std']:.2f}", points]
    cells += [f"{row[m]:.4f}" for m in EFFORTS]
    return (*cells, f"{100 * row['skipped_share']:.1f} %", f"{row['block_bytes']:.0f}")


def table_rows(outcomes, chosen=None):
    """The table, and below it the means over the experiments (`chosen`: names, {label: names}, or
    all)."""
    lines = []
    for outcome in outcomes:
        rows = outcome.rows()
        for i, (policy, row) in enumerate(rows.items()):
            heading = outcome.heading() if i == 0 else ""
            lines.append((heading, policy, *_cells(row, rows.get("Full"))))
    return lines + _mean_rows(outcomes, chosen)


def means(outcomes, chosen=None):
    """{policy: row} over the experiments, with points (mean) and least (worst) against Full; empty
    where one of the chosen is missing, or where there is only one."""
    rows = {o.name: o.rows() for o in outcomes if chosen is None or o.name in chosen}
    wanted = chosen or list(rows)
    if len(wanted) < 2 or any("Full" not in rows.get(name, {}) for name in wanted):
        return {}
    result = {}
    for policy in rows[wanted[0]]:
        if not all(policy in rows[name] for name in wanted):
            continue
        mine = [rows[name][policy] for name in wanted]
        lost = [r["accuracy"] - rows[name]["Full"]["accuracy"] for r, name in zip(mine, wanted)]
        mean = {m: statistics.fmean(r[m] for r in mine) for m in METRICS}
        result[policy] = {**mean, "points": statistics.fmean(lost), "least": min(lost)}
    return result


def _mean_rows(outcomes, chosen):
    lines = []
    for label, names in chosen.items() if isinstance(chosen, dict) else [("", chosen)]:
        heading = f"mean of {len(names or outcomes)}{': ' * bool(label)}{label}"
        for policy, row in means(outcomes, names).items():
            change = f"{row['points']:+.2f} (least {row['least']:+.2f})"
            cells = [f"{row['accuracy']:.2f}", change, *(f"{row[m]:.4f}" for m in EFFORTS)]
            cells += [f"{100 * row['skipped_share']:.1f} %", ""]
            lines.append((heading, policy, *cells))
            heading = ""
    return lines


def markdown(header, rows, left=2):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * left]
    lines[1] += "---:|" * (len(header) - left)
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n"


def records_of(outcomes, name, command):
    records = Records(name, command)
    for outcome in outcomes:
        for policy, row in outcome.rows().items():
            where = {"board": outcome.board, "model": outcome.model, "policy": policy}
            for metric, unit in {**METRICS, "accuracy_std": "points"}.items():
                value = row["std" if metric == "accuracy_std" else metric]
                label = metric.replace("accuracy", outcome.metric)
                records.add(label, value, unit, name=outcome.name, **where)
    return records


# --- Pictures ---


def _pyplot():
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _curve(jobs, key):
    """(samples seen, mean over the jobs) at the points that have the value."""
    points = [[p for p in job.points if key in p and p["epoch"] > 0] for _, _, job in jobs]
    if not points or not all(points):
        return [], []
    rows = list(zip(*points))
    seen = [statistics.fmean(p["seen"] for p in row) for row in rows]
    return seen, [statistics.fmean(p[key] for p in row) for row in rows]


def draw_curves(outcome, path):
    """Accuracy and both efforts over the samples seen."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    panels = [
        ("accuracy", f"{NAMES[outcome.metric].strip(' ()') or outcome.metric} (%)"),
        ("effort_backward", "backward effort so far (share of dense)"),
        ("effort_total", "total effort so far (share of dense)"),
    ]
    for axis, (key, title) in zip(axes, panels):
        for i, (policy, jobs) in enumerate(outcome.policies.items()):
            axis.plot(*_curve(jobs, key), "k-" if policy == "Full" else f"C{i}-", label=policy)
        axis.set(title=title, xlabel="training steps (samples seen)")
        axis.grid(alpha=0.3)
        if key != "accuracy":
            axis.set_ylim(bottom=0)
    axes[0].legend()
    jobs = next(iter(outcome.policies.values()))
    figure.suptitle(f"{outcome.heading()}, {outcome.board}, mean of {len(jobs)} runs")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def kept_rows(jobs):
    """(layer names, kept[layer][epoch]): the share of the errors (of a Dense: rows) kept by the
    samples that trained in each epoch, mean over the jobs; nan where none trained."""
    grids = []
    for _, _, job in jobs:
        grid, before = [], None
        for point in (p for p in job.points if "layers" in p):
            trained = point["trained"]
            total = [mean_k * trained for _, _, mean_k, _ in point["layers"]]
            last_trained, last = before or (0, [0] * len(total))
            n = trained - last_trained
            units = [units for _, units, _, _ in point["layers"]]
            grid.append([(t - s) / n / u if n else None for t, s, u in zip(total, last, units)])
            before = trained, total
        grids.append(grid)
    names = [name for name, *_ in jobs[0][2].result["layers"]]

    def mean(layer, epoch):
        known = [g[epoch][layer] for g in grids if g[epoch][layer] is not None]
        return statistics.fmean(known) if known else float("nan")

    return names, [[mean(i, e) for e in range(len(grids[0]))] for i in range(len(names))]


def draw_layers(outcome, path):
    """A heat map for each policy: which share of its errors each layer kept, epoch by epoch."""
    policies = {p: jobs for p, jobs in outcome.policies.items() if p != "Full"}
    if not policies:
        return False
    pyplot = _pyplot()
    layers = len(next(iter(policies.values()))[0][2].result["layers"])
    size = (3.4 * len(policies) + 1, 2 + 0.35 * layers)
    figure, axes = pyplot.subplots(
        1, len(policies), figsize=size, layout="constrained", squeeze=False
    )
    for axis, (policy, jobs) in zip(axes[0], policies.items()):
        names, kept = kept_rows(jobs)
        image = axis.imshow(
            kept, aspect="auto", vmin=0, vmax=1, extent=(0.5, len(kept[0]) + 0.5, len(kept), 0)
        )
        axis.set(title=policy, xlabel="epoch")
        axis.set_yticks([i + 0.5 for i in range(len(names))], names)
    figure.colorbar(image, ax=axes[0][-1], label="share of the errors kept")
    figure.suptitle(outcome.heading())
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True


def commands(outcomes):
    """How to make the rows of each experiment by themselves."""
    rows = []
    for o in outcomes:
        seeds = {seed for seed, *_ in next(iter(o.policies.values()))}
        rows.append((o.heading(), f"`make experiments SET={o.name} SEEDS={len(seeds)}`"))
    return "Each by itself, with `DATA=folder`:\n\n" + markdown(("rows", "command"), rows)


def write(outcomes, collection, command, folder, document=None):
    """Table on the terminal; records, table and pictures into the folder; the document, with the
    collection's words before the table, where it is asked for."""
    rows = table_rows(outcomes, collection.mean)
    if collection.rows == "means":
        rows = _mean_rows(outcomes, collection.mean) or rows
    print_table(f"{collection.title}; efforts: share of dense training", HEADER, rows)
    say(NOTE)
    folder.mkdir(parents=True, exist_ok=True)
    records_of(outcomes, collection.name, command).write(folder / "results.json")
    (folder / "table.md").write_text(markdown(HEADER, rows))
    for outcome in outcomes:
        draw_curves(outcome, folder / f"{outcome.name}.png")
        draw_layers(outcome, folder / f"{outcome.name}-layers.png")
    say(f"table and pictures: {short(folder)}")
    if document:
        words = [f"# {collection.title}", collection.intro.strip()] if collection.intro else []
        text = [*words, markdown(HEADER, rows)]
        if collection.commands:
            text.append(commands(outcomes))
        document.write_text("\n\n".join(text))
