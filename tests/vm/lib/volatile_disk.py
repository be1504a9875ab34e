# SPDX-License-Identifier: GPL-2.0
"""
Disks with a volatile write cache, for power cuts: a block server (NBD) that stands behind a guest.

Killing an emulator loses nothing that its image file was given, flushed or not. Here what a guest writes stays in this
process, sector by sector, until the guest flushes. When the power is cut, none of it, all of it or a random part reaches the
file: on all disks at one instant, because no request is served meanwhile, or on those that are named. A disk that lies says that it has
flushed, and has not.

    python3 volatile_disk.py SOCKET NAME=IMAGE[,lying]…

serves each image as the export NAME. Standard input takes `cut none|all|random SEED [NAME…]`, after which every request fails, and
`power [NAME…]`, after which they are served again; without a name it is for all. Each is answered with a line `ok KEPT LOST` (sectors). The end
of the input ends it.
"""
import ctypes
import os
import random
import socket
import struct
import sys
import threading

SECTOR = 512
CACHED = 1 << 17                # sectors; the oldest half goes to the file when there are more, as in any cache
LARGE = 16 << 20                # bytes; what is to be zeros is so at once if it is more
ZEROS = bytes(SECTOR)
EARLY = 0.25                    # how often a cached sector goes to the file when another takes its place
PIECES = (1, 8, 128)            # sectors that share their fate at a cut, in different cuts

MAGIC, OPTION, REPLY = 0x4e42444d41474943, 0x49484156454f5054, 0x3e889045565a9
REQUEST, ANSWER = 0x25609513, 0x67446698
READ, WRITE, DISCONNECT, FLUSH, TRIM, WRITE_ZEROES = 0, 1, 2, 3, 4, 6
EXPORT_NAME, ABORT, INFO, GO = 1, 2, 6, 7
ACK, EXPORT = 1, 3
UNSUPPORTED, UNKNOWN = 1 << 31 | 1, 1 << 31 | 6
INFO_EXPORT, INFO_BLOCK_SIZE = 0, 3
FLAGS = 1 | 4 | 32 | 64         # flushes, trims and writes of zeros; no FUA, so that all that is durable was flushed
EIO, EINVAL = 5, 22
LONGEST = 32 << 20


class Disk:
    """An image file, and what was written and has not reached it."""

    def __init__(self, path, lying=False):
        self.file = os.open(path, os.O_RDWR)
        self.size = os.fstat(self.file).st_size
        self.lying = lying
        self.powered = True
        self.cache = {}                                     # sector: its bytes
        self.random = random.Random(0)

    def valid(self, offset, length):
        return not (offset | length) % SECTOR and offset + length <= self.size

    def read(self, offset, length):
        data = os.pread(self.file, length, offset)
        if not self.cache:
            return data
        data, first = bytearray(data), offset // SECTOR
        for sector in range(first, first + length // SECTOR):
            cached = self.cache.get(sector)
            if cached is not None:
                at = (sector - first) * SECTOR
                data[at:at + SECTOR] = cached
        return data

    def write(self, offset, data):
        first, count = offset // SECTOR, len(data) // SECTOR
        self.replace(first, (bytes(data[at * SECTOR:(at + 1) * SECTOR]) for at in range(count)), count)

    def zero(self, offset, length):
        first, count = offset // SECTOR, length // SECTOR
        if length <= LARGE:
            self.replace(first, (ZEROS for _ in range(count)), count)
            return
        for sector in [s for s in self.cache if first <= s < first + count]:
            del self.cache[sector]
        punch(self.file, offset, length)

    def replace(self, first, pieces, count):
        # A cache may write whenever it likes, so what is replaced has reached the file in some cases.
        early = {s: self.cache[s] for s in range(first, first + count)
                 if s in self.cache and self.random.random() < EARLY} if self.cache else {}
        self.settle(early)
        self.cache.update(zip(range(first, first + count), pieces))
        if len(self.cache) > CACHED:
            oldest = dict(list(self.cache.items())[:CACHED // 2])
            self.settle(oldest)
            for sector in oldest:
                del self.cache[sector]

    def flush(self):
        if not self.lying:
            self.settle(self.cache)
            self.cache.clear()

    def settle(self, sectors):
        """Writes these sectors to the file, neighbours together."""
        run, begin = [], None
        for sector in sorted(sectors):
            if begin is not None and sector != begin + len(run):
                os.pwrite(self.file, b"".join(run), begin * SECTOR)
                run, begin = [], None
            if begin is None:
                begin = sector
            run.append(sectors[sector])
        if run:
            os.pwrite(self.file, b"".join(run), begin * SECTOR)

    def cut(self, mode, seed):
        """Loses what has to be lost; how many sectors were kept and lost."""
        chance = random.Random(seed)
        share = {"none": 0.0, "all": 1.0, "random": chance.random()}[mode]
        piece, fates, kept = chance.choice(PIECES), {}, {}
        for sector in sorted(self.cache):
            if fates.setdefault(sector // piece, chance.random() < share):
                kept[sector] = self.cache[sector]
        self.settle(kept)
        lost = len(self.cache) - len(kept)
        self.cache.clear()
        return len(kept), lost


def punch(file, offset, length):
    """Makes a part of a file zeros that take no room (fallocate with PUNCH_HOLE and KEEP_SIZE)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(file, 3, ctypes.c_int64(offset), ctypes.c_int64(length)):
        raise OSError(ctypes.get_errno(), "cannot punch a hole")


class Gone(Exception):
    """The other end has closed the connection."""


def take(link, length):
    data = bytearray(length)
    view, have = memoryview(data), 0
    while have < length:
        got = link.recv_into(view[have:])
        if not got:
            raise Gone
        have += got
    return data


class Server:
    """All the disks of a machine. One request is served at a time."""

    def __init__(self, disks):
        self.disks = disks
        self.lock = threading.Lock()

    def cut(self, mode, seed, *names):
        counts = []
        with self.lock:
            for name in sorted(names or self.disks):
                disk = self.disks[name]
                if disk.powered:
                    disk.powered = False
                    counts.append(disk.cut(mode, f"{seed}/{name}"))
        return sum(kept for kept, _ in counts), sum(lost for _, lost in counts)

    def power(self, *names):
        with self.lock:
            for name in names or self.disks:
                self.disks[name].powered = True
        return 0, 0

    def serve(self, link):
        """A connection, until it is closed."""
        try:
            disk = self.negotiate(link)
            while disk:
                self.request(link, disk)
        except (Gone, ConnectionError):
            pass
        finally:
            link.close()

    def negotiate(self, link):
        link.sendall(struct.pack(">QQH", MAGIC, OPTION, 3))         # fixed newstyle, no padding of zeros
        take(link, 4)
        while True:
            _, option, length = struct.unpack(">QII", take(link, 16))
            data = bytes(take(link, length))

            def reply(kind, body=b"", option=option):
                link.sendall(struct.pack(">QIII", REPLY, option, kind, len(body)) + body)

            if option == EXPORT_NAME:
                disk = self.disks.get(data.decode())
                if disk:
                    link.sendall(struct.pack(">QH", disk.size, FLAGS))
                return disk
            if option in (INFO, GO):
                name = data[4:4 + struct.unpack_from(">I", data)[0]].decode()
                disk = self.disks.get(name)
                if not disk:
                    reply(UNKNOWN)
                    continue
                reply(EXPORT, struct.pack(">HQH", INFO_EXPORT, disk.size, FLAGS))
                reply(EXPORT, struct.pack(">HIII", INFO_BLOCK_SIZE, SECTOR, 4096, LONGEST))
                reply(ACK)
                if option == GO:
                    return disk
            elif option == ABORT:
                reply(ACK)
                raise Gone
            else:
                reply(UNSUPPORTED)

    def request(self, link, disk):
        magic, _, kind, cookie, offset, length = struct.unpack(">IHHQQI", take(link, 28))
        if magic != REQUEST or kind == DISCONNECT or (kind in (READ, WRITE) and length > LONGEST):
            raise Gone
        data = take(link, length) if kind == WRITE else None
        error, said = 0, b""
        with self.lock:
            if not disk.powered:
                error = EIO
            elif kind != FLUSH and not disk.valid(offset, length):
                error = EINVAL
            elif kind == READ:
                said = disk.read(offset, length)
            elif kind == WRITE:
                disk.write(offset, data)
            elif kind == FLUSH:
                disk.flush()
            elif kind in (TRIM, WRITE_ZEROES):
                disk.zero(offset, length)
            else:
                error = EINVAL
        link.sendall(struct.pack(">IIQ", ANSWER, error, cookie) + said)


def main(path, *words):
    disks = {}
    for word in words:
        name, _, rest = word.partition("=")
        image, _, lying = rest.partition(",")
        disks[name] = Disk(image, lying == "lying")
    server = Server(disks)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)

    def accept():
        while True:
            link, _ = listener.accept()
            threading.Thread(target=server.serve, args=(link,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    print("ready", flush=True)
    for line in sys.stdin:
        match line.split():
            case ["cut", ("none" | "all" | "random") as mode, seed, *names] if disks.keys() >= set(names):
                counts = server.cut(mode, seed, *names)
            case ["power", *names] if disks.keys() >= set(names):
                counts = server.power(*names)
            case _:
                print(f"error unknown request: {line.strip()}", flush=True)
                continue
        print("ok", *counts, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
