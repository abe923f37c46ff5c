"""With any size of heap the unix port ends in success or in a MemoryError, never otherwise."""

import subprocess

import pytest

SESSION = """
import tinyprop as tp
from array import array
import os
m = tp.Sequential([tp.Input(16), tp.Dense(24, "relu"), tp.Dense(4)], optimizer=tp.Adam())
x = array("f", [0.5] * 16)
data = [(x, i % 4) for i in range(20)]
m.fit(data, epochs=2, validation=0.2)
m.train_step(x, 1)
print(m.stats(), m.evaluate(data))
m.summary()
m.save("m.tp")
m = tp.load("m.tp")
d = tp.Dataset.create("d.tpd", 16, "f32", classes=4)
for x, y in data:
    d.append(x, y)
m.fit(d, verbose=0)
m.copy().predict(x)
os.remove("m.tp")
os.remove("d.tpd")
print("END")
"""


def heap_sizes():
    # Fine steps where the session just fits, coarser ones around.
    return [*range(4096, 20480, 1536), *range(20480, 90112, 608), 200_000]


@pytest.mark.parametrize("part", range(4))
def test_small_heaps_end_in_success_or_memory_error(mpy, tmp_path, part):
    script = tmp_path / "session.py"
    script.write_text(SESSION)
    ends = set()
    for size in heap_sizes()[part::4]:
        for name in ("m.tp", "m.tp.tmp", "d.tpd"):
            (tmp_path / name).unlink(missing_ok=True)
        done = subprocess.run(
            [mpy, "-X", f"heapsize={size}", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode == 0:
            assert done.stdout.endswith("END\n"), size
            ends.add("success")
        else:
            # The interpreter itself may lack memory for more than the name.
            assert done.returncode == 1, (size, done.returncode, done.stderr)
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]
            assert last.startswith("MemoryError"), (size, done.stderr)
            ends.add("MemoryError")
            # Neither half a checkpoint nor half a data set is taken for a whole one.
            assert not (tmp_path / "m.tp.tmp").exists(), size
    assert "MemoryError" in ends
    if part == 0:
        assert "success" in ends
