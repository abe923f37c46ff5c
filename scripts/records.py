"""Benchmark records: one flat list of {name, board, model, policy, dtype, metric, value, unit,
command} in JSON, and the same as a table. Needs rich (build/venv)."""

import json

from common import BUILD, say, short


class Records:
    """Collects records of one benchmark and writes build/bench/<name>.json."""

    def __init__(self, name, command):
        self.name = name
        self.command = command
        self.rows = []

    def add(self, metric, value, unit, board="unix", model="", policy="", dtype="f32", name=None):
        self.rows.append(
            {
                "name": name or self.name,
                "board": board,
                "model": model,
                "policy": policy,
                "dtype": dtype,
                "metric": metric,
                "value": value,
                "unit": unit,
                "command": self.command,
            }
        )

    def write(self, path=None):
        path = path or BUILD / "bench" / f"{self.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.rows, indent=1) + "\n")
        say(f"records: {short(path)}")


def print_table(title, header, rows):
    """A table on the terminal; the first column is text, the others are right-aligned."""
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for i, text in enumerate(header):
        table.add_column(text, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console = Console()
    # A table wider than the terminal (or a pipe) is printed whole rather than cut.
    wide = console.options.update(max_width=1000)
    console.width = max(console.width, Measurement.get(console, wide, table).maximum)
    console.print(table)
