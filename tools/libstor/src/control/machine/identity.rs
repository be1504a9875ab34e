// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What stays the same of a device over a reboot, as sysfs tells it (Documentation/ABI/stable/sysfs-block of the kernel).
//!
//! What is made of others has a UUID: Stor's volumes, device-mapper's, md's. A disk has what its maker gave it: a worldwide id, or
//! else a serial number. A partition is that of its disk with its number. Nothing is what a RAM disk or a loop device has.

use std::fs;
use std::path::Path;

/// The files that tell, and what is put before what they say.
const FILES: [(&str, &str); 7] = [
    ("stor/uuid", "stor"),
    ("dm/uuid", "dm"),
    ("md/uuid", "md"),
    ("wwid", "wwid"),
    ("device/wwid", "wwid"),
    ("serial", "serial"),
    ("device/serial", "serial"),
];

/// The identity of the device with this folder.
pub(super) fn of(sysfs: &Path) -> Option<String> {
    let sysfs = sysfs.canonicalize().ok()?;
    if let Ok(number) = fs::read_to_string(sysfs.join("partition")) {
        return Some(format!("{}-part{}", of(sysfs.parent()?)?, number.trim()));
    }
    FILES.iter().find_map(|(file, kind)| {
        let said = fs::read_to_string(sysfs.join(file)).ok()?;
        let word: Vec<_> = said.split(|c: char| !c.is_ascii_graphic()).filter(|word| !word.is_empty()).collect();
        (!word.is_empty()).then(|| format!("{kind}-{}", word.join("_")))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_says_of_itself() {
        let folder = std::env::temp_dir().join(format!("stor-identity-{}", std::process::id()));
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("sda/device/wwid", "t10.ATA     QEMU HARDDISK   \n");
        write("sda/device/serial", "7\n");
        write("sda/sda1/partition", "1\n");
        write("vda/serial", "");
        write("vdb/serial", "abc");
        write("dm-0/dm/uuid", "LVM-xyz\n");
        let is = |name: &str| of(&folder.join(name));
        assert_eq!(is("sda").as_deref(), Some("wwid-t10.ATA_QEMU_HARDDISK"));
        assert_eq!(is("sda/sda1").as_deref(), Some("wwid-t10.ATA_QEMU_HARDDISK-part1"));
        assert_eq!(
            (is("vda"), is("vdb").as_deref(), is("dm-0").as_deref()),
            (None, Some("serial-abc"), Some("dm-LVM-xyz"))
        );
        assert_eq!(is("gone"), None);
        fs::remove_dir_all(folder).unwrap();
    }
}
