# SPDX-License-Identifier: GPL-2.0
"""frames.py LIMIT MODULE…: fails if a function of a module takes more bytes of the kernel's stack than LIMIT, for itself.

There are 16 KiB for all that call one another. C has CONFIG_FRAME_WARN for this; rustc has nothing.
"""

import re
import subprocess
import sys


def frames(module):
    """Functions, with the bytes that they take from %rsp at once."""
    command = ["objdump", "-d", "--no-show-raw-insn", module]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        name = "?"
        for line in run.stdout:
            if found := re.match(r"[0-9a-f]+ <(.*)>:$", line):
                name = found[1]
            elif found := re.search(r"\bsub +\$0x([0-9a-f]+),%rsp", line):
                yield int(found[1], 16), name
    if run.returncode:
        sys.exit(f"frames: objdump cannot read {module}")


limit, wide = int(sys.argv[1]), False
for path in sys.argv[2:]:
    for size, function in frames(path):
        if size > limit:
            print(f"frames: {path}: {function} takes {size} bytes of stack, limit {limit}", file=sys.stderr)
            wide = True
sys.exit(wide)
