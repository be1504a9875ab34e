# SPDX-License-Identifier: GPL-2.0
"""
Instructions per I/O. QEMU's -icount makes one instruction take one virtual nanosecond on one CPU, so that virtual
time divided by I/Os is a count of instructions that repeats to a fraction of a percent, however busy the host is.
It knows nothing of caches, of other CPUs, or of waiting for locks.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

import console
from machine import QEMU, ROOT, Dead, Late, Machine

# How far two boots may differ.
SPREAD = 0.005
TIME_LIMIT = 1800


def linear_limits(workload, figures):
    """What linear may add to the raw device, for one I/O of that size."""
    limit = {"4k": 2700, "128k": 4500}[workload.split()[0]]
    return [(figures["stor"] - figures["raw"], limit, f"stor adds {{:.0f}}, more than {limit}")]


def thin_limits(workload, figures):
    """What thin may cost. New blocks: beside dm-thin with the same setting, whether what is not written is made zeros."""
    size, kind = workload.split()[:2]
    adds = figures["stor"] - figures["raw"]
    if "new-block" in kind:
        pairs = [("stor", "dm-thin-zero"), ("stor-no-zero", "dm-thin")]
    elif kind == "shared-block":
        pairs = [("stor", "dm-thin-zero")]
    elif kind.endswith("+fsync"):
        pairs = [("stor", "dm-thin")]
    elif size == "4k":
        return [(adds, 3900, "stor adds {:.0f}, more than 3900")]
    else:
        ratio = adds / (figures["dm-thin"] - figures["raw"])
        return [(ratio, 0.6, "stor adds {:.2f} of what dm-thin adds, more than 0.6")]
    limit = 1.0 if size != "4k" else 0.8 if kind.endswith("+fsync") else 0.6
    return [(figures[own] / figures[of], limit, f"{own} costs {{:.2f}} of {of}, more than {limit}") for own, of in pairs]


def replica_limits(workload, figures):
    """What a replica of two legs may cost."""
    size, kind = workload.split()[:2]
    adds, md = (figures[device] - figures["raw"] for device in ("stor", "md"))
    if kind == "first-write":
        return [(figures["stor"] / figures["md"], 1.2, "stor costs {:.2f} of md, more than 1.2")]
    if size == "128k":
        return [(adds / md, 0.6 if kind == "nodata-write" else 1.0, "stor adds {:.2f} of what md adds, too much")]
    limit = 6000 if "write" in kind else 2800
    return [(adds, limit, f"stor adds {{:.0f}}, more than {limit}")]


# What the guest runs, its devices, and what is allowed.
SUITES = {
    "linear": ("tests/perf/measure", ("raw", "dm-linear", "stor"), linear_limits),
    "thin": ("tests/perf/measure-thin", ("raw", "dm-thin", "dm-thin-zero", "stor", "stor-no-zero"), thin_limits),
    "replica": ("tests/perf/measure-replica", ("raw", "md", "stor"), replica_limits),
}

CPU = "max,-rdrand,-rdseed,-erms,-fsrm"         # rep movsb would count each byte
ACCEL = ["-icount", "shift=0,sleep=off", "-rtc", "base=2026-01-01,clock=vm", "-seed", "1"]
# Virtual time leaps when all wait, such as for a disk of a busy host.
CMDLINE = "nokaslr norandmaps sysctl.kernel.hung_task_timeout_secs=0"


def instructions(job):
    """Per I/O of a job."""
    done = job["read"] if job["read"]["total_ios"] else job["write"]
    return done["runtime"] * 1e6 / done["total_ios"]


def prepare():
    """Makes the folders, and says where logs go."""
    for folder in ("logs/perf", "bench", "vm"):
        (ROOT / "build" / folder).mkdir(parents=True, exist_ok=True)
    return ROOT / "build/logs/perf"


def jobs(figure):
    """What makes {workload: {device: figure}} of fio's answers."""
    def take(work):
        figures = {}
        for file in sorted((work / "out").glob("*.json")):
            _, workload, device = file.stem.split(",")
            figures.setdefault(workload, {})[device] = figure(json.loads(file.read_text())["jobs"][0])
        return figures
    return take


def boot(kernel, root, script, log_path, take=jobs(instructions), cpus=1, mem=1024, machine=Machine):
    """One boot, in which the guest runs a script: what `take` makes of the folder with what it left."""
    with tempfile.TemporaryDirectory(dir=ROOT / "build/vm", prefix="bench.") as work, \
            open(log_path, "w", encoding="utf-8") as log:
        work = Path(work)
        (work / "out").mkdir()
        machine = machine(kernel, root, "tcg", cpus=cpus, mem=mem, cmdline=CMDLINE, cpu=CPU, accel_args=ACCEL, work=work, log=log)
        try:
            machine.start()
            machine.notes = []
            machine.send(f"run {script} 1")
            machine.wait(lambda: any(n.startswith("done ") for n in machine.notes), TIME_LIMIT)
        except (Dead, Late) as error:
            machine.explain()
            raise SystemExit(f"bench: {error or 'time limit'}; log: {log_path}")
        finally:
            machine.close()
        bad = console.splat(machine.lines)
        if bad or "done 0 " not in "".join(machine.notes):
            raise SystemExit(f"bench: {bad or '; '.join(machine.notes)}; log: {log_path}")
        return take(work)


def judge(boots, names, limits_of):
    """The table of the boots' medians, and what is wrong with them"""
    bad = []
    devices = [d for d in names if d in next(iter(boots[0].values()))]
    table = f"{'instructions per I/O':30}" + "".join(f"{d:>13}" for d in devices)
    table += "".join(f"{'+' + d:>14}" for d in devices[1:]) + f"{'spread':>9}"
    for workload, first in boots[0].items():
        middle = {d: median(b[workload][d] for b in boots) for d in first}
        spread = max((max(b[workload][d] for b in boots) / min(b[workload][d] for b in boots) - 1) for d in first)
        table += f"\n{workload:30}" + "".join(f"{middle[d]:13.0f}" if d in middle else f"{'':13}" for d in devices)
        table += "".join(f"{middle[d] - middle['raw']:14.0f}" if d in middle else f"{'':14}" for d in devices[1:])
        table += f"{spread:9.2%}"
        if "stor" in middle:
            bad += [f"{workload}: {text.format(figure)}" for figure, limit, text in limits_of(workload, middle) if figure > limit]
        # A row of a fixed number of I/Os is timed in whole milliseconds.
        if spread > SPREAD and "-block" not in workload:
            bad.append(f"{workload}: the boots differ by {spread:.2%}, more than {SPREAD:.1%}")
    if "stor" not in devices:
        bad.append("no modules are built for this kernel, so there is no row for stor: make kmod tools")
    return table, bad


def main():
    parser = argparse.ArgumentParser(prog="tests/perf/run")
    parser.add_argument("--suite", choices=SUITES, default="linear", help="what to measure (default linear)")
    parser.add_argument("--kernel", help="kernel to boot (default: $KERNEL, else 7.3-amd64)")
    parser.add_argument("--boots", type=int, default=2, help="how often to measure (default 2)")
    parser.add_argument("--gate", action="store_true", help="fail if stor adds too much, or the boots differ too much")
    parser.add_argument("--prepared", type=Path, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    kernel, root = args.prepared
    script, names, limits_of = SUITES[args.suite]
    release = (kernel / "release").read_text().strip()
    logs, out = prepare(), ROOT / "build/bench"

    boots = []

    def measure(count):
        for _ in range(count):
            number = len(boots) + 1
            print(f"# boot {number}", file=sys.stderr, flush=True)
            boots.append(boot(kernel, root, script, logs / f"{release}-{args.suite}-{number}.log"))

    measure(args.boots)
    table, bad = judge(boots, names, limits_of)
    # Some rows differ by a few dozen instructions from boot to boot: one that is just beyond its limit is measured twice more.
    if args.gate and bad and len(boots) < 3:
        measure(2)
        table, bad = judge(boots, names, limits_of)
    print(f"kernel {release}, lower device brd, {len(boots)} boots\n{table}")

    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    version = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    result = out / f"{release}-{args.suite}.json"
    result.write_text(json.dumps({
        "unit": "instructions per I/O", "kernel": release, "commit": commit.stdout.strip(), "qemu": version,
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"), "boots": boots,
    }, indent=1) + "\n")
    print(f"written to {result.relative_to(ROOT)}")
    for line in bad:
        print(f"{'not ok' if args.gate else 'note'}: {line}")
    return 1 if args.gate and bad else 0


if __name__ == "__main__":
    sys.exit(main())
