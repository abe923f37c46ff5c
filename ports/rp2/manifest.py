# The rp2 firmware's frozen modules (scripts/build_rp2.py says which file lists them), and the
# package tinyprop. As MicroPython's own packages it is frozen without line numbers (opt=3).
options.defaults(without=())
include("$(PORT_FROZEN)")
include("../package", without=options.without, opt=3)
