# What the QEMU boards freeze: the package tinyprop.
options.defaults(without=())
include("../package", without=options.without)
