# The rp2 firmware's frozen modules (scripts/build_rp2.py says which file lists them), and the
# package tinyprop. As MicroPython's own packages it is frozen without line numbers (opt=3).
include("$(PORT_FROZEN)")
package("tinyprop", base_path="../../py", opt=3)
