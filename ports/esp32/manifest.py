# MicroPython's own frozen modules for ESP32 boards, and the package tinyprop. As MicroPython's own
# packages it is frozen without line numbers (opt=3).
options.defaults(without=())
include("$(PORT_DIR)/boards/manifest.py")
include("../package", without=options.without, opt=3)
