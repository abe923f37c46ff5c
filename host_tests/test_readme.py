"""What the README shows works as it stands there."""

import re
import subprocess

import core_api

README = (core_api.ROOT / "README.md").read_text()


def test_the_example_runs_as_printed(mpy, tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    (tmp_path / "examples").symlink_to(core_api.ROOT / "examples")
    script = tmp_path / "example.py"
    script.write_text(example)
    run = subprocess.run([mpy, script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    accuracy = float(re.search(r"accuracy ([0-9.]+) %", run.stdout)[1])
    assert accuracy > 90
    assert (tmp_path / "digits.tp").is_file()


def test_the_commands_it_names_exist():
    makefile = (core_api.ROOT / "Makefile").read_text()
    commands = set(re.findall(r"`?make ([a-z-]+)", README))
    assert {"demo", "test", "repl"} <= commands
    for command in commands:
        assert re.search(rf"^{command}:", makefile, re.M), command


def test_the_files_it_links_to_exist():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (core_api.ROOT / target).exists(), target


def test_the_xor_example_learns(run_mpy):
    printed = run_mpy(core_api.ROOT / "examples" / "xor.py")
    for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
        assert f"{a} xor {b} = {a ^ b}\n" in printed
