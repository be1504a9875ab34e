# SPDX-License-Identifier: GPL-2.0
"""Runs scenarios in guests and reports them as TAP. Called by tests/vm/run, which has made what a guest boots."""
import argparse
import os
import re
import shutil
import sys
import tempfile
import threading
import time
import tty
import termios
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import console
import scenario as scenarios
from machine import ROOT, Cut, Dead, Late, Machine, emulator_forgets, kvm_works
from peer import Link, Peer
from power import Power

SKIP = 77               # exit status of a scenario that lacks something
DEBUG_SLOWER = 5        # the debug kernel's time limits are this many times the stock ones
RETRIES = 3             # of a batch, for the emulator's own faults
TOGETHER = 12           # scenarios in one boot at most


def parse():
    parser = argparse.ArgumentParser(prog="tests/vm/run", description="Runs VM scenarios; docs/testing.md says more.")
    parser.add_argument("wanted", nargs="*", metavar="GROUP[/NNN]", help="what to run (default: all that suit the kernel)")
    parser.add_argument("--kernel", help="kernel to boot (default: $KERNEL, else 7.3-amd64)")
    parser.add_argument("--guest-only", action="store_true", help="only make the guest root")
    parser.add_argument("--sample", action="store_true", help="only scenarios marked `sample: yes`")
    parser.add_argument("--full", action="store_true", help="full counts inside the scenarios (STOR_FULL=1)")
    parser.add_argument("--fresh", action="store_true", help="a boot for each scenario: tells whose late warning it was")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="guests at a time (default 1)")
    parser.add_argument("--list", action="store_true", help="list the scenarios and stop")
    parser.add_argument("--verbose", action="store_true", help="show what scenarios print while they run")
    parser.add_argument("--keep", action="store_true", help="keep disk images and say where they are")
    parser.add_argument("--shell", action="store_true",
                        help="a shell in the guest: after the one scenario named, or at once if none is (exit ends it)")
    parser.add_argument("--prepared", type=Path, nargs=2, metavar=("KERNEL-DIR", "ROOT-IMAGE"), help=argparse.SUPPRESS)
    return parser.parse_args()


class Report:
    """TAP on standard output."""

    def __init__(self, verbose):
        self.lock = threading.Lock()
        self.count = {"pass": 0, "fail": 0, "skip": 0}
        self.verbose = verbose

    def note(self, text):
        with self.lock:
            print(f"# {text}", flush=True)

    def result(self, one, kind, reason, seconds, log):
        # A scenario that was meant to fail or to skip, and why, has then passed.
        want, regex = one.outcome
        if want != "pass":
            if kind == want and re.search(regex, reason):
                kind, reason = "pass", f"as it should: {want}: {reason}"
            else:
                kind, reason = "fail", f"should {want} with {regex!r}, but: {kind} {reason}"
        with self.lock:
            self.count[kind] += 1
            text = f"{'not ok' if kind == 'fail' else 'ok'} {sum(self.count.values())} - {one.id}"
            if kind == "skip":
                text += f" # SKIP {reason}"
            print(f"{text} # {seconds:.0f} s" if kind != "skip" else text)
            if kind == "fail":
                print(f"  # {reason}\n  # log: {os.path.relpath(log)}{', and that of the peer beside it' if one.peer else ''}")
            elif reason and kind == "pass":
                print(f"  # {reason}")
            sys.stdout.flush()


class Boot:
    """One boot and the scenarios that run in it."""

    def __init__(self, suite, batch, retries):
        self.suite, self.batch, self.retries = suite, batch, retries
        self.work = Path(tempfile.mkdtemp(prefix=f"{batch[0].group}-{batch[0].name[:3]}.", dir=suite.scratch))
        (self.work / "out").mkdir()
        disks = {f"disk{i}": disk for i, disk in enumerate(batch[0].disks) if disk.cache}
        self.power = Power(disks, self.work) if disks else None
        self.machine = None
        self.peer = None
        self.excused = False

    def make(self, disks, work, log, qemu=(), cmdline=""):
        first = self.batch[0]
        return Machine(
            self.suite.kernel, self.suite.root, self.suite.accel, disks=disks, mem=first.mem, cpus=first.cpus,
            cmdline=first.cmdline + cmdline + (" STOR_FULL=1" if self.suite.args.full else ""), extra=[*first.qemu, *qemu],
            work=work, log=log, power=self.power)

    def start(self, log):
        first = self.batch[0]
        link = Link() if first.peer else None
        self.machine = self.make(first.disks, self.work, log, *(link.machine("here") if link else ()))
        if self.suite.args.verbose:
            self.machine.echo = lambda line: self.suite.report.note(line)
        if link:
            (self.work / "peer/out").mkdir(parents=True)
            path = Path(log.name)
            self.peer_log = open(path.with_stem(f"{path.stem}-peer"), "w", encoding="utf-8")
            self.peer = self.machine.peer = Peer(
                lambda: self.make(first.peer, self.work / "peer", self.peer_log, *link.machine("peer")), self.machine, link,
                self.suite.accel == "tcg")
        self.machine.start()
        if link:
            self.peer.boot()

    def run(self):
        """Runs the batch; returns the scenarios that are left because one spoiled the guest."""
        for number, one in enumerate(self.batch):
            log_path = self.suite.logs / f"{one.group}-{one.name[:3]}.log"
            begin = time.monotonic()
            with open(log_path, "w", encoding="utf-8") as log:
                if number:
                    log.write(f"in one boot with, and after, {', '.join(s.id for s in self.batch[:number])}\n")
                kind, reason = self.one(one, log)
                self.machine.log = None
            if self.excused and self.retries:
                self.suite.report.note(f"{one.id}: {reason}: no fault of Stor's (see docs/testing.md), once more")
                self.retries -= 1
                return self.batch[number:]
            self.save(log_path)
            self.suite.report.result(one, kind, reason, time.monotonic() - begin, log_path)
            if kind == "fail" or one.alone:
                return self.batch[number + 1:]
        return []

    def one(self, one, log):
        """What came of a scenario, and why."""
        limit = one.timeout * (DEBUG_SLOWER if self.suite.debug else 1)
        try:
            for phase, ending in enumerate([*one.reboot, None], 1):
                if self.machine is None:
                    self.start(log)
                self.machine.log = log
                self.machine.falls = ending == "cut"
                kind, reason = self.phase(one, phase, limit)
                if kind != "pass" or ending is None:
                    return kind, reason
                if ending == "clean":
                    self.machine.shut_down()
                self.machine.close()
                found = self.splat(self.machine.lines)
                if found:
                    return "fail", f"kernel, in phase {phase}: {found}"
                self.machine = None
                if ending == "cut":
                    self.power.ask("power")
            raise AssertionError
        except Dead as error:
            return "fail", self.splat(self.machine.lines) or f"{error} during boot"
        except Late:
            # Nothing of ours runs before the agent does.
            self.excused = self.suite.accel == "tcg"
            self.machine.explain()
            return "fail", "the guest did not boot in time"

    def splat(self, lines):
        of_peer = self.peer.lines if self.peer else []
        self.excused = any(
            self.suite.forgets and console.emulator_fault(console_lines) or console.kernel_defect(console_lines)
            for console_lines in (lines, of_peer))
        return console.splat(lines) or (self.peer and self.peer.found())

    def phase(self, one, phase, limit):
        machine = self.machine
        machine.notes = []
        machine.send(f"run {one.path.relative_to(ROOT)} {phase}")
        late = None
        try:
            machine.wait(lambda: any(n.startswith("done ") for n in machine.notes), limit)
            end = f"stor-vm: end {one.path.relative_to(ROOT)} phase {phase}"
            machine.wait(lambda: any(end in line for line in machine.lines), 5)
        except Cut:
            return "pass", ""
        except Dead:
            return "fail", "kernel: " + (self.splat(machine.lines) or "the guest ended without a word")
        except Late:
            if not any(n.startswith("done ") for n in machine.notes):
                late = f"time limit of {limit} s passed"
        machine.settle(0.2)
        lines, machine.lines = machine.lines, []
        found = self.splat(lines)
        if late:
            machine.explain()
            return "fail", late + (f"; kernel: {found}" if found else "")
        if found:
            return "fail", f"kernel: {found}"
        *_, status, tainted = next(n for n in machine.notes if n.startswith("done ")).split()
        tainted, before = int(tainted), getattr(machine, "tainted", 0)
        machine.tainted = tainted
        bad = console.taint(before, tainted)
        if bad:
            return "fail", bad
        said = [n.partition(" ")[2] for n in machine.notes if n.startswith(("skip ", "why "))]
        if int(status) == SKIP:
            return "skip", said[0] if said else "no reason given"
        if int(status):
            return "fail", said[0] if said else f"exit status {status}"
        if machine.falls:
            return "fail", "it ended before the power was cut"
        return "pass", ""

    def save(self, log_path):
        """Files that the scenario left in /out."""
        files = [f for f in (self.work / "out").iterdir() if f.is_file()]
        if files:
            folder = log_path.with_suffix(".d")
            folder.mkdir(exist_ok=True)
            for file in files:
                shutil.move(file, folder / file.name)

    def shell(self):
        """Connects this terminal with the guest's console."""
        machine, stdin = self.machine, sys.stdin.fileno()
        print("# a shell in the guest; exit ends it", flush=True)
        machine.notes = []
        saved = termios.tcgetattr(stdin) if os.isatty(stdin) else None
        machine.raw = lambda data: os.write(1, data)
        machine.selector.register(0, 1, "stdin")
        if saved:
            tty.setraw(stdin)
        try:
            machine.send(f"shell {os.environ.get('TERM', 'dumb')}")
            while not machine.notes:
                for key, _ in machine.selector.select(1):
                    if key.data == "stdin":
                        data = os.read(0, 4096)
                        machine.socket["con"].sendall(data or b"\x04")
                        if not data:
                            machine.selector.unregister(0)
                        break
                else:
                    machine.pump(0)
        finally:
            if saved:
                termios.tcsetattr(stdin, termios.TCSADRAIN, saved)

    def close(self):
        if self.peer:
            self.peer.close()
            self.peer_log.close()
        if self.machine:
            self.machine.close()
        if self.power:
            self.power.close()
        if self.suite.args.keep:
            self.suite.report.note(f"kept: {self.work}")
        else:
            shutil.rmtree(self.work, ignore_errors=True)


class Suite:
    def __init__(self, args):
        self.args = args
        self.kernel, self.root = args.prepared
        self.release = (self.kernel / "release").read_text().strip()
        self.debug = "debug" in self.release
        self.logs = ROOT / "build/logs/vm" / self.release
        self.logs.mkdir(parents=True, exist_ok=True)
        self.scratch = ROOT / "build/vm"
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.report = Report(args.verbose)
        cache = self.kernel.parent
        self.accel = os.environ.get("STOR_ACCEL") or ("kvm" if kvm_works(self.kernel, cache) else "tcg")
        self.forgets = self.accel == "tcg" and emulator_forgets()

    def chosen(self):
        kind = "debug" if self.debug else "stock"
        kinds = ["all", kind] if self.release.endswith("-debug") else ["all", kind, "net"]
        return [s for s in scenarios.find(ROOT / "tests/vm", self.args.wanted)
                if s.kernels in kinds and (not self.args.sample or s.sample in ("yes", kind))]

    def batches(self, chosen):
        """Those of a group that ask for the same machine run in one boot."""
        boots = {}
        for one in chosen:
            boots.setdefault((one.machine, one.id if one.alone or self.args.fresh else ""), []).append(one)
        for run in boots.values():
            for start in range(0, len(run), TOGETHER):
                yield run[start:start + TOGETHER]

    def run_batch(self, batch):
        retries = RETRIES
        while batch:
            boot = Boot(self, batch, retries)
            try:
                batch = boot.run()
                retries = boot.retries
                if self.args.shell:
                    boot.shell()
            finally:
                boot.close()

    def run(self):
        chosen = self.chosen()
        if not chosen:
            raise SystemExit(f"tests/vm/run: no scenario suits {self.release} and what was asked for")
        print("TAP version 13")
        self.report.note(f"kernel {self.release}, {self.accel}")
        with ThreadPoolExecutor(self.args.jobs) as pool:
            for done in [pool.submit(self.run_batch, batch) for batch in self.batches(chosen)]:
                done.result()
        count = self.report.count
        print(f"1..{sum(count.values())}")
        print(f"{count['pass']} passed, {count['fail']} failed, {count['skip']} skipped")
        return 1 if count["fail"] else 0

    def only_shell(self):
        machine = scenarios.Scenario(Path("-"), "shell", "000-shell", disks=[scenarios.Disk.parse("1G")] * 2)
        boot = Boot(self, [machine], 0)
        try:
            with open(self.logs / "shell.log", "w", encoding="utf-8") as log:
                boot.start(log)
                boot.shell()
        finally:
            boot.close()
        return 0


def main():
    args = parse()
    if args.list:
        for one in scenarios.find(ROOT / "tests/vm", args.wanted):
            print(f"{one.id:40} {one.sample:6} {one.kernels:6} {one.title}")
        return 0
    suite = Suite(args)
    if args.shell and not args.wanted:
        return suite.only_shell()
    return suite.run()


if __name__ == "__main__":
    sys.exit(main())
