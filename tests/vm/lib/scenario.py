# SPDX-License-Identifier: GPL-2.0
"""A scenario: one file tests/vm/<group>/NNN-name, and what its header asks for (docs/testing.md)."""
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Disk:
    """`SIZE[,virtio|nvme|scsi][,volatile|lying][,property=value…]`"""
    size: int
    driver: str = "virtio"
    cache: str = ""                               # volatile: what is not flushed is lost in a power cut; lying: so is what is
    properties: list = field(default_factory=list)

    @classmethod
    def parse(cls, text):
        size, *rest = text.split(",")
        match = re.fullmatch(r"(\d+)([KMG]?)", size)
        if not match:
            raise ValueError(f"disk size {size!r}")
        disk = cls(int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2]])
        for word in rest:
            if "=" in word:
                disk.properties.append(word)
            elif word in ("virtio", "nvme", "scsi"):
                disk.driver = word
            elif word in ("volatile", "lying"):
                disk.cache = word
            else:
                raise ValueError(f"disk driver {word!r}")
        return disk

    def image(self, name, folder):
        """The file with its contents; made, empty, if there is none."""
        image = folder / f"{name}.img"
        if not image.exists():
            with open(image, "wb") as file:
                file.truncate(self.size)
        return image


@dataclass
class Scenario:
    path: Path
    group: str
    name: str                                     # NNN-name
    title: str = ""
    disks: list = field(default_factory=list)
    peer: list = field(default_factory=list)      # disks of a second guest; none: there is no such guest
    mem: int = 1024                               # MiB
    cpus: int = 2
    timeout: int = 300                            # seconds for each phase, on a stock kernel; only a hang takes so long
    kernels: str = "all"                          # stock | debug | all
    sample: str = "no"                            # part of the quick run: yes | stock | debug (only on such kernels) | no
    share: bool = True                            # may run in one boot with others that ask for the same machine
    reboot: list = field(default_factory=list)    # how each phase but the last ends: clean | kill | cut
    qemu: list = field(default_factory=list)
    cmdline: str = ""
    outcome: tuple = ("pass", "")                 # what must come of it: pass | fail REGEX | skip REGEX

    @property
    def id(self):
        return f"{self.group}/{self.name}"

    @property
    def machine(self):
        """Scenarios with an equal machine can share a boot."""
        return (self.group, self.mem, self.cpus, self.cmdline, repr(self.disks), repr(self.qemu))

    @property
    def alone(self):
        return not self.share or bool(self.reboot) or bool(self.peer) or self.outcome[0] == "fail"

    def set(self, key, value):
        if key == "disks":
            self.disks = [Disk.parse(word) for word in value.split()]
        elif key == "peer":
            self.peer = [Disk.parse(word) for word in value.split()]
            if not self.peer or any(disk.cache for disk in self.peer):
                raise ValueError("a peer has disks, which keep what they get")
        elif key in ("mem", "cpus", "timeout"):
            setattr(self, key, int(value))
        elif key == "share":
            self.share = {"yes": True, "no": False}[value]
        elif key == "sample" and value in ("yes", "stock", "debug", "no"):
            self.sample = value
        elif key == "kernels" and value in ("stock", "debug", "net", "all"):
            self.kernels = value
        elif key == "reboot" and set(value.split()) <= {"clean", "kill", "cut"}:
            self.reboot = value.split()
        elif key == "qemu":
            self.qemu += shlex.split(value)
        elif key == "cmdline":
            self.cmdline = value
        elif key == "outcome" and value.split()[0] in ("pass", "fail", "skip"):
            kind, _, regex = value.partition(" ")
            self.outcome = (kind, regex)
        else:
            raise ValueError(f"{key}: {value}")


KEYS = {"disks", "peer", "mem", "cpus", "timeout", "kernels", "sample", "share", "reboot", "qemu", "cmdline", "outcome"}


def load(path):
    """Reads the comment at the top of a scenario: one line of title, then `# key: value` lines."""
    scenario = Scenario(path, path.parent.name, path.name)
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        text = line.lstrip("#").strip()
        key, colon, value = text.partition(":")
        if colon and key in KEYS:
            try:
                scenario.set(key, value.strip())
            except (ValueError, KeyError, IndexError) as error:
                raise SystemExit(f"{path}: bad header line {line!r}: {error}")
        elif text and not scenario.title and not re.match(r"SPDX|!|shellcheck", text):
            scenario.title = text
    if scenario.peer and scenario.reboot:
        raise SystemExit(f"{path}: a scenario with a peer has one phase")
    return scenario


def find(folder, wanted):
    """The scenarios that `wanted` names: group, group/NNN, group/NNN-name or a path; all if it is empty."""
    found = [load(p) for p in sorted(folder.glob("*/[0-9][0-9][0-9]-*")) if not p.name.endswith("~")]
    if not wanted:
        return found
    chosen = []
    for word in wanted:
        name = word.rstrip("/").split("tests/vm/")[-1]
        match = [s for s in found if name in (s.group, s.id, f"{s.group}/{s.name[:3]}")]
        if not match:
            raise SystemExit(f"no scenario is called {word!r}: see tests/vm/run --list")
        chosen += [s for s in match if s not in chosen]
    return chosen
