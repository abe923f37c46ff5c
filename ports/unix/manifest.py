# The unix port: what its standard variant freezes (minus micropython-lib, which the fetched
# source tree comes without), and the package tinyprop.
options.defaults(without=())
include("$(MPY_DIR)/extmod/asyncio")
include("../package", without=options.without)
