# The unix port: what its standard variant freezes (minus micropython-lib, which the fetched
# source tree comes without), and the package tinyprop.
include("$(MPY_DIR)/extmod/asyncio")
package("tinyprop", base_path="../../py")
