"""Pack files into a ROMFS image, every file at a multiple of 4 bytes, as external= needs them.

    build/venv/bin/python scripts/make_romfs.py my.romfs build/models/resnet8.params
    mpremote romfs deploy my.romfs

A board whose firmware has a ROMFS maps it into memory: Sequential(layers, external=
open("/rom/resnet8.params", "rb")) then reads the parameters in flash, without a copy in RAM.
(Images that `mpremote romfs build` makes put files anywhere.)
"""

import argparse
from pathlib import Path

from common import run_main, say

MAGIC = b"\xd2\xcd\x31"
DATA, FILE = 2, 5  # kinds of records
ALIGN = 4
HEAD = 8


def number(value, width=1):
    """7 bits a byte, the highest first; zeros in front where it has to be wider."""
    digits = [value & 0x7F]
    while value > 0x7F or len(digits) < width:
        value >>= 7
        digits.insert(0, 0x80 | (value & 0x7F))
    return bytes(digits)


def romfs(files):
    """The image of {name: bytes}."""
    image = bytearray(HEAD)
    for name, data in sorted(files.items()):
        name = name.encode()
        for width in range(5, 5 + ALIGN):
            inner = number(len(name)) + name + number(DATA) + number(len(data), width)
            head = number(FILE) + number(len(inner) + len(data)) + inner
            if (len(image) + len(head)) % ALIGN == 0:
                break
        image += head + data
    image[:HEAD] = MAGIC + number(len(image) - HEAD, HEAD - len(MAGIC))
    return bytes(image)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    a = parser.parse_args()
    image = romfs({path.name: path.read_bytes() for path in a.files})
    a.image.write_bytes(image)
    say(f"{a.image}: {len(a.files)} files, {len(image)} bytes")


if __name__ == "__main__":
    run_main(main)
