# SPDX-License-Identifier: GPL-2.0
"""What a disk with a volatile cache keeps and loses, and how the server speaks."""
import os
import socket
import struct
import threading
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import volatile_disk as vd

SIZE = 64 << 20
SECTORS = 2000


def pattern(letter, sectors=1):
    return letter.encode() * vd.SECTOR * sectors


class Folder(unittest.TestCase):
    def setUp(self):
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def disk(self, name="disk0", lying=False):
        path = self.folder / name
        path.write_bytes(b"")
        os.truncate(path, SIZE)
        disk = vd.Disk(path, lying)
        self.addCleanup(os.close, disk.file)
        return disk


class Cache(Folder):
    def held(self, disk, letter):
        """How many of the first sectors hold a letter, in the file itself."""
        data = os.pread(disk.file, SECTORS * vd.SECTOR, 0)
        return sum(data[at:at + vd.SECTOR] == pattern(letter) for at in range(0, len(data), vd.SECTOR))

    def test_reads_see_the_cache_and_the_file_does_not(self):
        disk = self.disk()
        disk.write(512, pattern("a", 3))
        disk.write(1024, pattern("b"))
        self.assertEqual(disk.read(0, 2560), pattern("\0") + pattern("a") + pattern("b") + pattern("a") + pattern("\0"))
        self.assertEqual(self.held(disk, "a") + self.held(disk, "b"), 0)

    def test_what_was_flushed_survives_every_cut(self):
        for mode in ("none", "all", "random"):
            disk = self.disk(mode)
            disk.write(0, pattern("a", SECTORS))
            disk.flush()
            self.assertEqual(disk.cut(mode, 1), (0, 0))
            self.assertEqual(self.held(disk, "a"), SECTORS)

    def test_what_was_not_flushed(self):
        for mode, least, most in (("none", 0, 0), ("all", SECTORS, SECTORS), ("random", 1, SECTORS - 1)):
            disk = self.disk(mode)
            disk.write(0, pattern("a", SECTORS))
            disk.flush()
            disk.write(0, pattern("b", SECTORS))
            kept, lost = disk.cut(mode, 7)
            self.assertEqual(kept + lost, SECTORS)
            self.assertTrue(least <= kept <= most, f"{mode}: {kept}")
            self.assertEqual((self.held(disk, "a"), self.held(disk, "b")), (lost, kept))

    def test_random_cuts_differ_by_seed_only(self):
        def kept(seed):
            disk = self.disk(f"d{seed}")
            disk.write(0, pattern("b", SECTORS))
            disk.cut("random", seed)
            return disk.read(0, SECTORS * vd.SECTOR)

        images = [kept(seed) for seed in range(8)]
        self.assertEqual(len(set(map(bytes, images))), 8)
        self.assertEqual(kept(3), images[3])

    def test_a_lying_disk_loses_what_was_flushed(self):
        disk = self.disk(lying=True)
        disk.write(0, pattern("a", SECTORS))
        disk.flush()
        self.assertEqual(disk.cut("none", 1), (0, SECTORS))
        self.assertEqual(self.held(disk, "a"), 0)

    def test_replaced_sectors_reach_the_file_now_and_then(self):
        disk = self.disk()
        disk.write(0, pattern("a", SECTORS))
        disk.write(0, pattern("b", SECTORS))
        disk.cut("none", 1)
        self.assertTrue(SECTORS / 8 < self.held(disk, "a") < SECTORS / 2)
        self.assertEqual(self.held(disk, "b"), 0)

    def test_zeros(self):
        disk = self.disk()
        disk.write(0, pattern("a", SECTORS))
        disk.flush()
        disk.zero(0, vd.SECTOR * 10)
        self.assertEqual(disk.read(0, vd.SECTOR * 11), pattern("\0", 10) + pattern("a"))
        disk.cut("none", 1)
        self.assertEqual(self.held(disk, "a"), SECTORS)
        # More at one time: at once, whatever was cached.
        disk.write(0, pattern("b"))
        disk.zero(0, vd.LARGE + 512)
        self.assertEqual(disk.cut("all", 1), (0, 0))
        self.assertEqual(self.held(disk, "a"), 0)
        self.assertEqual(self.held(disk, "b"), 0)

    def test_the_cache_is_bounded(self):
        disk = self.disk()
        with patch.object(vd, "CACHED", 1000):
            disk.write(0, pattern("a", SECTORS))
            disk.write(1 << 20, pattern("b", SECTORS))
        self.assertLess(len(disk.cache), 2 * SECTORS)
        self.assertGreaterEqual(self.held(disk, "a"), 500)
        self.assertEqual(disk.read(0, 512), pattern("a"))


class Client:
    """As much of NBD as it takes to ask for things."""

    def __init__(self, server, name):
        self.link, other = socket.socketpair()
        self.thread = threading.Thread(target=server.serve, args=(other,))
        self.thread.start()
        assert struct.unpack(">QQH", vd.take(self.link, 18)) == (vd.MAGIC, vd.OPTION, 3)
        self.link.sendall(struct.pack(">I", 3))
        assert self.option(8) == [vd.UNSUPPORTED]          # structured replies
        body = struct.pack(">I", len(name)) + name.encode() + struct.pack(">H", 0)
        self.replies = self.option(vd.GO, body)

    def option(self, option, body=b""):
        self.link.sendall(struct.pack(">QII", vd.OPTION, option, len(body)) + body)
        kinds = []
        while not kinds or kinds[-1] == vd.EXPORT:
            magic, said, kind, length = struct.unpack(">QIII", vd.take(self.link, 20))
            assert (magic, said) == (vd.REPLY, option)
            vd.take(self.link, length)
            kinds.append(kind)
        return kinds

    def ask(self, kind, offset=0, length=0, data=b""):
        self.link.sendall(struct.pack(">IHHQQI", vd.REQUEST, 0, kind, 42, offset, length or len(data)) + data)
        magic, error, cookie = struct.unpack(">IIQ", vd.take(self.link, 16))
        assert (magic, cookie) == (vd.ANSWER, 42)
        return error or (vd.take(self.link, length) if kind == vd.READ else 0)

    def close(self):
        self.link.close()
        self.thread.join()


class Protocol(Folder):
    def test_all(self):
        disks = {"disk0": self.disk("disk0"), "disk1": self.disk("disk1")}
        server = vd.Server(disks)
        clients = [Client(server, name) for name in disks]
        for client, letter in zip(clients, "ab"):
            self.addCleanup(client.close)
            self.assertEqual(client.replies, [vd.EXPORT, vd.EXPORT, vd.ACK])
            self.assertEqual(client.ask(vd.WRITE, 512, data=pattern(letter, 4)), 0)
            self.assertEqual(client.ask(vd.READ, 1024, 512), pattern(letter))
            self.assertEqual(client.ask(vd.TRIM, 512, 512), 0)
            self.assertEqual(client.ask(vd.WRITE_ZEROES, 1024, 512), 0)
            self.assertEqual(client.ask(vd.READ, 0, 2048), pattern("\0", 3) + pattern(letter))
            self.assertEqual(client.ask(vd.WRITE, 1, data=b"x"), vd.EINVAL)
            self.assertEqual(client.ask(vd.READ, SIZE, 512), vd.EINVAL)
        self.assertEqual(clients[0].ask(vd.FLUSH), 0)
        # Both at once; one had flushed.
        self.assertEqual(server.cut("none", 1), (0, 4))
        for client in clients:
            for kind, data in ((vd.READ, b""), (vd.WRITE, pattern("c")), (vd.FLUSH, b"")):
                self.assertEqual(client.ask(kind, 0, 512 if kind == vd.READ else 0, data), vd.EIO)
        server.power()
        self.assertEqual(clients[0].ask(vd.READ, 1536, 512), pattern("a"))
        self.assertEqual(clients[1].ask(vd.READ, 1536, 512), pattern("\0"))
        # One of them; when the others go it has gone.
        self.assertEqual(clients[1].ask(vd.WRITE, 0, data=pattern("d")), 0)
        self.assertEqual(server.cut("none", 1, "disk1"), (0, 1))
        self.assertEqual(clients[0].ask(vd.WRITE, 0, data=pattern("d")), 0)
        self.assertEqual(clients[1].ask(vd.READ, 0, 512), vd.EIO)
        self.assertEqual(server.cut("all", 1), (1, 0))
        server.power("disk1")
        self.assertEqual(clients[0].ask(vd.READ, 0, 512), vd.EIO)
        self.assertEqual(clients[1].ask(vd.READ, 0, 512), pattern("\0"))

    def test_unknown_export(self):
        client = Client(vd.Server({}), "disk0")
        self.assertEqual(client.replies, [vd.UNKNOWN])
        client.close()


if __name__ == "__main__":
    unittest.main()
