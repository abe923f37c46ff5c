"""Each room keeps to what it may do, and the lists kept by hand agree with the files."""

import re
import subprocess

import core_api
import pytest
from conftest import need, need_compiler

ROOT, SOURCE_DIR = core_api.ROOT, core_api.SOURCE_DIR
CORE_FILES = core_api.sources() + core_api.headers()
MAY_CALL = {"memcpy", "memset", "memmove", "memcmp"}


def by_name(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.name)


def output_of(*command):
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@by_name(CORE_FILES)
def test_core_and_kernels_know_nothing_of_micropython(path):
    text = path.read_text()
    included = re.findall(r'#\s*include\s*["<]([^">]+)', text)
    assert not [name for name in included if name.startswith("py/")]
    assert not re.findall(r"\bmp_\w+|\bMP_\w+|\bMICROPY_\w+", text)


@by_name(sorted(SOURCE_DIR.glob("kernels/*")))
def test_kernels_know_nothing_of_models(path):
    names = r"\btp_(model|layer|policy|opt|plan|spec|view|target|fault)_t\b"
    assert not re.findall(names, path.read_text())


@pytest.fixture(scope="module")
def objects():
    """Every source of the core as an object file, without the traces of -fPIC."""
    need_compiler("gcc")
    return {
        source.name: core_api.compile_with(
            "gcc",
            core_api.BUILD_DIR / "objects" / f"{source.stem}.o",
            ["-c", "-fno-pic", "-Wvla", source],
        )
        for source in core_api.sources()
    }


@by_name(core_api.sources())
def test_core_calls_nothing_but_itself_and_four_memory_functions(objects, path):
    undefined = output_of("nm", "-u", objects[path.name]).split()
    foreign = {name for name in undefined if name != "U" and not name.startswith("tp_")}
    assert foreign <= MAY_CALL


@by_name(core_api.sources())
def test_core_keeps_no_state_outside_the_block(objects, path):
    symbols = output_of("nm", objects[path.name])
    assert not re.findall(r"^\S* [bBcCdDgGsS] .*$", symbols, re.M)
    sections = output_of("size", "-A", objects[path.name])
    sizes = dict(re.findall(r"^(\.data\S*|\.bss\S*)\s+(\d+)", sections, re.M))
    assert set(sizes) >= {".data", ".bss"} and set(sizes.values()) == {"0"}


@by_name(core_api.sources())
def test_public_names_carry_the_prefix(objects, path):
    defined = output_of("nm", "-g", "--defined-only", objects[path.name]).split()[2::3]
    # A file for one instruction set is empty on machines with another.
    elsewhere = path.name.startswith("tp_kernels_") and path.name != "tp_kernels_generic.c"
    assert (defined or elsewhere) and all(name.startswith("tp_") for name in defined)


def listed_sources(text):
    """room/file.c, written out or as a list of names behind addprefix."""
    listed = re.findall(r"\w+/\w+\.c\b", text)
    for room, names in re.findall(r"addprefix [^,\n]*/(\w+)/,([^)]*)\)", text):
        listed += [f"{room}/{name}" for name in names.replace("\\", " ").split()]
    return listed


@pytest.mark.parametrize("name", ["micropython.mk", "micropython.cmake"])
def test_build_files_list_exactly_the_sources_there_are(name):
    listed = listed_sources((SOURCE_DIR / name).read_text())
    present = [str(p.relative_to(SOURCE_DIR)) for p in SOURCE_DIR.glob("*/*.c")]
    assert sorted(listed) == sorted(present)


def project_files():
    names = output_of("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def test_no_binary_file_is_kept():
    files = project_files()
    assert core_api.HERE / "test_layout.py" in files
    data = [path for path in files if path.suffix == ".tpd"]
    assert all(path.stat().st_size < 100_000 for path in data)
    assert not [path for path in files if path not in data and b"\0" in path.read_bytes()]


@by_name(CORE_FILES)
def test_core_files_stay_readable_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= 700


@pytest.mark.parametrize("server", [False, True])
def test_missing_tool_skips_at_home_and_fails_on_a_build_server(monkeypatch, server):
    monkeypatch.setenv("CI", "true" if server else "")
    outcome = pytest.fail.Exception if server else pytest.skip.Exception
    need(True, "a tool", "none")
    with pytest.raises(outcome, match="a tool is missing: build it"):
        need(False, "a tool", "build it")


# --- The mirror of tp.h ---


def test_structures_in_python_are_those_of_the_header(tmp_path):
    need_compiler("gcc")
    expected, lines = [], []
    for name, mirror in core_api.STRUCTURES.items():
        expected.append(f"{name} {core_api.c.sizeof(mirror)}")
        lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
        for field, _ in mirror._fields_:
            place = getattr(mirror, field)
            expected.append(f"{name}.{field} {place.offset} {place.size}")
            lines.append(
                f'printf("{name}.{field} %zu %zu\\n", offsetof({name}, {field}),'
                f" sizeof((({name} *)0)->{field}));"
            )
    source = tmp_path / "mirror.c"
    body = "\n".join(lines)
    source.write_text(f'#include <stdio.h>\n#include "tp.h"\nint main(void) {{\n{body}\n}}\n')
    include = f"-I{SOURCE_DIR / 'core'}"
    program = core_api.compile_with("gcc", tmp_path / "mirror", [include, source])
    assert output_of(program).splitlines() == expected


def test_constants_in_python_are_those_of_the_header(tmp_path):
    need_compiler("gcc")
    constants = {
        **{f"TP_ERR_{name}": getattr(core_api, name) for name in "SHAPE RANGE DTYPE".split()},
        **{f"TP_ERR_{name}": getattr(core_api, name) for name in "NONFINITE BLOCK".split()},
        **{f"TP_ERR_{name}": getattr(core_api, name) for name in "SIZE FORMAT".split()},
        **{f"TP_{name}": getattr(core_api, name) for name in "OK MAX_UNITS MAX_LAYERS".split()},
        **{f"TP_{name}": getattr(core_api, name) for name in "BACKOFF_MAX BLOCK_ALIGN".split()},
        "TP_FILE_HEAD": core_api.FILE_HEAD,
        "TP_FROM_INPUT": core_api.FROM_INPUT,
        "TP_LAYER_KINDS": len(core_api.names.KINDS) + 1,
        **{f"TP_LAYER_{n.upper()}": i for i, n in enumerate(core_api.names.KINDS, 1)},
    }
    for names, prefix in (
        (core_api.names.ACTIVATIONS, ""),
        (core_api.names.LOSSES, ""),
        (core_api.names.INITS, "INIT_"),
        (core_api.names.TRAINABLE, "TRAIN_"),
        (core_api.names.OPTIMIZERS, ""),
        (core_api.names.ROWS, "ROWS_"),
        (core_api.names.POLICIES, ""),
    ):
        constants.update({f"TP_{prefix}{n.upper()}": i for i, n in enumerate(names)})
    checks = "\n".join(
        f"typedef char same_{name}[{name} == {value} ? 1 : -1];"
        for name, value in constants.items()
    )
    source = tmp_path / "constants.c"
    source.write_text(f'#include "tp.h"\n{checks}\n')
    include = f"-I{SOURCE_DIR / 'core'}"
    core_api.compile_with("gcc", tmp_path / "constants.o", ["-c", include, source])
