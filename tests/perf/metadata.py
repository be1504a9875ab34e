# SPDX-License-Identifier: GPL-2.0
"""
storctl metadata and the thin-provisioning-tools side by side, each command of the two in turns so that what else the
machine does meets both. Files are in memory, so that neither waits for a disk. Wall time, CPU time and the largest
resident memory, of which the median is told; with --instructions also what valgrind counts, which repeats exactly.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ("wall", "cpu", "memory")


def measure(command, out):
    """Runs a command; seconds, CPU seconds, MiB."""
    memory = out.with_suffix(".memory")
    # A child begins with its parent's memory: let it be that of a small parent.
    command = ["time", "-q", "-f", "%M", "-o", memory, *command]
    with open(out, "wb") as file:
        begin = time.monotonic()
        child = subprocess.Popen(command, stdout=file, stderr=subprocess.PIPE)
        errors = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"bench: {' '.join(map(str, command))}: {errors.decode(errors='replace').strip()}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "memory": int(memory.read_text()) / 1024}


def instructions(command, out):
    """Instructions of a command in user space, in millions."""
    with open(out, "wb") as file:
        ran = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command],
                             stdout=file, stderr=subprocess.PIPE, check=False)
    counted = re.search(rb"Collected : (\d+)", ran.stderr)
    if ran.returncode or not counted:
        raise SystemExit(f"bench: valgrind {' '.join(map(str, command))}: {ran.stderr.decode(errors='replace')[-500:]}")
    return int(counted[1]) / 1e6


def main():
    parser = argparse.ArgumentParser(prog="tests/perf/metadata")
    parser.add_argument("--mappings", type=int, default=10_000_000, help="of all volumes together (default 10000000)")
    parser.add_argument("--volumes", type=int, default=8)
    parser.add_argument("--snapshots", type=int, default=64)
    parser.add_argument("--run", type=int, default=16, help="blocks in a row, on average (default 16)")
    parser.add_argument("--rewritten", type=int, default=5, help="per mille between two snapshots (default 5)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="how often each command is run (default 5)")
    parser.add_argument("--only", help="one of the commands")
    parser.add_argument("--instructions", action="store_true", help="count instructions too, once each; takes long")
    parser.add_argument("--gate", action="store_true", help="fail if storctl takes more time or memory than they do")
    parser.add_argument("--folder", type=Path, default="/dev/shm", help="where the files go (default /dev/shm)")
    parser.add_argument("--ours", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--theirs", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--generator", type=Path, required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=args.folder, prefix="stor-bench.") as work:
        work = Path(work)
        metadata, xml, copy = work / "metadata", work / "xml", work / "copy"
        shape = [f"--{name}={getattr(args, name)}" for name in
                 ("mappings", "volumes", "snapshots", "run", "rewritten", "seed")]
        subprocess.run([args.generator, "generate", metadata, *shape], check=True)
        size = metadata.stat().st_size
        subprocess.run([args.theirs, "thin_dump", metadata, "-o", xml], check=True)

        def fresh():
            """An empty file to restore to."""
            with open(copy, "wb") as file:
                file.truncate(size)

        first, last = "0", str(args.volumes * (args.snapshots // args.volumes))
        ours, theirs = [args.ours, "metadata"], args.theirs
        commands = {
            "check": ([*ours, "check", metadata], [theirs, "thin_check", metadata]),
            "dump": ([*ours, "dump", metadata], [theirs, "thin_dump", metadata]),
            "delta": ([*ours, "delta", metadata, last, first],
                      [theirs, "thin_delta", "--thin1", last, "--thin2", first, metadata]),
            "delta --xml --same": ([*ours, "delta", metadata, last, first, "--xml", "--same"],
                                   [theirs, "thin_delta", "--thin1", last, "--thin2", first, metadata]),
            "restore": ([*ours, "restore", "-i", xml, "-o", copy], [theirs, "thin_restore", "-i", xml, "-o", copy]),
        }
        help_text = subprocess.run([*ours, "--help"], capture_output=True, text=True, check=False).stdout
        commands = {name: pair for name, pair in commands.items()
                    if f"\n  {name.split()[0]} " in help_text and args.only in (None, name)}
        stat = json.loads(subprocess.run([*ours, "stat", metadata, "--json"], capture_output=True, check=True).stdout)
        version = subprocess.run([theirs, "thin_check", "--version"], capture_output=True, text=True, check=True).stdout
        print(f"{args.mappings} mappings, {args.volumes} volumes, {args.snapshots} snapshots, {stat['metadata_used']} of "
              f"{stat['metadata_blocks']} metadata blocks in use; thin-provisioning-tools {version.strip()}, "
              f"median of {args.rounds}", flush=True)
        print(f"{'':20}{'wall, s':>18}{'CPU, s':>18}{'memory, MiB':>18}" +
              (f"{'instructions, M':>18}" if args.instructions else ""), flush=True)

        result, bad = {}, []
        for name, pair in commands.items():
            runs = ([], [])
            outs = (work / "ours", work / "theirs")
            for _ in range(args.rounds):
                for command, out, into in zip(pair, outs, runs):
                    fresh()
                    into.append(measure(command, out))
            if name == "delta --xml --same" and outs[0].read_text().strip() != outs[1].read_text().strip():
                bad.append(f"{name}: the answers differ")
            if name == "restore":
                fresh()
                measure(pair[0], outs[0])
                measure([theirs, "thin_check", copy], outs[0])
            middle = [{figure: statistics.median(run[figure] for run in of) for figure in FIGURES} for of in runs]
            if args.instructions:
                for of, command, out in zip(middle, pair, outs):
                    fresh()
                    of["instructions"] = instructions(command, out)
            row = f"{name:20}"
            for figure, ours_figure in middle[0].items():
                their = middle[1][figure]
                digits = 2 if figure in ("wall", "cpu") else 0
                row += f"{f'{ours_figure:.{digits}f} / {their:.{digits}f}':>18}"
                if ours_figure > their and figure != "instructions":
                    bad.append(f"{name}: {figure} {ours_figure:.2f}, theirs {their:.2f}")
            print(row, flush=True)
            result[name] = {"ours": runs[0], "theirs": runs[1], "median": middle}

    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    out = ROOT / "build/bench/metadata.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({
        "shape": shape, "commit": commit.stdout.strip(), "theirs": version.strip(),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"), "commands": result,
    }, indent=1) + "\n")
    print(f"ours / theirs; written to {out.relative_to(ROOT)}")
    for line in bad:
        print(f"{'not ok' if args.gate else 'note'}: {line}")
    return 1 if args.gate and bad else 0


if __name__ == "__main__":
    sys.exit(main())
