"""clang as a cross compiler for the windowed Xtensa ABI of the ESP32, called as gcc would be.

LLVM's Xtensa backend is young (version 23). What it cannot do yet is written otherwise in LLVM's
intermediate language, between clang's optimisation and code generation:
- a choice between two float constants (it stops with "cannot select"): chosen as integers;
- variable arguments (it looks for them in the wrong places): found as gcc's ABI says, and a
  va_list handed on goes in three registers, as gcc does it.
Linking is left to the linker of Debian's binutils-xtensa-lx106, which has to be kept from
optimising instructions that core does not know.
"""

import os
import re
import subprocess
import sys

from common import BUILD

CLANG = BUILD / "src" / "xtensa-clang"
LIBGCC = BUILD / "xtensa" / "libgcc.a"
HEADERS = "/usr/lib/xtensa-lx106-elf/include"  # Debian's picolibc-xtensa-lx106-elf
LINKER = "xtensa-lx106-elf-ld"

# What both the ESP32 and the emulated core de233_fpu have.
FEATURES = "density mul16 mul32 div32 sext nsa minmax clamps loop bool fp coprocessor windowed"
FEATURES += " exception threadptr timers1"

# The register area begins where the first argument would be, were it not named.
VA_START = """\
  %va.{n}.reg.at = getelementptr i8, ptr {list}, i32 4
  %va.{n}.index.at = getelementptr i8, ptr {list}, i32 8
  %va.{n}.reg = load ptr, ptr %va.{n}.reg.at
  %va.{n}.index = load i32, ptr %va.{n}.index.at
  %va.{n}.back = sub i32 0, %va.{n}.index
  %va.{n}.base = getelementptr i8, ptr %va.{n}.reg, i32 %va.{n}.back
  store ptr %va.{n}.base, ptr %va.{n}.reg.at"""

# Where the next argument is: as gcc's xtensa_gimplify_va_arg_expr defines it, indices up to 24
# are in registers, those from 32 on the stack.
VA_NEXT = """
define internal ptr @xtensa_va_next(ptr %list, i32 %size, i32 %align) noinline nounwind {
  %index.at = getelementptr i8, ptr %list, i32 8
  %index = load i32, ptr %index.at
  %mask = sub i32 0, %align
  %less = sub i32 %align, 1
  %more = add i32 %index, %less
  %start = and i32 %more, %mask
  %end = add i32 %start, %size
  %inside = icmp ule i32 %end, 24
  %first = icmp ule i32 %start, 24
  %fresh = add i32 %size, 32
  %stack = select i1 %first, i32 %fresh, i32 %end
  %new = select i1 %inside, i32 %end, i32 %stack
  store i32 %new, ptr %index.at
  %reg.at = getelementptr i8, ptr %list, i32 4
  %base.at = select i1 %inside, ptr %reg.at, ptr %list
  %base = load ptr, ptr %base.at
  %offset = sub i32 %new, %size
  %at = getelementptr i8, ptr %base, i32 %offset
  ret ptr %at
}
"""

NAME = r'%(?:[-\w.$]+|"[^"]+")'
CONSTANT = r"[^%,\s]+"
SELECT = re.compile(
    rf"  ({NAME}) = select (?:[a-z]+ )*i1 (\S+), float ({CONSTANT}), float ({CONSTANT})"
)
FROM_BOOL = re.compile(rf"  ({NAME}) = (?:ui|si)tofp (?:nneg )?i1 ({NAME}) to float")
START = re.compile(rf"  (?:tail )?call void @llvm\.va_start\S*\(ptr [^%]*({NAME})\)")
ARG = re.compile(rf"  ({NAME}) = va_arg ptr ({NAME}), (\w+)")
ATTRIBUTES = r"(?:[^,%()]|\([^()]*\))*"
BYVAL = re.compile(
    rf"ptr {ATTRIBUTES}\bbyval\(%struct\.__va_list_tag[.\d]*\){ATTRIBUTES}({NAME})?(?=[,)])"
)
SIZES = {"i64": 8, "double": 8}


def words_of(n, value):
    """The three words of a va_list as arguments of a call, and the lines that load them."""
    lines, words = [], []
    for i in range(3):
        at, word = f"%va.{n}.{i}.at", f"%va.{n}.{i}"
        lines.append(f"  {at} = getelementptr i8, ptr {value}, i32 {4 * i}")
        lines.append(f"  {word} = load i32, ptr {at}")
        words.append(f"i32 {word}")
    return ", ".join(words), lines


def rewrite(text):
    """The module without what the backend cannot do."""
    out, entry, n = [], [], 0
    for line in text.split("\n"):
        n += 1
        found = SELECT.match(line) or FROM_BOOL.match(line)
        if found:
            name, condition, *values = found.groups()
            yes, no = values or ("-1.0" if "sitofp" in line else "1.0", "0.0")
            out.append(
                f"  %choice.{n} = select i1 {condition}, i32 bitcast (float {yes} to i32), "
                f"i32 bitcast (float {no} to i32)"
            )
            out.append(f"  {name} = bitcast i32 %choice.{n} to float")
            continue
        found = START.match(line)
        if found:
            out += [line, VA_START.format(n=n, list=found[1])]
            continue
        found = ARG.match(line)
        if found:
            name, va_list, kind = found.groups()
            size = SIZES.get(kind, 4)
            out.append(
                f"  %va.{n} = call ptr @xtensa_va_next(ptr {va_list}, i32 {size}, i32 {size})"
            )
            out.append(f"  {name} = load {kind}, ptr %va.{n}")
            continue
        found = BYVAL.search(line)
        if found and line.startswith("declare"):
            line = BYVAL.sub("i32, i32, i32", line)
        elif found and line.startswith("define"):
            name = found[1]
            line = BYVAL.sub(", ".join(f"i32 %va.{n}.{i}" for i in range(3)), line)
            entry = [f"  {name} = alloca %struct.__va_list_tag, align 4"]
            for i in range(3):
                entry.append(f"  %va.{n}.{i}.at = getelementptr i8, ptr {name}, i32 {4 * i}")
                entry.append(f"  store i32 %va.{n}.{i}, ptr %va.{n}.{i}.at")
        elif found:
            words, lines = words_of(n, found[1])
            line = BYVAL.sub(words, line)
            out += lines
        out.append(line)
        if entry and line.startswith("entry:"):
            out += entry
            entry = []
    if "@xtensa_va_next" in "\n".join(out):
        out.append(VA_NEXT)
    return "\n".join(out)


def link(arguments):
    """gcc's way to say it, for the linker."""
    words = []
    for argument in arguments:
        if argument.startswith("-Wl,"):
            words += argument[4:].split(",")
        elif not argument.startswith(("-O", "-f", "-m", "-g")):
            words.append(argument)
    return subprocess.call([LINKER, "--no-relax", "--no-warn-rwx-segments", *words])


def command(arguments):
    clang = [CLANG / "clang", "-no-canonical-prefixes", "--target=xtensa"]
    for feature in FEATURES.split():
        clang += ["-Xclang", "-target-feature", "-Xclang", f"+{feature}"]
    # The compiler whose ABI this is; headers ask for both.
    clang += ["-D__XTENSA_WINDOWED_ABI__=1", "-fgnuc-version=12.2.0"]
    clang += ["-nostdinc", "-isystem", CLANG / "include", "-isystem", HEADERS]
    # A frame pointer would take the register of an argument.
    last = ["-fno-pic", "-fomit-frame-pointer", "-fno-builtin-wcslen", "-Qunused-arguments"]
    return [*clang, *arguments, *last]


def compile_object(arguments):
    at = arguments.index("-o")
    target = arguments[at + 1]
    rest = [a for a in arguments[:at] + arguments[at + 2 :] if a != "-c"]
    module = target + ".ll"
    steps = ["-S", "-emit-llvm", "-fno-discard-value-names", "-MT", target, "-o", module]
    code = subprocess.call(command([*rest, *steps]))
    if code != 0:
        return code
    with open(module) as f:
        text = rewrite(f.read())
    with open(module, "w") as f:
        f.write(text)
    options = [a for a in rest if re.match(r"-[Ofg]", a)]
    options += ["-Xclang", "-disable-llvm-passes", "-c", "-x", "ir", module, "-o", target]
    code = subprocess.call(command(options))
    if code == 0:
        os.unlink(module)
    return code


def main():
    # gcc's name for what would turn the loop of memset into a call of memset.
    renamed = {"-fno-tree-loop-distribute-patterns": "-fno-builtin"}
    arguments = [renamed.get(a, a) for a in sys.argv[1:]]
    if "--print-libgcc-file-name" in arguments or "-print-libgcc-file-name" in arguments:
        print(LIBGCC)
        return 0
    if "-c" in arguments:
        return compile_object(arguments)
    if any(a.startswith("-Wl,") for a in arguments):
        return link(arguments)
    return subprocess.call(command(arguments))


if __name__ == "__main__":
    sys.exit(main())
