# The package tinyprop, without the files that belong to parts left out (scripts/features.py).
import os

options.defaults(without=(), opt=None)
files = [f for f in sorted(os.listdir("../../py/tinyprop")) if f.endswith(".py")]
files = [f for f in files if f not in options.without]
package("tinyprop", files, base_path="../../py", opt=options.opt)
