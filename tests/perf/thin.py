# SPDX-License-Identifier: GPL-2.0
"""
Instructions of the thin metadata engine, which callgrind counts, to the last one the same each time; and the memory that it has.
It is built as a kernel builds modules. What it does is in tests/perf/thin/src.
"""
import argparse
import json
import re
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Mappings of a pool, and the blocks of its metadata device: trees of two, three and four levels.
POOLS = {10_000: 8_192, 1_000_000: 49_152, 10_000_000: 98_304}
SMALL, MIDDLE, LARGE = POOLS
# Instructions of one, and the pool.
LIMITS = [("lookup", MIDDLE, 600), ("insert", MIDDLE, 10_000), ("insert", LARGE, 10_000),
          # Whose cost is that of the bitmaps in which old and new blocks happen to lie.
          ("commit of a snapshot", LARGE, 150_000)]
# What may cost in LARGE only so many times what it costs in SMALL.
CONSTANT = {"snapshot": 1.2}
# What may cost only so many times what something else does.
ALIKE = {("lookup, 256 snapshots deep", "lookup, 259 devices"): 1.05}
# Frames of the pool whose memory is measured; the bytes that a frame, and a block of metadata, may take; and the rest.
FRAMES, PER_FRAME, PER_BLOCK, REST = 4096, 4096 + 52, 4.5, 2 << 20


def ask(program, *words, prefix=()):
    """The lines that it prints: {what: number}"""
    done = subprocess.run([*prefix, program, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True)
    return {what: int(number) for what, number in (line.split("\t") for line in done.stdout.splitlines())}


def counts(program, image, mappings, crc="hardware"):
    """{operation: instructions of one}"""
    with tempfile.TemporaryDirectory(dir=image.parent, prefix="callgrind.") as work:
        out = Path(work) / "out"
        prefix = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}",
                  "--zero-before=stor_count_begin", "--dump-before=stor_count_end"]
        times = ask(program, "run", image, mappings, crc, prefix=prefix)
        figures = {}
        for number, what in enumerate(times, 1):
            dump = Path(f"{out}.{number}").read_text(encoding="utf-8", errors="replace")
            figures[what] = int(re.findall(r"^totals: (\d+)", dump, re.M)[-1]) / times[what]
        return figures


def main():
    parser = argparse.ArgumentParser(prog="tests/perf/thin-run")
    parser.add_argument("--gate", action="store_true", help="fail beyond the limits")
    parser.add_argument("--program", type=Path, required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    out = ROOT / "build/bench"
    out.mkdir(parents=True, exist_ok=True)

    columns = {}
    with tempfile.TemporaryDirectory(dir=out, prefix="thin.") as work:
        image = Path(work) / "image"
        for mappings, blocks in POOLS.items():
            print(f"# a pool of {mappings:,} mappings", file=sys.stderr, flush=True)
            ask(args.program, "make", image, mappings, blocks)
            columns[f"{mappings:,}"] = counts(args.program, image, mappings)
            if mappings == MIDDLE:
                columns[f"{mappings:,}, tables"] = counts(args.program, image, mappings, "tables")
        memory = ask(args.program, "memory", image, FRAMES)

    print(f"{'instructions of one, mappings:':32}" + "".join(f"{name:>20}" for name in columns))
    for what in next(iter(columns.values())):
        print(f"{what:32}" + "".join(f"{figures[what]:20,.0f}" for figures in columns.values()))
    most = FRAMES * PER_FRAME + memory["metadata blocks"] * PER_BLOCK + REST
    print(f"memory with {LARGE:,} mappings in {memory['metadata blocks']:,} blocks of metadata, {FRAMES:,} of them cached: "
          f"{memory['opened']:,} bytes when open, at most {memory['peak']:,}; {most:,.0f} are allowed")

    bad = []
    for what, mappings, limit in LIMITS:
        if columns[f"{mappings:,}"][what] > limit:
            bad.append(f"{what}, {mappings:,} mappings: {columns[f'{mappings:,}'][what]:.0f}, more than {limit}")
    for what, limit in CONSTANT.items():
        ratio = columns[f"{LARGE:,}"][what] / columns[f"{SMALL:,}"][what]
        if ratio > limit:
            bad.append(f"{what}: {ratio:.2f} times as much with {LARGE:,} mappings as with {SMALL:,}, more than {limit}")
    for (what, other), limit in ALIKE.items():
        for name, figures in columns.items():
            if figures[what] > limit * figures[other]:
                bad.append(f"{what}, {name} mappings: {figures[what] / figures[other]:.2f} times as much as {other}, more than {limit}")
    if memory["peak"] > most:
        bad.append(f"memory: {memory['peak']:,} bytes, more than {most:,.0f}")

    def said(*command):
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    result = out / "thin.json"
    result.write_text(json.dumps({
        "unit": "instructions", "commit": said("git", "rev-parse", "HEAD"), "valgrind": said("valgrind", "--version"),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"), "pools": columns, "memory": memory,
    }, indent=1) + "\n")
    print(f"written to {result.relative_to(ROOT)}")
    for line in bad:
        print(f"{'not ok' if args.gate else 'note'}: {line}")
    return 1 if args.gate and bad else 0


if __name__ == "__main__":
    sys.exit(main())
