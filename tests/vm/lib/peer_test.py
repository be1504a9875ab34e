# SPDX-License-Identifier: GPL-2.0
"""Which frames a link loses, and what a peer answers to a scenario."""
import selectors
import socket
import unittest

from machine import Dead
from peer import BOOTS, Link, Peer


class Links(unittest.TestCase):
    def setUp(self):
        self.link = Link()
        self.addCleanup(self.link.close)
        self.sockets = {name: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for name in ("here", "peer")}
        for name, end in self.sockets.items():
            end.bind(str(self.link.dir / name))
            end.setblocking(False)
            self.addCleanup(end.close)

    def passes(self):
        """The directions in which a frame arrives."""
        found = set()
        for way, (sender, receiver) in Link.WAYS.items():
            try:
                self.sockets[sender].sendto(b"frame", str(self.link.dir / f"to-{receiver}"))
                self.sockets[receiver].recv(9)
                found.add(way)
            except (FileNotFoundError, BlockingIOError):
                pass
        return found

    def test_ways(self):
        self.assertEqual(self.passes(), {"in", "out"})
        for ways, left in ((["in"], {"out"}), (["out"], {"in"}), ([], set()), (["in", "out"], set())):
            self.link.cut(*ways)
            self.link.cut(*ways)
            self.assertEqual(self.passes(), left)
            self.link.heal()
            self.assertEqual(self.passes(), {"in", "out"})

    def test_guests_differ(self):
        (here, here_words), (peer, peer_words) = self.link.machine("here"), self.link.machine("peer")
        self.assertNotEqual(here_words, peer_words)
        self.assertFalse({word for word in here if "=" in word} & {word for word in peer if "=" in word})


class Guest:
    """Stands for a machine."""
    def __init__(self, boots=True, lines=()):
        self.boots, self.lines, self.sent = boots, list(lines), []
        self.selector, self.ends = selectors.DefaultSelector(), False

    def start(self):
        if not self.boots:
            raise Dead("the guest ended")

    def send(self, line):
        self.sent.append(line)

    def pump(self, _seconds):
        if self.ends:
            raise Dead("the guest ended")

    def write(self, line):
        pass

    def close(self):
        self.selector.close()


INT3 = ["[    2.4] Oops: int3: 0000 [#1] SMP NOPTI", "[    2.4] RIP: 0010:sched_clock_cpu+0x9/0x1f0"]


class Requests(unittest.TestCase):
    def peer(self, *guests, excuse=True):
        first, left = Guest(), list(guests)
        self.addCleanup(first.close)
        link = Link()
        peer = Peer(lambda: left.pop(0), first, link, excuse)
        self.addCleanup(peer.close)
        return peer, first

    def test_command(self):
        peer, first = self.peer(Guest())
        self.assertIn("error", peer.host("peer run true".split()))
        self.assertEqual(peer.host("peer boot".split()), "ok")
        self.assertIsNone(peer.host("peer run Cg==".split()))
        self.assertEqual(peer.machine.sent, ["command Cg=="])
        peer.told("why not")
        peer.told("ran 0 =YQ== =")
        peer.told("ran 0 = =")
        self.assertEqual(first.sent, ["ok 0 =YQ== ="])
        self.assertIn("error", peer.host("peer boot".split()))
        self.assertIn("error", peer.host("link cut sideways".split()))

    def test_ends(self):
        peer, first = self.peer(Guest(lines=["[    1.0] fine"]), Guest())
        peer.boot()
        self.assertEqual(peer.host("peer kill".split()), "ok")
        peer.pump()
        self.assertEqual(peer.host("peer boot".split()), "ok")
        self.assertIsNone(peer.found())
        self.assertIsNone(peer.host("peer run Cg==".split()))
        peer.machine.ends = True
        peer.pump()
        self.assertEqual(first.sent, ["error the peer ended"])
        self.assertEqual(peer.found(), "of the peer: the guest ended")

    def test_boots(self):
        # The emulator's faults are not the scenario's, but only so often.
        peer, _ = self.peer(Guest(False, INT3), Guest())
        peer.boot()
        self.assertIsNone(peer.found())
        peer, _ = self.peer(*(Guest(False, INT3) for _ in range(BOOTS)))
        self.assertRaises(Dead, peer.boot)
        peer, _ = self.peer(Guest(False, ["[    2.4] Kernel panic - not syncing"]), Guest())
        self.assertIn("error", peer.host("peer boot".split()))
        self.assertEqual(peer.found(), "of the peer: Kernel panic - not syncing")
        peer, _ = self.peer(Guest(False, INT3), Guest(), excuse=False)
        self.assertRaises(Dead, peer.boot)


if __name__ == "__main__":
    unittest.main()
