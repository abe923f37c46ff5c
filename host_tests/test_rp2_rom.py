"""The stand-in boot ROM, function by function, called on an emulated core through its tables.

What is expected is computed here by NumPy's (the machine's) IEEE-754 arithmetic and by Python's
exact integers, never by the code under test.
"""

import json
import math
import shutil
import subprocess
import sys
from fractions import Fraction

import core_api
import numpy as np
import pytest
from conftest import need

sys.path.insert(0, str(core_api.ROOT / "scripts"))
import sim_rp2  # noqa: E402

CALL = sim_rp2.SIM / "call_rom.js"
RAM = 0x20010000
FLASH = 0x10000000
STORE = 1 << 20  # an offset in flash far behind any firmware
M32, M64 = (1 << 32) - 1, (1 << 64) - 1
F32, F64 = np.float32, np.float64
INF = math.inf


@pytest.fixture(scope="module")
def rom():
    """Calls in, results out."""
    need(shutil.which("node"), "node", "apt-get install nodejs")
    need(shutil.which("npm"), "npm", "apt-get install npm")
    module = sim_rp2.install_emulator()

    def run(calls):
        calls = [{"entry": e, "registers": list(r), **more} for e, r, more in map(full, calls)]
        done = subprocess.run(
            ["node", CALL, module], input=json.dumps(calls), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        run.header = answer["header"]
        return answer["results"]

    return run


def full(call):
    return (*call, {})[:3] if len(call) < 3 else call


# --- Bits of floats ---


def bits32(values):
    return np.asarray(values, F32).view(np.uint32)


def bits64(values):
    return np.asarray(values, F64).view(np.uint64)


def rom_view(values):
    """What the ROM sees or gives: subnormals are zeros, NaNs are infinities, signs stay."""
    kind = values.dtype.type
    tiny = np.finfo(kind).tiny
    values = np.where(np.abs(values) < tiny, np.copysign(kind(0), values), values)
    return np.where(np.isnan(values), np.copysign(kind(INF), values), values).astype(kind)


def operands(kind, n=2000, seed=7):
    """All pairs of special values, then random bit patterns, then numbers close to each other."""
    word = np.uint32 if kind is F32 else np.uint64
    info = np.finfo(kind)
    special = [0.0, 1.0, 1.5, 3.0, info.max, info.tiny, info.tiny / 2, info.smallest_subnormal]
    special += [INF, math.nan, 1 + info.eps, 1 - info.epsneg, info.tiny * (1 + info.eps), 1 / 3]
    special = np.array(special + [-v for v in special], kind)
    special[-11:] = -special[3:14]
    a, b = (v.ravel() for v in np.meshgrid(special, special))
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, np.iinfo(word).max, (2, n), word, endpoint=True).view(kind)
    near = rng.normal(size=(2, n)).astype(kind) * np.exp2(rng.integers(-3, 3, n)).astype(kind)
    close = np.stack([near[0], near[0] * kind(1 + 1e-6)])
    return np.concatenate([np.stack([a, b]), raw, near, close], axis=1)


def words(value, count):
    value = int(value)
    return [value >> (32 * i) & M32 for i in range(count)]


def call_float(rom, table, index, *arguments):
    """The bits an entry gives for arrays of floats (in register order)."""
    kind = F32 if table == "SF" else F64
    per = 1 if table == "SF" else 2
    bits = [(bits32 if kind is F32 else bits64)(a) for a in arguments]
    calls = [(f"{table}.{index}", sum((words(v, per) for v in row), [])) for row in zip(*bits)]
    results = rom(calls)
    return [r["registers"] for r in results]


def as_word(registers, per):
    return sum(registers[i] << (32 * i) for i in range(per))


TABLES = [("SF", F32, 1), ("SD", F64, 2)]
BY_TABLE = pytest.mark.parametrize("table, kind, per", TABLES, ids=["single", "double"])


def expected_bits(values, kind):
    return [int(v) for v in (bits32 if kind is F32 else bits64)(rom_view(values))]


# --- Header and tables ---


def test_header_is_that_of_a_version_3_rom(rom):
    assert rom([("P3", [0])])[0]["registers"][0] == 0
    assert rom.header == [ord("M"), ord("u"), 1, 3]


def test_every_function_the_firmware_looks_up_is_there_and_an_unknown_one_is_not(rom):
    codes = "P3 R3 L3 T3 MS S4 MC C4 IF EX RE RP FC CX".split()
    results = rom([(code, [RAM, RAM, 0]) for code in [*codes, "??"]])
    assert None not in results[:-1] and results[-1] is None


# --- Bits and memory ---


def test_bit_functions_agree_with_python(rom):
    values = [0, 1, 2, 3, 0x80000000, M32, 0x00F0, 0x12345678]
    values += [int(v) for v in np.random.default_rng(1).integers(0, 1 << 32, 200)]
    wanted = {
        "P3": lambda v: bin(v).count("1"),
        "R3": lambda v: int(f"{v:032b}"[::-1], 2),
        "L3": lambda v: 32 - v.bit_length(),
        "T3": lambda v: (v & -v).bit_length() - 1 if v else 32,
    }
    for code, f in wanted.items():
        got = [r["registers"][0] for r in rom([(code, [v]) for v in values])]
        assert got == [f(v) for v in values], code


@pytest.mark.parametrize("code", ["MC", "C4"])
@pytest.mark.parametrize("count", [0, 4, 64])
def test_copies_copy_exactly_and_return_the_target(rom, code, count):
    source, around = list(range(1, 65)), [0xEE] * 80
    memory = {"memory": [[RAM, source], [RAM + 0x100, around]], "read": [RAM + 0x100, 80]}
    (result,) = rom([(code, [RAM + 0x104, RAM, count], memory)])
    assert result["memory"] == [0xEE] * 4 + source[:count] + [0xEE] * (76 - count)
    assert result["registers"][0] == RAM + 0x104


@pytest.mark.parametrize("code", ["MS", "S4"])
def test_fills_fill_exactly_and_return_the_target(rom, code):
    memory = {"memory": [[RAM, [0xEE] * 40]], "read": [RAM, 40]}
    (result,) = rom([(code, [RAM + 4, 0x5A, 16], memory)])
    assert result["memory"] == [0xEE] * 4 + [0x5A] * 16 + [0xEE] * 20
    assert result["registers"][0] == RAM + 4


def test_copies_work_on_odd_addresses_and_out_of_flash(rom):
    memory = {"memory": [[RAM + 1, [9, 8, 7]]], "read": [RAM + 0x203, 3]}
    odd, flash = rom(
        [
            ("MC", [RAM + 0x203, RAM + 1, 3], memory),
            ("MC", [RAM, FLASH + STORE, 2], {"read": [RAM, 2]}),
        ]
    )
    assert odd["memory"] == [9, 8, 7] and flash["memory"] == [255, 255]


# --- Flash ---


def test_flash_is_erased_to_ones_and_programming_only_clears_bits(rom):
    data = [0xF0, 0x0F, 0xAA]
    seen = {"read": [FLASH + STORE, 4]}
    steps = rom(
        [
            ("IF", []),
            ("EX", []),
            ("RP", [STORE, RAM, 3], {"memory": [[RAM, data]], **seen}),
            ("RP", [STORE, RAM, 3], {"memory": [[RAM, [0x3C] * 3]], **seen}),
            ("RE", [STORE, 4096, 1 << 16, 0xD8], seen),
            ("FC", []),
            ("CX", []),
        ]
    )
    assert steps[2]["memory"] == [*data, 255]
    assert steps[3]["memory"] == [d & 0x3C for d in data] + [255]
    assert steps[4]["memory"] == [255] * 4


def test_flash_access_behind_the_chip_is_an_error(rom):
    (result,) = rom([("RE", [2 << 20, 4096, 1 << 16, 0xD8])])
    assert "behind its end" in result["error"]


def test_reset_to_usb_boot_reaches_the_emulator(rom):
    (result,) = rom([("UB", [0, 0])])
    assert result["error"] == "to the boot loader"


# --- Arithmetic ---


def invalid_sign(index, a, b):
    """Sign of the infinity that stands for IEEE's NaN: of a, or of the product or quotient."""
    return (
        a if index in (0, 1) else np.copysign(a.dtype.type(1), a) * np.copysign(a.dtype.type(1), b)
    )


@BY_TABLE
@pytest.mark.parametrize(
    "index, f", list(enumerate([np.add, np.subtract, np.multiply, np.divide]))
)
def test_arithmetic_is_ieee_with_subnormals_flushed_and_no_nan(rom, table, kind, per, index, f):
    a, b = operands(kind)
    x, y = rom_view(a), rom_view(b)
    with np.errstate(all="ignore"):
        wanted = f(x, y)
        wanted = np.where(
            np.isnan(wanted), np.copysign(kind(INF), invalid_sign(index, x, y)), wanted
        ).astype(kind)
    got = [as_word(r, per) for r in call_float(rom, table, index, a, b)]
    assert got == expected_bits(wanted, kind)


@BY_TABLE
def test_square_root_is_rounded_correctly_and_minus_infinity_below_zero(rom, table, kind, per):
    a, _ = operands(kind)
    x = rom_view(a)
    with np.errstate(all="ignore"):
        wanted = np.where(x < 0, kind(-INF), np.sqrt(x)).astype(kind)
    got = [as_word(r, per) for r in call_float(rom, table, 6, a)]
    assert got == expected_bits(wanted, kind)


@BY_TABLE
def test_comparison_orders_numbers_and_sees_nan_as_infinity(rom, table, kind, per):
    a, b = operands(kind)
    x, y = rom_view(a), rom_view(b)
    got = [r[0] for r in call_float(rom, table, 21, a, b)]
    assert got == [int(v) & M32 for v in (x > y).astype(int) - (x < y)]


ELEMENTARY = {15: np.cos, 16: np.sin, 17: np.tan, 19: np.exp, 20: np.log}


@BY_TABLE
@pytest.mark.parametrize("index", list(ELEMENTARY))
def test_elementary_functions_are_within_one_unit_of_the_last_place(rom, table, kind, per, index):
    rng = np.random.default_rng(index)
    a = rng.uniform(-80, 80, 500).astype(kind)
    if index == 20:
        a = np.abs(a) + kind(1e-3)
    wanted = ELEMENTARY[index](a.astype(F64))
    got = [as_word(r, per) for r in call_float(rom, table, index, a)]
    got = np.array(got, np.uint32 if kind is F32 else np.uint64).view(kind)
    assert np.all(np.abs(got - wanted) <= np.spacing(np.abs(wanted).astype(kind)))


@BY_TABLE
def test_special_values_of_elementary_functions(rom, table, kind, per):
    cases = [(19, INF, INF), (19, -INF, 0.0), (19, 1e4, INF), (19, -1e4, 0.0), (19, 0.0, 1.0)]
    cases += [(20, 0.0, -INF), (20, -1.0, -INF), (20, INF, INF), (20, 1.0, 0.0)]
    cases += [(16, -0.0, -0.0), (15, 0.0, 1.0), (17, 0.0, 0.0)]
    for index, x, wanted in cases:
        (registers,) = call_float(rom, table, index, np.array([x], kind))
        assert as_word(registers, per) == expected_bits(np.array([wanted], kind), kind)[0], (
            index,
            x,
        )


@BY_TABLE
@pytest.mark.parametrize("index", [16, 18])
def test_sine_comes_with_the_cosine(rom, table, kind, per, index):
    a = np.linspace(-100, 100, 41).astype(kind)
    for x, r in zip(a, call_float(rom, table, index, a)):
        pair = np.array([as_word(r, per), as_word(r[per:], per)], f"u{4 * per}").view(kind)
        assert pair == pytest.approx([math.sin(x), math.cos(x)], abs=1e-6)


@BY_TABLE
def test_arc_tangent_knows_all_four_quadrants(rom, table, kind, per):
    y, x = (v.ravel() for v in np.meshgrid(*[np.array([-2, -1, -0.0, 0, 0.5, 3], kind)] * 2))
    got = [as_word(r, per) for r in call_float(rom, table, 22, y, x)]
    got = np.array(got, f"u{4 * per}").view(kind)
    assert got == pytest.approx(np.arctan2(y, x).astype(F64), rel=1e-6, abs=0)


# --- Conversions ---


def to_integer(value, n, low, high):
    """floor(value * 2^n), clamped, exactly."""
    if math.isinf(value):
        return low if value < 0 else high
    return min(max(math.floor(Fraction(float(value)) * Fraction(2) ** n), low), high)


SIGNED32, UNSIGNED32 = (-(1 << 31), (1 << 31) - 1), (0, M32)
SIGNED64, UNSIGNED64 = (-(1 << 63), (1 << 63) - 1), (0, M64)
TO_INTEGER = [
    (7, SIGNED32, False),
    (8, SIGNED32, True),
    (9, UNSIGNED32, False),
    (10, UNSIGNED32, True),
    (27, SIGNED64, False),
    (28, SIGNED64, True),
    (29, UNSIGNED64, False),
    (30, UNSIGNED64, True),
]


@BY_TABLE
@pytest.mark.parametrize("index, limits, fixed", TO_INTEGER)
def test_conversions_to_integers_round_down_and_clamp(rom, table, kind, per, index, limits, fixed):
    a = operands(kind, 300)[0]
    whole = [0.5, -0.5, 1.9, -1.9, 2.0**31, -(2.0**31), 2.0**32, 2.0**63, -(2.0**63), 2.0**64]
    a = np.concatenate([a, np.array(whole, kind)])
    shifts = [0, 1, 16, -5, 31, 40, -60] if fixed else [0]
    calls, wanted = [], []
    for n in shifts:
        for raw, x in zip((bits32 if per == 1 else bits64)(a), rom_view(a)):
            calls.append((f"{table}.{index}", [*words(raw, per), n & M32]))
            wanted.append(to_integer(x, n, *limits) & (M64 if index > 20 else M32))
    size = 2 if index > 20 else 1
    assert [as_word(r["registers"], size) for r in rom(calls)] == wanted


def nearest(value, kind):
    """The float nearest to an exact fraction (ties to even), as the ROM gives it."""
    if value == 0:
        return kind(0)
    mantissa = 24 if kind is F32 else 53
    magnitude = abs(value)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if Fraction(2) ** exponent > magnitude:
        exponent -= 1
    unit = Fraction(2) ** (exponent - mantissa + 1)
    result = round(magnitude / unit) * unit  # round() of a Fraction: ties to even
    if result < Fraction(2) ** (-126 if kind is F32 else -1022):
        result = 0
    return kind(math.copysign(float(result), value))


FROM_INTEGER = [(11, True, 32, False), (12, True, 32, True), (13, False, 32, False)]
FROM_INTEGER += [(14, False, 32, True), (23, True, 64, False), (24, True, 64, True)]
FROM_INTEGER += [(25, False, 64, False), (26, False, 64, True)]


@BY_TABLE
@pytest.mark.parametrize("index, signed, width, fixed", FROM_INTEGER)
def test_conversions_from_integers_round_to_nearest_even(
    rom, table, kind, per, index, signed, width, fixed
):
    rng = np.random.default_rng(index)
    values = [0, 1, 2, (1 << 24) + 1, (1 << 24) + 3, (1 << 25) + 2, (1 << 31) - 1, 1 << 31, M32]
    if width == 64:
        values += [(1 << 53) + 1, (1 << 60) + (1 << 36), (1 << 60) + (1 << 36) + 1, M64, 1 << 63]
        values += [(1 << 60) + (3 << 36) - 1, (1 << 60) + (3 << 36), M64 - (1 << 39)]
    values += [int(v) for v in rng.integers(0, 1 << 32, 300)]
    values += [int(v) for v in rng.integers(0, M64, 300, np.uint64)] if width == 64 else []
    calls, wanted = [], []
    for n in [0, 1, 16, -5, 31] if fixed else [0]:
        for raw in values:
            value = raw - (1 << width) if signed and raw >> (width - 1) else raw
            calls.append((f"{table}.{index}", [*words(raw, width // 32), n & M32]))
            wanted.append(nearest(Fraction(value) / Fraction(2) ** n, kind))
    got = [as_word(r["registers"], per) for r in rom(calls)]
    assert got == expected_bits(np.array(wanted, kind), kind)


def test_single_to_double_and_back_keep_what_fits(rom):
    a = operands(F32)[0]
    up = [as_word(r, 2) for r in call_float(rom, "SF", 31, a)]
    assert up == expected_bits(rom_view(a).astype(F64), F64)
    with np.errstate(all="ignore"):
        b = np.concatenate([operands(F64)[0], a.astype(F64) * (1 + 1e-9)])
        wanted = rom_view(b).astype(F32)
    down = [r[0] for r in call_float(rom, "SD", 31, b)]
    assert down == expected_bits(wanted, F32)


# --- Time ---

# bootrom.js says where these come from.
SINGLE = {0: 71, 1: 74, 2: 58, 3: 71, 6: 63, 7: 40, 11: 55, 19: 524, 21: 25, 31: 15}
DOUBLE = {0: 91, 1: 95, 2: 155, 3: 183, 6: 169, 30: 52, 31: 23}


@pytest.mark.parametrize("table, cycles", [("SF", SINGLE), ("SD", DOUBLE)])
def test_routines_take_their_cycles(rom, table, cycles):
    assert cycles_of(rom, table, cycles) == list(cycles.values())


def cycles_of(rom, table, indices):
    one = 0x3F800000
    return [r["cycles"] for r in rom([(f"{table}.{i}", [one, one, one, one]) for i in indices])]


# Published by the author of the ROM's library (quinapalus.com/qfplib-m0-full.html): averages on
# another Cortex-M0+, with the call, and divisions without a hardware divider.
PUBLISHED = {
    "SF": {0: 76, 1: 78, 2: 62, 6: 67, 15: 595, 16: 584, 22: 673},
    "SD": {0: 94, 1: 100, 2: 163, 6: 174, 15: 1623, 16: 1624, 19: 811},
}
PUBLISHED_DIVISIONS = {"SF": {3: 83, 17: 671}, "SD": {3: 200, 17: 1906}}


@pytest.mark.parametrize("table", list(PUBLISHED))
def test_cycles_are_those_the_author_of_the_library_measured_less_the_call(rom, table):
    for published, most in ((PUBLISHED[table], 8), (PUBLISHED_DIVISIONS[table], 20)):
        for theirs, ours in zip(published.values(), cycles_of(rom, table, published)):
            assert 3 <= theirs - ours <= most, (theirs, ours)


def test_bit_functions_take_the_cycles_published_with_the_rom(rom):
    cycles = [r["cycles"] for r in rom([(code, [5]) for code in ("P3", "R3", "L3", "T3")])]
    assert cycles == [20, 22, 10, 11]


@BY_TABLE
@pytest.mark.parametrize("index", [4, 5])
def test_entries_not_to_be_used_say_so(rom, table, kind, per, index):
    (result,) = rom([(f"{table}.{index}", [0, 0, 0, 0])])
    assert f"{table}[{index}]" in result["error"]
