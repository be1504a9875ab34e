# SPDX-License-Identifier: GPL-2.0
"""One guest under QEMU: its console, its two ports (ctl, out), its monitor."""
import json
import os
import re
import selectors
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BOOT_LIMIT = 180        # seconds until the agent answers
HOST_LIMIT = 30         # seconds for the monitor to do what a scenario asks
MODULES = {"virtio": "", "nvme": "nvme", "scsi": "virtio_scsi,sd_mod"}     # that a driver of disks needs in the guest
QEMU = "qemu-system-x86_64"


class Dead(Exception):
    """The guest ended, or never came up."""


class Late(Exception):
    """A time limit passed."""


class Cut(Exception):
    """The power was cut, as the scenario asked for."""


def kvm_works(kernel, cache):
    """Boots a kernel under KVM: some hosts open /dev/kvm, make a virtual machine, and then hang in it."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    known = cache / "kvm-probe"
    if known.exists() and known.read_text().split()[:1] == [boot]:
        return known.read_text().split()[1] == "yes"
    command = [QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-accel", "kvm",
               "-cpu", "max", "-smp", "2", "-m", "512", "-serial", "stdio", "-kernel", kernel / "vmlinuz",
               "-initrd", kernel / "initrd", "-append", "console=ttyS0 quiet panic=-1 stor_vm.probe"]
    try:
        run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=15, check=False)
        works = b"stor-vm: probe ok" in run.stdout
    except subprocess.TimeoutExpired:
        works = False
    known.write_text(f"{boot} {'yes' if works else 'no'}\n")
    return works


def emulator_forgets():
    """Whether this QEMU has the defect that console.emulator_fault() tells of."""
    version = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.search(r"version (\d+)\.(\d+)", version).groups())) < (8, 1)


def copies(release, work):
    """An image of what scenarios read below /stor, for a kernel that cannot share folders. What they write to /out is lost."""
    tree, image = work / "stor", work / "stor.img"
    if not image.exists():
        for pattern in ("tests/vm/*/*", f"build/kmod/{release}/*.ko", "build/tools/stor*", f"build/image/{release}/*.tar",
                        "driver-container/*.rules"):
            for file in filter(Path.is_file, ROOT.glob(pattern)):
                copy = tree / file.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, copy)
        size = sum(file.stat().st_size for file in tree.rglob("*")) * 2 + (16 << 20)
        with open(image, "wb") as file:
            file.truncate(size)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", tree, image], check=True)
    return image


class Machine:
    def __init__(self, kernel, root, accel, *, disks=(), mem=1024, cpus=2, cmdline="", extra=(), work=None, log=None,
                 power=None, cpu="max", accel_args=()):
        self.log = log
        self.lines = []                 # of the console, since the log was last changed
        self.notes = []                 # of the agent, other than answers
        self.part = {}                  # unfinished lines
        self.events = []
        self.answers = {}
        self.told = None                # called with each of those notes
        self.peer = None                # the second guest, whose words come in with this one's
        self.echo = None                # called with each line that a scenario prints
        self.raw = None                 # called with what the console prints, as it comes
        self.started = time.monotonic()
        self.dir = Path(tempfile.mkdtemp(prefix="stor-vm."))
        self.listeners = {}
        for name in ("con", "ctl", "out", "qmp"):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(self.dir / name))
            listener.listen(1)
            self.listeners[name] = listener
        self.disks = {f"disk{i}": disk for i, disk in enumerate(disks)}
        self.work = work
        self.power = power              # serves the disks that lose what is not flushed
        self.falls = False              # whether a power cut takes the guest too
        release = (kernel / "release").read_text().strip()
        # loglevel: the agent raises it. The clocks and watchdogs are told that this machine may be busy. norandmaps: QEMU translates
        # a program anew wherever it is mapped, so one whose address differs each time takes three times as long to start.
        append = f"console=ttyS0 loglevel=5 panic=-1 oops=panic sysrq_always_enabled printk.devkmsg=on mitigations=off norandmaps " \
                 f"no_timer_check tsc=reliable rcupdate.rcu_cpu_stall_timeout=90 watchdog_thresh=30 {cmdline}"
        if "debug" in release:
            # no5lvl: an interrupt while the boot CPU's features are being read over finds 5-level paging off for a moment,
            # which KASAN takes for a wild access.
            append += " panic_on_warn=1 kasan.fault=panic kunit.filter_glob=stor_* no5lvl"
            append += "" if "kmemleak=" in cmdline else " kmemleak=off"
        modules = sorted({MODULES[disk.driver] for disk in disks} - {""})
        if modules:
            append += f" STOR_MODULES={','.join(modules)}"
        self.command = [
            QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", "pc",
            "-accel", accel, *accel_args, "-cpu", cpu, "-smp", str(cpus), "-m", str(mem),
            "-kernel", str(kernel / "vmlinuz"), "-initrd", str(kernel / "initrd"), "-append", append,
            *(arg for name in self.listeners
              for arg in ("-chardev", f"socket,id={name},path={self.dir / name}")),
            "-serial", "chardev:con", "-mon", "chardev=qmp,mode=control", "-device", "virtio-serial-pci",
            "-device", "virtserialport,chardev=ctl,name=ctl", "-device", "virtserialport,chardev=out,name=out",
            *self.image("root", root), *self.image("modules", kernel / "modules.img"),
            *(self.image("stor", copies(release, work)) if (kernel / "without-9p").exists() else (
                "-virtfs", f"local,path={ROOT},mount_tag=stor,security_model=none,readonly=on,multidevs=remap",
                "-virtfs", f"local,path={work / 'out'},mount_tag=out,security_model=none,multidevs=remap")),
        ]
        if any(disk.driver == "scsi" for disk in disks):
            self.command += ["-device", "virtio-scsi-pci,id=scsi"]
        for name, disk in self.disks.items():
            self.command += ["-blockdev", self.node(name, disk), "-device", self.device(name)]
        self.command += extra

    @staticmethod
    def image(name, path):
        return ("-blockdev", f"driver=raw,node-name={name},read-only=on,file.driver=file,file.filename={path}",
                "-device", f"virtio-blk-pci,drive={name},serial={name}")

    def node(self, name, disk):
        if disk.cache:
            below = {"driver": "nbd", "server": {"type": "unix", "path": self.power.path}, "export": name, "discard": "unmap"}
        else:
            below = {"driver": "raw", "discard": "unmap", "detect-zeroes": "unmap",
                     "file": {"driver": "file", "filename": str(disk.image(name, self.work)), "discard": "unmap"}}
        return json.dumps({"driver": "throttle", "node-name": name, "throttle-group": f"{name}-limit", "discard": "unmap",
                           "file": below})

    def device(self, name):
        disk = self.disks[name]
        driver = {"virtio": "virtio-blk-pci", "nvme": "nvme", "scsi": "scsi-hd,bus=scsi.0"}[disk.driver]
        return ",".join([driver, f"drive={name}", f"serial={name}", f"id={name}", *disk.properties])

    # --- life

    def start(self):
        """Boots and waits for the agent."""
        for name in self.disks:
            self.command[1:1] = ["-object", f"throttle-group,id={name}-limit"]
        errors = open(self.dir / "qemu.err", "wb")
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        errors.close()
        self.selector = selectors.DefaultSelector()
        self.socket = {}
        for name, listener in self.listeners.items():
            listener.settimeout(10)
            try:
                self.socket[name], _ = listener.accept()
            except TimeoutError:
                raise Dead("qemu did not start" + self.errors())
            listener.close()
            self.part[name] = b""
            self.selector.register(self.socket[name], selectors.EVENT_READ, name)
        self.qmp("qmp_capabilities")
        self.wait(lambda: any(note.startswith("ready") for note in self.notes), BOOT_LIMIT)

    def errors(self):
        text = (self.dir / "qemu.err").read_text(errors="replace").strip()
        return ": " + text.splitlines()[-1] if text else ""

    def close(self):
        """Pulls the plug."""
        if getattr(self, "process", None):
            self.process.kill()
            self.process.wait()
            try:
                while self.pump(0.1):
                    pass
            except Dead:
                pass
        shutil.rmtree(self.dir, ignore_errors=True)

    def shut_down(self, limit=60):
        self.send("shutdown")
        try:
            self.wait(lambda: False, limit)
        except Dead:
            pass

    # --- talk

    def send(self, line):
        self.socket["ctl"].sendall(line.encode() + b"\n")

    def pump(self, seconds):
        """Takes in what the guest says within that time. False: nothing came."""
        ready = self.selector.select(seconds)
        for key, _ in ready:
            if key.data == "peer":
                self.peer.pump()
                continue
            try:
                data = key.fileobj.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                self.selector.unregister(key.fileobj)
                if {left.data for left in self.selector.get_map().values()} <= {"peer"}:
                    raise Dead("the guest ended" + self.errors())
                continue
            if key.data == "con" and self.raw:
                self.raw(data)
            *lines, self.part[key.data] = (self.part[key.data] + data).split(b"\n")
            for line in lines:
                self.take(key.data, line.decode(errors="replace").rstrip("\r"))
        if not ready and self.process.poll() is not None:
            raise Dead("the guest ended" + self.errors())
        return bool(ready)

    def take(self, source, line):
        if source == "con":
            self.lines.append(line)
            self.write(line)
        elif source == "out":
            self.write(f"{time.monotonic() - self.started:9.2f} | {line}")
            if self.echo:
                self.echo(line)
        elif source == "ctl":
            if line.startswith("host "):
                answer = self.host(line.split()[1:])
                if answer:
                    self.send(answer)
            else:
                self.notes.append(line)
                if self.told:
                    self.told(line)
        else:
            message = json.loads(line)
            if "event" in message:
                self.events.append(message)
            elif "id" in message:
                self.answers[message["id"]] = message

    def write(self, line):
        if self.log:
            self.log.write(line + "\n")
            self.log.flush()

    def clock(self):
        """Seconds, without those in which a busy host kept the guest waiting for a CPU: no limit is to count them."""
        waited = 0
        for thread in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
            try:
                waited = max(waited, int(thread.read_text().split()[1]))
            except (OSError, IndexError):
                pass
        # What another guest of the same machine took from this host, if it is a guest itself.
        stolen = int(Path("/proc/stat").read_text(encoding="ascii").split()[8]) / os.sysconf("SC_CLK_TCK") / os.cpu_count()
        return time.monotonic() - waited / 1e9 - stolen

    def wait(self, done, limit):
        end = self.clock() + limit
        while not done():
            if self.clock() >= end:
                raise Late
            self.pump(1)

    def settle(self, seconds):
        """Lets late kernel messages come."""
        end = time.monotonic() + seconds
        try:
            while (left := end - time.monotonic()) > 0:
                self.pump(left)
        except Dead:
            pass

    def explain(self):
        """After a time limit: has the kernel print where its tasks are."""
        try:
            for key in b"wl":
                self.qmp("chardev-send-break", id="con")
                self.settle(0.5)
                self.socket["con"].sendall(bytes([key]))
                self.settle(2)
        except (Dead, Late, OSError, RuntimeError):
            pass

    # --- the monitor

    def qmp(self, execute, **arguments):
        number = f"{execute}-{len(self.answers)}-{time.monotonic()}"
        message = {"execute": execute, "arguments": arguments, "id": number}
        self.socket["qmp"].sendall(json.dumps(message).encode() + b"\n")
        self.wait(lambda: number in self.answers, HOST_LIMIT)
        answer = self.answers[number]
        if "error" in answer:
            raise RuntimeError(answer["error"]["desc"])
        return answer["return"]

    def host(self, words):
        """What a scenario asks of the host (`host …` in lib/guest.sh): done, it answers ok. None: it answers later."""
        try:
            match words:
                case ["unplug", disk] if disk in self.disks:
                    seen = len(self.events)
                    self.qmp("device_del", id=disk)
                    self.wait(lambda: any(e["event"] == "DEVICE_DELETED" and e["data"].get("device") == disk
                                          for e in self.events[seen:]), HOST_LIMIT)
                case ["plug", disk] if disk in self.disks:
                    driver, *rest = self.device(disk).split(",")
                    self.qmp("device_add", driver=driver, **dict(word.split("=", 1) for word in rest))
                case ["resize", disk, size] if disk in self.disks:
                    self.qmp("block_resize", **{"node-name": disk, "size": int(size)})
                case ["throttle", disk, iops] if disk in self.disks:
                    # 0 takes the limit away
                    self.qmp("qom-set", path=f"/objects/{disk}-limit", property="limits",
                             value={"iops-total": int(iops)})
                case ["crawl", disk, bps] if disk in self.disks:
                    # What waits already goes on as slowly as it was to.
                    limits = {"iops-total": 0, "bps-total": int(bps)}
                    self.qmp("qom-set", path=f"/objects/{disk}-limit", property="limits", value=limits)
                case ["cut", mode, seed, *rest] if self.power:
                    after, names = sum(int(word) for word in rest if word.isdigit()), [word for word in rest if not word.isdigit()]
                    time.sleep(after / 1000)
                    said = self.power.ask(" ".join(["cut", mode, seed, *names]))
                    self.write(f"{time.monotonic() - self.started:9.2f} | the power is cut, {mode} {seed} {names or ''}: {said}")
                    if self.falls and not names:
                        raise Cut
                    return said
                case ["power", *names] if self.power:
                    return self.power.ask(" ".join(["power", *names]))
                case ["peer" | "link", *_] if self.peer:
                    return self.peer.host(words)
                case _:
                    return "error unknown request: " + " ".join(words)
        except (RuntimeError, Late) as error:
            return f"error {str(error) or 'the monitor did not answer in time'}"
        return "ok"
