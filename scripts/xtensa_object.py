"""Make the one object of a native module for Xtensa fit MicroPython's linker (tools/mpy_ld.py).

That linker adds to what stands in the offset of an l32r instruction, expects the addend of an
undefined symbol in the relocation and that of a section in the word itself, and knows no addend
for other symbols; `ld -r` keeps all addends in the words. usage: xtensa_object.py file.o
"""

import struct
import sys

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

R_XTENSA_SLOT0_OP = 20
WORDS = (1, 6)  # R_XTENSA_32 and, for a function, R_XTENSA_PLT
L32R = 1  # the low four bits of that instruction


def changes(elf):
    """(place in the file, bytes) for all that has to be written."""
    symbols = list(elf.get_section_by_name(".symtab").iter_symbols())
    own = {
        s["st_shndx"]: i for i, s in enumerate(symbols) if s["st_info"]["type"] == "STT_SECTION"
    }
    for section in elf.iter_sections():
        if not isinstance(section, RelocationSection):
            continue
        target = elf.get_section(section["sh_info"])
        data, place = target.data(), target["sh_offset"]
        for i, r in enumerate(section.iter_relocations()):
            at, kind, entry = r["r_offset"], r["r_info_type"], section["sh_offset"] + 12 * i
            symbol = symbols[r["r_info_sym"]]
            if kind == R_XTENSA_SLOT0_OP and data[at] & 15 == L32R:
                yield place + at + 1, bytes(2)
            if kind not in WORDS or symbol["st_info"]["type"] == "STT_SECTION":
                continue
            word = struct.unpack_from("<I", data, at)[0]
            if word != 0 and symbol["st_shndx"] == "SHN_UNDEF":
                yield entry + 8, struct.pack("<I", word)
                yield place + at, bytes(4)
            elif word != 0:
                yield entry + 4, struct.pack("<I", own[symbol["st_shndx"]] << 8 | kind)
                yield place + at, struct.pack("<I", (symbol["st_value"] + word) & 0xFFFFFFFF)


def main():
    with open(sys.argv[1], "r+b") as f:
        for place, content in list(changes(ELFFile(f))):
            f.seek(place)
            f.write(content)


if __name__ == "__main__":
    main()
