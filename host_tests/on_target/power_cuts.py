# Save onto a medium that is full, or that stops at any write: the old or the new model survives.
import os
from array import array

import tinyprop as tp

try:
    import vfs
except ImportError:
    import os as vfs

EIO, ENOSPC = 5, 28


class Disk:
    """Blocks of RAM; after `writes` more writes or erases the power is gone."""

    def __init__(self, data):
        self.data = bytearray(data)
        self.writes = None

    def _dead(self):
        if self.writes is None:
            return False
        self.writes -= 1
        return self.writes < 0

    def readblocks(self, n, buf, offset=0):
        start = n * 512 + offset
        buf[:] = self.data[start : start + len(buf)]

    # An error is returned: raised, it would jump out of the file system's own code.
    def writeblocks(self, n, buf, offset=0):
        if self._dead():
            return -EIO
        start = n * 512 + offset
        self.data[start : start + len(buf)] = buf

    def ioctl(self, op, arg):
        if op == 4:
            return len(self.data) // 512
        if op == 5:
            return 512
        if op == 6:
            if self._dead():
                return -EIO
            self.data[arg * 512 : arg * 512 + 512] = b"\xff" * 512
        return 0


def weights(m):
    return bytes(m.weights(1))


x = array("f", [0.5, -1, 0, 2])
layers = [tp.Input(4), tp.Dense(6, "relu"), tp.Dense(3)]
old = tp.Sequential(layers, policy=tp.Full())
new = old.copy()
new.train_step(x, 1)
KNOWN = (weights(old), weights(new))


def cut_everywhere(kind, blocks):
    """Repeat a save with the power gone after 0, 1, 2 .. writes, until it gets through."""
    disk = Disk(512 * blocks)
    kind.mkfs(disk)
    vfs.mount(kind(disk), "/d")
    old.save("/d/m.tp")
    vfs.umount("/d")
    start = disk.data
    writes = survived_new = 0
    while True:
        disk = Disk(start)
        vfs.mount(kind(disk), "/d")
        disk.writes = writes
        try:
            new.save("/d/m.tp")
            done = True
        except OSError:
            done = False
        try:
            vfs.umount("/d")
        except OSError:
            pass
        # Switched on again: nothing of the running program is left.
        disk = Disk(disk.data)
        vfs.mount(kind(disk), "/d")
        w = weights(tp.load("/d/m.tp"))
        assert w in KNOWN, "neither the old nor the new model after %d writes" % writes
        survived_new += w == KNOWN[1]
        # The next save works, and leaves nothing behind.
        new.save("/d/m.tp")
        assert weights(tp.load("/d/m.tp")) == KNOWN[1]
        names = sorted(os.listdir("/d"))
        assert names == ["m.tp"], names
        vfs.umount("/d")
        if done:
            break
        writes += 1
    print("%s: %d cuts, new model after %d" % (kind.__name__, writes, survived_new))
    assert writes > 2


def fill_up(kind, blocks):
    """With any amount of space left: OSError, the old file intact, no rest of the new one."""
    disk = Disk(512 * blocks)
    kind.mkfs(disk)
    vfs.mount(kind(disk), "/d")
    old.save("/d/m.tp")
    failed = 0
    junk = bytes(100)
    for k in range(400):
        try:
            with open("/d/junk%d" % (k % 20), "ab") as f:
                f.write(junk)
        except OSError:
            pass
        try:
            new.save("/d/m.tp")
            old.save("/d/m.tp")
        except OSError as e:
            failed += 1
            assert e.errno == ENOSPC, e
            names = os.listdir("/d")
            assert "m.tp" in names and "m.tp.tmp" not in names, names
            assert weights(tp.load("/d/m.tp")) in KNOWN
            if failed > 5:
                break
    assert failed > 5
    assert new.copy().train_step(x, 1) >= 0
    vfs.umount("/d")


def append_until_full(kind, blocks):
    disk = Disk(512 * blocks)
    kind.mkfs(disk)
    vfs.mount(kind(disk), "/d")
    d = tp.Dataset.create("/d/d.tpd", 50, classes=2)
    n = 0
    try:
        while True:
            d.append(bytes([n & 255] * 50), n & 1)
            n += 1
    except OSError as e:
        assert e.errno == ENOSPC, e
    assert len(d) == n > 20
    try:
        d.close()
    except OSError:
        pass
    d = tp.Dataset("/d/d.tpd")
    # What the medium took counts; the last ones may be lost with the failed write.
    assert n - 20 < len(d) <= n, (len(d), n)
    for k in range(len(d)):
        row, y = d[k]
        assert row[49] == k & 255 and y == k & 1
    d.close()
    vfs.umount("/d")


ran = 0
for name, blocks in (("VfsLfs2", 24), ("VfsFat", 64)):
    kind = getattr(vfs, name, None)
    if kind is None:
        continue
    cut_everywhere(kind, blocks)
    fill_up(kind, blocks)
    append_until_full(kind, blocks)
    ran += 1
print("OK" if ran else "SKIP: no file system")
