# SPDX-License-Identifier: GPL-2.0
"""
How long writes take while something else happens to their volume. QEMU's -icount makes an instruction take a virtual nanosecond, on
two processors that take turns, so that the figures repeat, however busy the host is. Times are of that clock: they compare, and
are not what a machine would show.
"""
import argparse
import sys
from pathlib import Path

import bench


def latency(job):
    """Of a job's writes: the 99.9th percentile and the longest, in microseconds."""
    times = job["write"]["clat_ns"]
    return times["percentile"]["99.900000"] / 1000, times["max"] / 1000


def main():
    parser = argparse.ArgumentParser(prog="tests/perf/run --suite pauses")
    parser.add_argument("--suite", choices=["pauses"])
    parser.add_argument("--kernel")
    parser.add_argument("--prepared", type=Path, nargs=2, help=argparse.SUPPRESS)
    kernel, root = parser.parse_args().prepared
    release = (kernel / "release").read_text().strip()
    logs = bench.prepare()
    figures = bench.boot(kernel, root, "tests/perf/measure-pauses", logs / f"{release}-pauses.log",
                         bench.jobs(latency), cpus=2, mem=2560)
    print(f"kernel {release}: 4 KiB random writes at depth 4 to a thin volume, virtual µs\n{'while':36}{'p99.9':>10}{'longest':>10}")
    for event, row in figures.items():
        print(f"{event:36}{row['with'][0]:10.0f}{row['with'][1]:10.0f}")


if __name__ == "__main__":
    sys.exit(main())
