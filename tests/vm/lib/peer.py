# SPDX-License-Identifier: GPL-2.0
"""A scenario's second guest, the peer, and the network that only the two have: what `host peer …` and `host link …` do."""
import selectors
import shutil
import tempfile
from pathlib import Path

import console
from machine import Dead, Late

BOOTS = 3               # how often a boot is tried, for the emulator's own faults


class Link:
    """
    Each guest sends its frames, as datagrams, to a name that leads to the other's socket. Without the name they are lost, and no
    guest is told: its link is up.
    """
    WAYS = {"out": ("here", "peer"), "in": ("peer", "here")}      # a direction, as the first guest sees it: from, to

    def __init__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="stor-link."))
        self.heal()

    def machine(self, name):
        """What a guest's machine needs for it: arguments of QEMU, and words for the agent."""
        other, number = {"here": ("peer", 1), "peer": ("here", 2)}[name]
        ends = f"local.type=unix,local.path={self.dir / name},remote.type=unix,remote.path={self.dir / f'to-{other}'}"
        return (["-netdev", f"dgram,id=link,{ends}", "-device", f"virtio-net-pci,netdev=link,mac=52:54:00:00:77:0{number}"],
                f" STOR_ADDRESS=192.168.77.{number}/24")

    def cut(self, *ways):
        for way in ways or self.WAYS:
            (self.dir / f"to-{self.WAYS[way][1]}").unlink(missing_ok=True)

    def heal(self):
        self.cut()
        for _, name in self.WAYS.values():
            (self.dir / f"to-{name}").symlink_to(name)

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)


class Peer:
    def __init__(self, make, first, link, excuse):
        self.make = make                # makes its machine
        self.first = first              # the scenario's own machine, which takes in what this one says
        self.link = link
        self.excuse = excuse            # whether the emulator may be at fault if it does not boot
        self.machine = None
        self.lines = []                 # of the console, of all its boots
        self.ended = None               # how it ended, if nobody asked for that
        self.busy = False               # with a command

    def boot(self):
        """On the disks as they are. Dead, if it does not come up."""
        for left in reversed(range(BOOTS)):
            machine = self.make()
            try:
                machine.start()
                break
            except (Dead, Late) as error:
                late = isinstance(error, Late)
                if late:
                    machine.explain()
                machine.close()
                if not left or not self.excuse or not (late or console.emulator_fault(machine.lines)):
                    self.lines += machine.lines
                    self.ended = "it did not boot in time" if late else f"{error} during boot"
                    raise Dead(self.ended) from error
                machine.write("the emulator's fault: it is booted once more")
        self.lines += machine.lines
        machine.lines, machine.told = self.lines, self.told
        self.machine = machine
        self.first.selector.register(machine.selector, selectors.EVENT_READ, "peer")

    def kill(self):
        """Pulls its plug: its disks keep what they got."""
        if self.machine:
            self.first.selector.unregister(self.machine.selector)
            self.machine.close()
            self.machine = None

    def pump(self):
        """Takes in what it says. It may have been killed since it was found to say something."""
        try:
            if self.machine:
                self.machine.pump(0)
        except Dead as error:
            self.ended = str(error)
            self.kill()
            if self.busy:
                self.first.send("error the peer ended")

    def told(self, note):
        if self.busy and note.startswith("ran "):
            self.busy = False
            self.first.send("ok " + note.removeprefix("ran "))

    def found(self):
        """What of it fails a scenario."""
        found = console.splat(self.lines) or self.ended
        return found and f"of the peer: {found}"

    def host(self, words):
        """Does what a scenario asks for; the answer, or None if it is sent when the peer has it."""
        match words:
            case ["peer", "run", text] if self.machine:
                self.busy = True
                self.machine.send(f"command {text}")
                return None
            case ["peer", "kill"] if self.machine:
                self.kill()
            case ["peer", "boot"] if not self.machine:
                try:
                    self.boot()
                except Dead as error:
                    return f"error the peer: {error}"
            case ["link", "cut", *ways] if set(ways) <= set(Link.WAYS):
                self.link.cut(*ways)
            case ["link", "heal"]:
                self.link.heal()
            case _:
                return f"error the peer is {'there' if self.machine else 'not there'}: {' '.join(words)}"
        return "ok"

    def close(self):
        self.kill()
        self.link.close()
