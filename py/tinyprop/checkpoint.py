"""save and load: one file with everything, replaced in one step."""

import os

import _tinyprop
from micropython import const

from .dataset import FormatError
from .sequential import Sequential, new_block

_ENOENT = const(2)
_EEXIST = const(17)
_ENOSPC = const(28)


def _exists(path):
    try:
        os.stat(path)
        return True
    except OSError:
        return False


def _remove(path):
    if _exists(path):
        os.remove(path)


def save(model, path):
    m = model._m
    new, old = path + ".tmp", path + ".bak"
    head, payload = _tinyprop.file_head(m), memoryview(m.block)[: m.info()[8]]
    try:
        with open(new, "wb") as f:
            if f.write(head) + f.write(payload) != len(head) + len(payload):
                raise OSError(_ENOSPC)
            f.flush()
        if hasattr(os, "sync"):
            os.sync()
        try:
            os.rename(new, path)
        except OSError as e:
            if e.errno != _EEXIST:
                raise e
            # This file system does not replace: step aside first. load() knows the way back.
            _remove(old)
            os.rename(path, old)
            os.rename(new, path)
            _remove(old)
    except BaseException as e:
        # Also a Ctrl-C. Where path is gone, the new file is the only one.
        if _exists(path) or not _exists(old):
            _remove(new)
        raise e


def _load(path, external):
    with open(path, "rb") as f:
        head = _tinyprop.file_check(f.read(_tinyprop.FILE_HEAD))
        if head is None:
            raise FormatError("%s is not a tinyprop model, or its head is damaged" % path)
        payload, crc = head
        size = f.seek(0, 2) - _tinyprop.FILE_HEAD
        if size != payload:
            raise FormatError("%s has %d bytes after its head, not %d" % (path, size, payload))
        # Check the whole before memory is taken for sizes that it tells.
        f.seek(_tinyprop.FILE_HEAD)
        chunk = memoryview(bytearray(256))
        start = None
        done = seen = 0
        while done < payload:
            n = f.readinto(chunk)
            if not n:
                break
            if start is None:
                start = _tinyprop.file_block_bytes(chunk[:n])
            seen = _tinyprop.crc32(chunk[:n], seen)
            done += n
        if seen != crc or not start or payload > start:
            raise FormatError("%s is damaged" % path)
        block = new_block(start)
        f.seek(_tinyprop.FILE_HEAD)
        if f.readinto(memoryview(block)[:payload]) != payload:
            raise FormatError("%s is damaged" % path)
    try:
        model = Sequential(None, external=external, _block=block)
    except ValueError as e:
        raise FormatError("%s: %s" % (path, e))
    if model._m.info()[8] != payload:
        raise FormatError("%s is damaged" % path)
    return model


def load(path, external=None):
    """Read a model that m.save(path) wrote: weights, settings, optimiser and policy state.
    (Where samples are maps, their Input has height, width and channels.) external: as in
    Sequential; the file does not hold those parameters.

    OSError: no such file. FormatError: not a model, or damaged. Where a power cut left no file
    at path, the one that was about to take its place, or the one before, is read.
    """
    try:
        return _load(path, external)
    except OSError as e:
        if e.errno != _ENOENT:
            raise e
        missing = e
    for end in (".tmp", ".bak"):
        try:
            return _load(path + end, external)
        except (OSError, FormatError):
            pass
    raise missing
