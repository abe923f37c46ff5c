"""The second core of the emulated RP2040: MicroPython's threads on it, and tinyprop's worker."""

import re

import pytest
from test_rp2 import board, firmware, flash, mpremote, port, tools  # noqa: F401

# Names are made before the second thread looks them up: dictionaries are not made for two.
THREADS = """
import _thread, time, machine
CPUID = 0xd0000000
done, going, lock, turns = [], [1], _thread.allocate_lock(), [0]
def sums(n):
    total = 0
    for i in range(n):
        total += i
    done.append((_thread.get_ident(), machine.mem32[CPUID], total))
def count():
    while going:
        with lock:
            turns[0] += 1
def main():
    _thread.start_new_thread(sums, (1000,))
    while not done:
        pass
    print(done[0], _thread.get_ident(), machine.mem32[CPUID])
    time.sleep_ms(5)
    _thread.start_new_thread(count, ())
    for k in range(3):
        before = turns[0]
        with open("t_thread.txt", "w") as f:
            f.write(str(k) * 3000)
        time.sleep_ms(5)
        with lock:
            print(turns[0] > before, open("t_thread.txt").read() == str(k) * 3000)
    going.clear()
    time.sleep_ms(5)
main()
"""


def test_threads_of_micropython_run_on_core_1_and_wait_while_flash_is_written(mpremote):  # noqa: F811
    out = mpremote("exec", THREADS).splitlines()
    assert out == ["(2, 1, 499500) 1 0"] + ["True True"] * 3


# Widths at which rows of weights share words, maps, zeros in the input.
SAME = """
import gc, random
import tinyprop as tp, _tinyprop
from array import array
def dense(): return [tp.Input((51,)), tp.Dense(43, activation="relu"), tp.Dense(37), tp.Dense(5)]
def maps(): return [tp.Input((9, 9, 2)), tp.Conv2D(9, 5, activation="relu"), tp.MaxPooling2D(),
                    tp.Flatten(), tp.Dense(33, activation="relu"), tp.Dense(5)]
def train(layers, dtype, policy, zeros):
    if dtype != "f32":
        layers[0] = tp.Input(layers[0].shape, scale=1 / 128)
    m = tp.Sequential(layers, dtype=dtype, policy=policy, seed=2, optimizer=tp.SGD(lr=0.03125))
    random.seed(3)
    n = 1
    for k in layers[0].shape: n *= k
    for step in range(12):
        x = [0 if random.randrange(100) < zeros else random.randrange(-128, 128) for i in range(n)]
        x = array("f", [v / 128 for v in x]) if dtype == "f32" else array("b", x)
        m.train_step(x, step % 5)
    m.save("t_cores.tp")
    crc = 0
    with open("t_cores.tp", "rb") as f:
        while True:
            piece = f.read(512)
            if not piece:
                return crc
            crc = _tinyprop.crc32(piece, crc)
for layers in (dense, maps):
    for dtype in ("f32", "i16", "i8"):
        for policy, zeros in ((tp.Full(), 0), (tp.TinyPropV2(), 70)):
            got = []
            for n in (1, 2):
                tp.cores(n)
                gc.collect()
                got.append(train(layers(), dtype, policy, zeros))
            same = got[0] == got[1]
            print(layers.__name__, dtype, type(policy).__name__, tp.cores(), same, got[0])
"""


def test_two_cores_give_the_weights_of_one_bit_for_bit(mpremote):  # noqa: F811
    out = mpremote("exec", SAME, timeout=200).splitlines()
    assert len(out) == 12 and all(" 2 True " in line for line in out), out
    assert len({line.split()[-1] for line in out}) == 12


FASTER = """
import machine, tinyprop as tp
from array import array
SYST = 0xE000E010
def cycles(dtype, units, n):
    m = tp.Sequential([tp.Input((784,), **({"scale": 1 / 255} if dtype != "f32" else {})),
                       tp.Dense(units, activation="relu"), tp.Dense(10)],
                      dtype=dtype, policy=tp.Full(), seed=1)
    x = bytes(i % 250 + 1 for i in range(784)) if dtype != "f32" else array("f", [0.5] * 784)
    tp.cores(n)
    best = 1 << 24
    for step in range(3):
        mem = machine.mem32
        mem[SYST + 4] = 0xFFFFFF
        mem[SYST + 8] = 0
        mem[SYST] = 5
        m.train_step(x, step)
        best = min(best, 0xFFFFFF - (mem[SYST + 8] & 0xFFFFFF))
    return best
"""


@pytest.mark.parametrize("dtype, units, most", [("f32", 16, 0.56), ("i8", 64, 0.72)])
def test_two_cores_are_that_much_faster(mpremote, dtype, units, most):  # noqa: F811
    one, two = (
        int(mpremote("exec", FASTER + f"print(cycles({dtype!r}, {units}, {n}))")) for n in (1, 2)
    )
    assert 0.4 < two / one <= most


RULES = """
import _thread, time, gc, tinyprop as tp
def tell(f, *a):
    try:
        print(f(*a))
    except Exception as e:
        print(type(e).__name__, e)
tell(tp.cores)
tell(tp.cores, 3)
going = True
def work():
    while going:
        pass
_thread.start_new_thread(work, ())
tell(tp.cores, 2)
going = False
time.sleep_ms(5)
tell(tp.cores, 2)
tell(_thread.start_new_thread, work, ())
for k in range(3):
    gc.collect()
    with open("t_rules.txt", "w") as f:
        f.write("x" * 5000)
print(len(open("t_rules.txt").read()))
tell(tp.cores, 2)
tell(tp.cores, 1)
_thread.start_new_thread(work, ())
time.sleep_ms(5)
tell(tp.cores, 2)
"""


def test_worker_and_threads_keep_each_other_out_and_a_reset_ends_it(mpremote):  # noqa: F811
    out = mpremote("exec", RULES).splitlines()
    assert out == [
        "1",
        "ValueError cores 3, allowed 1..2",
        "RuntimeError core 1 is in use by _thread",
        "2",
        "OSError core1 in use",
        "5000",
        "2",
        "1",
        "2",
    ]
    # mpremote's first act is a soft reset.
    again = mpremote("exec", "import tinyprop as tp; print(tp.cores())")
    assert again.strip() == "1"


def test_boards_with_one_core_refuse_a_second(run_mpy, tmp_path):
    script = tmp_path / "one.py"
    script.write_text(
        "import tinyprop as tp\nprint(tp.cores(), tp.cores(1))\n"
        "try:\n    tp.cores(2)\nexcept ValueError as e:\n    print(e)\n"
    )
    assert re.fullmatch(r"1 1\ncores 2, allowed 1\.\.1\n", run_mpy(script))
