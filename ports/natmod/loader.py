# What mip installs as `_tinyprop.py`: the native module of this board's architecture under its
# plain name, or one line that says why there is none.
import sys

_mpy = getattr(sys.implementation, "_mpy", 0)
# MicroPython's number of an architecture -> what it can load, the fastest first: where the
# firmware of a core with an FPU passes floats otherwise than the module, the next one serves.
_names = {
    2: ("x64",),
    4: ("armv6m",),
    5: ("armv7m", "armv6m"),
    6: ("armv7m", "armv6m"),
    7: ("armv7emsp", "armv7emsp_softfp", "armv7m", "armv6m"),
    8: ("armv7emsp", "armv7emsp_softfp", "armv7m", "armv6m"),
    9: ("xtensa",),
    10: ("xtensawin",),
    11: ("rv32imc",),
}.get(_mpy >> 10 & 63)
if not _names:
    raise ImportError("this firmware loads no native module: it needs tinyprop built in")

_module = None
_why = "it is not installed"
for _name in _names:
    try:
        _module = __import__("_tinyprop_" + _name)
        break
    except ImportError as e:
        if "floats" in str(e):  # the module is there and refuses (native.c)
            _why = str(e)
    except ValueError as e:
        _why = "%s, build it from the MicroPython release of this firmware" % e
if not _module:
    raise ImportError(
        "this board needs _tinyprop_%s.mpy of .mpy version %d.%d: %s"
        % (_names[0], _mpy & 255, _mpy >> 8 & 3, _why)
    )
for _name in dir(_module):
    if _name[0] != "_":
        globals()[_name] = getattr(_module, _name)
