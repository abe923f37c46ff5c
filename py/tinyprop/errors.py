class FormatError(ValueError):
    """Not a file of tinyprop, or a damaged one."""
