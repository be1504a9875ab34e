# SPDX-License-Identifier: GPL-2.0
"""
Which function the instructions of an I/O are in. QEMU logs each instruction that the guest executes while dd reads or writes, once with
few I/Os and once with more: the difference, by I/O, is what an I/O costs, without what dd itself does. Beside it, what the same costs on
the raw device, so that a row tells what the volume adds.
"""
import argparse
import bisect
import re
import sys
from collections import Counter
from pathlib import Path

import bench
from machine import Machine

LEAST = 8       # instructions per I/O that a function adds, to have a row
# Stages, by module or by how a function of the kernel is called; the first that fits.
STAGES = [
    ("engine", r"\[stor_engine_"),
    ("front", r"\[stor\]"),
    ("device-mapper", r"\[dm_"),
    ("lower device", r"\[brd\]"),
    ("block layer: requests and tags", r"^(__)?(blk_|elv_|sbitmap|rq_|req_|dd_|update_io_ticks|part_|disk_)"),
    ("block layer: bios", r"^(__)?(bio_|submit_bio|bdev_|mempool|bvec|guard_bio|should_fail)"),
    ("completion, softirq and waking", r"^(try_to_wake|ttwu|__?do_softirq|raise_softirq|handle_softirqs|wake_|llist|irq_|enqueue|dequeue|"
                                       r"activate|select_|pick_|put_prev|set_next|update_|schedule|__schedule|finish_task|context|switch)"),
    ("memory", r"^(kmem_|__?slab|kmalloc|kfree|mem|clear_|copy_)"),
    ("clocks", r"^(ktime|read_tsc|timekeeping|sched_clock|native_sched)"),
    ("locks and RCU", r"^(_raw_|__?rcu|mutex|up_|down_|percpu_|__percpu|lock|osq|refcount)"),
    ("other", r""),
]


def stage(function):
    return next(name for name, pattern in STAGES if re.search(pattern, function))


def plain(symbol):
    """A mangled Rust name, as the path in it."""
    if not symbol.startswith("_R"):
        return symbol
    words, place = [], 2
    while place < len(symbol):
        # A back reference or a number that tells equal names apart; a name behind its length; a tag.
        if number := re.match(r"[Bs][0-9A-Za-z]*_", symbol[place:]):
            place += number.end()
        elif length := re.match(r"([1-9][0-9]*)_?", symbol[place:]):
            begin = place + length.end()
            place = begin + int(length[1])
            words.append(symbol[begin:place])
        else:
            place += 1
    return "::".join(words[1:]) or symbol


class Symbols:
    def __init__(self, kallsyms):
        found = {}
        for line in kallsyms.read_text().splitlines():
            address, kind, name, *module = line.split()
            if kind in "tTwW":
                found[int(address, 16)] = " ".join([plain(name), *module])
        self.addresses = sorted(found)
        self.names = [found[address] for address in self.addresses]

    def __getitem__(self, address):
        place = bisect.bisect_right(self.addresses, address)
        return self.names[place - 1] if place else "?"


class Tracer(Machine):
    """Writes down what the guest executes between `host trace on FILE` and `host trace off`."""

    def host(self, words):
        match words:
            case ["trace", "on", name]:
                self.monitor(f"logfile {self.work / name}")
                self.monitor("singlestep on")
                self.monitor("log exec,nochain")
            case ["trace", "off"]:
                self.monitor("log none")
                self.monitor("singlestep off")
            case _:
                return super().host(words)
        return "ok"

    def monitor(self, line):
        self.qmp("human-monitor-command", **{"command-line": line})


def count(trace):
    """{address: how often}, of the kernel."""
    seen = Counter()
    with open(trace, encoding="ascii", errors="replace") as lines:
        for line in lines:
            # Trace CPU: HOST [cs base/pc/flags/cflags]
            begin = line.find("/")
            if line.startswith("Trace") and line[begin + 1:begin + 9] >= "ffffffff":
                seen[line[begin + 1:begin + 17]] += 1
    trace.unlink()
    return seen


def per_io(files, symbols):
    """{function: instructions per I/O}, of two traces {I/Os: trace}."""
    (few, less), (many, more) = sorted(files.items())
    functions = Counter()
    for sign, trace in ((-1, less), (1, more)):
        for address, times in count(trace).items():
            functions[symbols[int(address, 16)]] += sign * times
    return {name: times / (many - few) for name, times in functions.items()}


def profiles(work):
    """{workload: {device: {function: instructions per I/O}}}, of what the guest left."""
    symbols, files = Symbols(work / "out/kallsyms"), {}
    for trace in sorted(work.glob("*,*,*")):
        workload, device, number = trace.name.split(",")
        files.setdefault(workload, {}).setdefault(device, {})[int(number)] = trace
    return {workload: {device: per_io(traces, symbols) for device, traces in devices.items()} for workload, devices in files.items()}


def report(workload, devices):
    raw = devices.pop("raw")
    for device, functions in devices.items():
        added = Counter({name: functions.get(name, 0) - raw.get(name, 0) for name in {*functions, *raw}})
        stages = Counter()
        for name, times in added.items():
            stages[stage(name)] += times
        print(f"\n{workload}, {device}: {sum(functions.values()):.0f} in the kernel, {sum(raw.values()):.0f} on the raw device")
        for name, times in stages.most_common():
            if abs(times) >= LEAST:
                print(f"{times:8.0f}  {name}")
        print("        of which")
        for name, times in added.most_common():
            if times >= LEAST:
                print(f"{times:8.0f}  {name}")


def main():
    parser = argparse.ArgumentParser(prog="tests/perf/run --suite profile")
    parser.add_argument("--suite", choices=["profile"])
    parser.add_argument("--kernel")
    parser.add_argument("--prepared", type=Path, nargs=2, help=argparse.SUPPRESS)
    kernel, root = parser.parse_args().prepared
    release = (kernel / "release").read_text().strip()
    logs = bench.prepare()
    found = bench.boot(kernel, root, "tests/perf/measure-profile", logs / f"{release}-profile.log", machine=Tracer, take=profiles)
    print(f"kernel {release}, lower device brd: instructions per I/O that a volume adds")
    for workload, devices in found.items():
        report(workload, devices)


if __name__ == "__main__":
    sys.exit(main())
