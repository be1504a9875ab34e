# SPDX-License-Identifier: GPL-2.0
"""The power of the disks that lose what is not flushed: starts their server (volatile_disk.py), and cuts it."""
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


class Power:
    def __init__(self, disks, work):
        # Not below the work folder: the path of a socket may have 108 bytes at most.
        self.dir = Path(tempfile.mkdtemp(prefix="stor-power."))
        self.path = str(self.dir / "nbd")
        words = [f"{name}={disk.image(name, work)}" + (",lying" if disk.cache == "lying" else "") for name, disk in disks.items()]
        self.server = subprocess.Popen([sys.executable, "-B", Path(__file__).with_name("volatile_disk.py"), self.path, *words],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.server.stdout.readline()

    def ask(self, line):
        """Has the server do something; what it answers."""
        try:
            self.server.stdin.write(line + "\n")
            return self.server.stdout.readline().strip() or "error the server of volatile disks is gone"
        except OSError as error:
            return f"error the server of volatile disks: {error}"

    def close(self):
        self.server.stdin.close()
        self.server.wait()
        shutil.rmtree(self.dir, ignore_errors=True)
