# SPDX-License-Identifier: GPL-2.0
"""What may not stand in a kernel's log."""
import itertools
import re

# Each is matched behind the time stamp of a kernel message.
SPLATS = [
    r"-{8,}\[ cut here \]",
    r"WARNING: ",                                  # also lockdep: possible circular …, inconsistent lock state, suspicious RCU
    r"INFO: ",                                     # hung tasks, lockdep, RCU
    r"BUG: ",                                      # also KASAN, soft lockup, workqueue lockup, sleeping in invalid context
    r"(Oops|Kernel panic|general protection fault|traps: PANIC)",
    r"(rcu: INFO|rcu: .* stall|rcu_\w+ (detected|self-detected) stall|rcu_tasks.* stall)",
    r"Voluntary context switch within RCU",
    r".*\b(KASAN|UBSAN|KFENCE|KCSAN):",
    r"kmemleak: [1-9]\d* new suspected memory leaks",
    r"(list_(add|del) corruption|refcount_t: |ODEBUG: |rust_kernel: panicked)",
    r".*blocked for more than \d+ seconds",
    r"watchdog: BUG",
    r"Call Trace:",
    r"\s*(# )?not ok \d",                          # KUnit
    r"# \S+: (EXPECTATION|ASSERTION) FAILED",
    r"Out of memory: ",
]
STAMP = r"^(?:\[[ \d.]+\](?:\[[ \w]+\])? )?"
SPLAT = re.compile(STAMP + "(?:" + "|".join(SPLATS) + ")")

# Bits of /proc/sys/kernel/tainted that a sound kernel never gets: bad page, died, warned, soft lock-up.
BAD_TAINT = {5: "bad page", 7: "oops", 9: "warning", 14: "lock-up"}


def splat(lines):
    """The first line that no sound kernel prints, without its time stamp, or None."""
    for number, line in enumerate(lines):
        if SPLAT.match(line):
            if "cut here" in line and number + 1 < len(lines):    # the next line says more
                line = lines[number + 1]
            return re.sub(STAMP, "", line).strip()
    return None


def emulator_fault(lines):
    """
    QEMU before 8.1 can keep a translation of code that another CPU was just patching, and then runs into the breakpoint
    that stood there for a moment. It shows as an int3 in the kernel's own text. An int3 in a module or at an address
    without a name is not excused: that is what running freed code looks like.
    """
    for number, line in enumerate(lines):
        if re.match(STAMP + "Oops: int3", line):
            return any(re.match(STAMP + r"RIP: 0010:[a-z_]\w*\+0x[0-9a-f/x]+$", after)
                       for after in lines[number + 1:number + 8])
    return False


# Where kernels themselves warn, now and then: a function of the trace, which is never one of ours.
DEFECTS = [
    r"setup_IO_APIC\+",             # 7.3 with KASAN: a timer interrupts the making of its own interrupt's domain (mask_ioapic_irq)
    r"nvmet_ctrl_destroy_pr\+",     # nvmet 7.3: a controller goes while its reservation is preempted (percpu_ref_exit)
]


def kernel_defect(lines):
    """Whether the first thing that no sound kernel prints is a known defect of a kernel, far from anything of ours."""
    for number, line in enumerate(lines):
        if SPLAT.match(line):
            trace = itertools.takewhile(lambda after: "---[ end trace" not in after, lines[number:number + 60])
            return any(re.match(STAMP + r"\s*" + defect, after) for after in trace for defect in DEFECTS)
    return False


def taint(before, after):
    bits = [name for bit, name in BAD_TAINT.items() if (after & ~before) >> bit & 1]
    return "kernel tainted: " + ", ".join(bits) if bits else None
