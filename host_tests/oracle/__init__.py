"""What tinyprop computes, written a second time from the equations of DESIGN.md.

Every operation rounds to float32 on its own, in the order the definition gives, so results can
be compared with the C core bit for bit. Nothing here is derived from the C code.
"""
