# SPDX-License-Identifier: GPL-2.0
"""What counts as a splat: python3 -m unittest discover -s tests/vm/lib -p '*_test.py'"""
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory

import console
import scenario

BAD = {
    "WARNING: mm/page_alloc.c:4321 at __alloc_pages+0x1": ["[   12.3] ------------[ cut here ]------------",
                                                           "[   12.3] WARNING: mm/page_alloc.c:4321 at __alloc_pages+0x1"],
    "WARNING: possible circular locking dependency detected": ["[    1.0] WARNING: possible circular locking dependency detected"],
    "WARNING: inconsistent lock state": ["[    1.0][  T12] WARNING: inconsistent lock state"],
    "WARNING: suspicious RCU usage": ["[    1.0] WARNING: suspicious RCU usage"],
    "BUG: KASAN: slab-use-after-free in f+0x1/0x2 [stor]": ["[    1.0] BUG: KASAN: slab-use-after-free in f+0x1/0x2 [stor]"],
    "BUG: sleeping function called from invalid context at x.c:1":
        ["[    1.0] BUG: sleeping function called from invalid context at x.c:1"],
    "BUG: kernel NULL pointer dereference, address: 0": ["[    1.0] BUG: kernel NULL pointer dereference, address: 0"],
    "Oops: general protection fault, maybe for address 0x1: 0000 [#1] SMP":
        ["[    1.0] Oops: general protection fault, maybe for address 0x1: 0000 [#1] SMP"],
    "INFO: task fio:123 blocked for more than 60 seconds.": ["[  100.0] INFO: task fio:123 blocked for more than 60 seconds."],
    "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:": ["[  100.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:"],
    "watchdog: BUG: soft lockup - CPU#0 stuck for 22s!": ["[  100.0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!"],
    "Voluntary context switch within RCU read-side critical section!":
        ["[    9.0] Voluntary context switch within RCU read-side critical section!"],
    "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)":
        ["[    9.0] kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)"],
    "not ok 2 test_b": ["[    9.0]     ok 1 test_a", "[    9.0]     not ok 2 test_b"],
    "rust_kernel: panicked at x.rs:1:": ["[    9.0] rust_kernel: panicked at x.rs:1:"],
    "UBSAN: array-index-out-of-bounds in x.c:1:2": ["[    9.0] UBSAN: array-index-out-of-bounds in x.c:1:2"],
}
GOOD = [
    "[    0.4] Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on",
    "[    0.0] ACPI: INFORMATION",
    "[    3.0] stor: loading out-of-tree module taints kernel.",
    "[    3.0] Buffer I/O error on dev stor0, logical block 0, async page read",
    "[    3.0] blk_update_request: I/O error, dev stor0, sector 0",
    "[    3.0] watchdog: NMI not fully supported",
]


class Splat(unittest.TestCase):
    def test_bad(self):
        for said, lines in BAD.items():
            self.assertEqual(console.splat(["[    0.1] fine", *lines, "[    9.9] more"]), said)

    def test_good(self):
        self.assertIsNone(console.splat(GOOD))

    def test_emulator_fault(self):
        for rip, excused in (("sched_clock_cpu+0x9/0x1f0", True), ("stor_map+0x9/0x1f0 [stor]", False),
                             ("0xffffffffc0a01009", False)):
            lines = ["[    2.4] Oops: int3: 0000 [#1] SMP NOPTI", "[    2.4] CPU: 0", f"[    2.4] RIP: 0010:{rip}"]
            self.assertEqual(console.emulator_fault(lines), excused)

    def test_taint(self):
        self.assertIsNone(console.taint(0, 1 << 12 | 1 << 13))
        self.assertEqual(console.taint(0, 1 << 9 | 1 << 12), "kernel tainted: warning")
        self.assertIsNone(console.taint(1 << 9, 1 << 9))


    def test_known_defects_of_stock_kernels(self):
        warning = ["[   95.3] ------------[ cut here ]------------", "[   95.3] WARNING: lib/percpu-refcount.c:114 at percpu_ref_exit+0x26/0xa0",
                   "[   95.3] Call Trace:", "[   95.3]  <TASK>"]
        self.assertTrue(console.kernel_defect(warning + ["[   95.3]  nvmet_ctrl_destroy_pr+0x97/0xd0 [nvmet]"]))
        self.assertFalse(console.kernel_defect(warning + ["[   95.3]  stor_map+0x97/0xd0 [stor]"]))
        self.assertFalse(console.kernel_defect(warning + ["[   95.3]  stor_map+0x9/0x1f0 [stor]", "[   95.3] ---[ end trace 0000000000000000 ]---"]
                                               + warning + ["[   95.4]  nvmet_ctrl_destroy_pr+0x97/0xd0 [nvmet]"]))
        oops = ["[    0.0] BUG: KASAN: null-ptr-deref in mask_ioapic_irq+0x3b/0x150"]
        self.assertTrue(console.kernel_defect(oops + ["[    0.0]  setup_IO_APIC+0xb7/0x1b0"]))
        self.assertFalse(console.kernel_defect(oops + ["[    0.0]  x86_late_time_init+0x36/0x50"]))
        self.assertFalse(console.kernel_defect(["[   95.3]  nvmet_ctrl_destroy_pr+0x97/0xd0 [nvmet]"]))


class Header(unittest.TestCase):
    def load(self, text):
        with TemporaryDirectory() as folder:
            path = Path(folder) / "group/010-x"
            path.parent.mkdir()
            path.write_text(text)
            return scenario.load(path)

    def test_all(self):
        one = self.load("# SPDX-License-Identifier: GPL-2.0\n# what it shows\n# disks: 1G 64M,nvme,a=b 1M,volatile 1M,scsi,lying\n# mem: 256\n"
                        "# reboot: clean kill cut\n# sample: yes\n# outcome: fail a b\ncommand\n# mem: 1\n")
        self.assertEqual((one.id, one.title, one.mem, one.sample), ("group/010-x", "what it shows", 256, "yes"))
        self.assertEqual([(d.size, d.driver, d.cache, d.properties) for d in one.disks],
                         [(1 << 30, "virtio", "", []), (64 << 20, "nvme", "", ["a=b"]),
                          (1 << 20, "virtio", "volatile", []), (1 << 20, "scsi", "lying", [])])
        self.assertEqual((one.reboot, one.outcome, one.alone), (["clean", "kill", "cut"], ("fail", "a b"), True))

    def test_peer(self):
        one = self.load("# title\n# disks: 1M\n# peer: 64M 1M,nvme\n")
        self.assertEqual([(d.size, d.driver) for d in one.peer], [(64 << 20, "virtio"), (1 << 20, "nvme")])
        self.assertTrue(one.alone)
        self.assertEqual(self.load("# title\n").peer, [])

    def test_refused(self):
        for line in ("# disks: big", "# disks: 1G,floppy", "# sample: perhaps", "# reboot: softly", "# kernels: mine",
                     "# mem: some", "# outcome: unknown", "# peer:", "# peer: 1M,volatile", "# peer: 1M\n# reboot: kill"):
            with self.assertRaises(SystemExit):
                self.load(f"# title\n{line}\n")


if __name__ == "__main__":
    unittest.main()
