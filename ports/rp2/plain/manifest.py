# The port's own frozen modules, without those of micropython-lib, which the fetched source tree
# comes without. `modules` mounts the filesystem at boot.
freeze("$(PORT_DIR)/modules")
include("$(MPY_DIR)/extmod/asyncio")
