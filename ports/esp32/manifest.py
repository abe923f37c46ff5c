# MicroPython's own frozen modules for ESP32 boards, and the package tinyprop. As MicroPython's own
# packages it is frozen without line numbers (opt=3).
include("$(PORT_DIR)/boards/manifest.py")
package("tinyprop", base_path="../../py", opt=3)
