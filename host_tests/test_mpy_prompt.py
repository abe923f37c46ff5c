"""As a user sits there: typed at the prompt, interrupted with Ctrl-C."""

import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest

LINE = (
    "import tinyprop as tp; m = tp.Sequential([tp.Input((2,)), tp.Dense(8, activation="
    '"tanh"), tp.Dense(2)], seed=3); tp.use(m); from array import array; '
    '[tp.train_step(array("f",[a,b]), a^b) for _ in range(2000) for a in (0,1) '
    "for b in (0,1)][-1]"
)


class Prompt:
    def __init__(self, mpy):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execv(mpy, [str(mpy), "-i"])
        self.text = ""
        self.wait_for(">>> ")

    def wait_for(self, end, seconds=60):
        """The text up to `end` at its end; what was read before is forgotten."""
        until = time.monotonic() + seconds
        while not self.text.endswith(end):
            ready, _, _ = select.select([self.master], [], [], max(0, until - time.monotonic()))
            assert ready, self.text[-2000:]
            self.text += os.read(self.master, 4096).decode().replace("\r\n", "\n")
        text, self.text = self.text, ""
        return text

    def type(self, line):
        """Type a line; the answer."""
        os.write(self.master, line.encode() + b"\r")
        answer = self.wait_for("\n>>> ")
        # The line editor shows each key; the answer starts after the first line.
        return answer.split("\n", 1)[1][: -len("\n>>> ")]


@pytest.fixture
def prompt(mpy):
    p = Prompt(mpy)
    yield p
    os.kill(p.pid, signal.SIGKILL)
    os.waitpid(p.pid, 0)
    os.close(p.master)


def test_xor_is_learnt_in_one_line(prompt):
    loss = float(prompt.type(LINE))
    assert 0 <= loss < 0.2
    answer = prompt.type("[m.classify([a, b]) for a in (0, 1) for b in (0, 1)]")
    assert answer == "[0, 1, 1, 0]"
    assert prompt.type("m.predict([0, 1])").startswith('Tensor((2,), "f32", [0.')
    assert "trained" in prompt.type("m.stats()")
    assert "accuracy 100.00 % (2 of 2)" in prompt.type("m.evaluate([([0, 1], 1), ([0, 0], 0)])")
    summary = prompt.type("m.summary()")
    assert re.search(r"Dense +\(8,\) +tanh +24 +96\n", summary)
    error = prompt.type("tp.train_step([1, 2, 3], 0)")
    assert error.endswith("ValueError: x has 3 values, the model takes 2")


def test_ctrl_c_at_the_prompt_leaves_a_model_that_goes_on(prompt):
    prompt.type("import tinyprop as tp")
    prompt.type("m = tp.Sequential([tp.Input(20), tp.Dense(30, 'relu'), tp.Dense(3)])")
    prompt.type("data = [(bytes([i * j % 7 for j in range(20)]), i % 3) for i in range(500)]")
    prompt.type("rows = b''.join([x for x, _ in data]), bytes([y for _, y in data])")
    for delay, data in ((0.05, b"data"), (0.11, b"data"), (0.13, b"rows"), (0.23, b"rows")):
        os.write(prompt.master, b"run = m.fit(%s, epochs=100000, verbose=0)\r" % data)
        time.sleep(delay)
        os.write(prompt.master, b"\x03")
        assert "KeyboardInterrupt" in prompt.wait_for("\n>>> ")
        assert prompt.type("0 < sum(m.predict(data[0][0])) < 1.001") == "True"
        seen = int(prompt.type("m.stats()['seen']"))
        answer = prompt.type("m.fit(data, epochs=100000, budget_ms=20, verbose=0).done")
        assert answer == "False"
        assert int(prompt.type("m.stats()['seen']")) > seen > 0


INTERRUPTED = """
import tinyprop as tp
m = tp.Sequential([tp.Input(40), tp.Dense(50, "relu"), tp.Dense(3)], optimizer={optimizer})
data = (bytes([i * j % 7 for i in range(300) for j in range(40)]), bytes([0, 1, 2] * 100))
print("go")
try:
    m.fit(data, epochs=1000000, verbose=0)
except KeyboardInterrupt:
    pass
p = m.predict(data[0][:40])
assert abs(sum(p) - 1) < 1e-4, p
m.save("m.tp")
assert tp.load("m.tp").predict(data[0][:40]).tolist() == p.tolist()
m.fit(data, epochs=2, verbose=0)
print(m.evaluate(data).n)
"""


@pytest.mark.parametrize("optimizer", ["tp.SGD()", "tp.Adam()"])
def test_a_signal_at_any_moment(mpy, tmp_path, optimizer):
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED.format(optimizer=optimizer))
    for k in range(12):
        process = subprocess.Popen(
            [mpy, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )
        assert process.stdout.readline() == "go\n"
        time.sleep(0.01 + 0.0037 * k)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0 and out == "300\n", err


def test_a_callback_need_not_wait_for_the_samples_of_a_buffer(run_mpy, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import micropython, tinyprop as tp\n"
        "m = tp.Sequential([tp.Input(2), tp.Dense(2)])\n"
        "seen = []\n"
        "def tick(_):\n"
        "    seen.append(m._m.counters()[0])\n"
        "    if len(seen) < 50:\n"
        "        micropython.schedule(tick, 0)\n"
        "micropython.schedule(tick, 0)\n"
        "m.fit((bytes(200), bytes(100)), verbose=0)\n"
        "print(len(seen), seen[-1] < 100)\n"
    )
    assert run_mpy(script).split() == ["50", "True"]
