"""Which parts of tinyprop a build has: FEATURES=all (the default), dense, or a list with commas.

Dense float32 networks are in every build. What else there is stands in PARTS: layers of maps, with
branches and byte budgets; models of integers; the functions of _tinyprop for single kernels;
profile() and benchmark(); on the RP2040 cores(2). `all` has all of it.
"""

import os

from common import BUILD, ROOT, fail

# Part -> variable of usermod_tinyprop/micropython.mk and .cmake, files of the Python package.
PARTS = {
    "maps": ("TINYPROP_MAPS", ("budget.py", "convert.py", "maps.py")),
    "integers": ("TINYPROP_INTEGER", ("convert.py",)),
    "kernels": ("TINYPROP_SINGLE", ()),
    "measure": ("TINYPROP_PROFILE", ("measure.py",)),
    "cores": ("TINYPROP_CORES", ()),
}
MANIFESTS = ROOT / "ports" / "package" / "manifest.py"
HELP = f"what the build has, with commas: all, or dense and any of {', '.join(PARTS)}"


class Features:
    """What one build has. `suffix` tells its folders and files from those of the whole build."""

    def __init__(self, text="all"):
        wanted = {name.strip() for name in text.split(",")} - {""}
        unknown = sorted(wanted - {"all", "dense", *PARTS})
        if unknown or not wanted:
            fail(f"FEATURES={text}: there is all, dense, {', '.join(PARTS)}")
        self.left_out = [p for p in PARTS if p not in wanted and "all" not in wanted]
        kept = [p for p in PARTS if p not in self.left_out]
        self.suffix = "".join(f"-{p}" for p in ["dense", *kept]) if self.left_out else ""

    def variables(self):
        """For make, and behind -D for CMake."""
        return [f"{PARTS[p][0]}=0" for p in self.left_out]

    def without(self):
        """Files of the Python package that stay out."""
        kept = [name for p in PARTS if p not in self.left_out for name in PARTS[p][1]]
        names = {name for p in self.left_out for name in PARTS[p][1]}
        return sorted(names - set(kept))

    def manifest(self, path):
        """A port's manifest, or one that includes it without those files."""
        if not self.left_out:
            return path
        target = BUILD / "manifest" / f"{path.parent.name}{self.suffix}.py"
        text = f"include({str(path)!r}, without={tuple(self.without())!r})\n"
        if not target.is_file() or target.read_text() != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            new = target.with_name(f"{target.name}.{os.getpid()}")
            new.write_text(text)
            os.replace(new, target)
        return target


ALL = Features()
