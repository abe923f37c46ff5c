# What the QEMU boards freeze: the package tinyprop.
package("tinyprop", base_path="../../py")
