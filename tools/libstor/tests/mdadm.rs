// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is written for a replica's legs, read by mdadm: `--examine` and `--examine-bitmap` of image files. `STOR_MDADM` names the
//! program; without it these tests say so and ask nobody.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use stor_pure::pure::md::bitmap::{put, Geometry, Header};
use stor_pure::pure::md::create::Array;
use stor_pure::pure::md::layout::{fresh, record_places};
use stor_pure::pure::md::superblock::{feature, Role, Superblock, AT};
use stor_pure::pure::md::PAGE_SIZE;
use stor_pure::pure::replica::record::{Position, Record};
use stor_pure::pure::replica::set::PLACES;
use stor_pure::pure::thin::crc::Portable;
use stor_pure::pure::units::Sectors;
use zerocopy::IntoBytes;

const DEVICE: Sectors = Sectors(1 << 16);
const SIZE: u64 = 1 << 15;

struct Leg {
    path: PathBuf,
    superblock: Superblock,
}

impl Drop for Leg {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Leg 1 of an array of three, as `change` wants it, with a membership record and a bitmap that has bits 0, 7 and 100.
fn leg(name: &str, change: impl Fn(&mut Superblock)) -> Leg {
    let mut array = Array { uuid: [0; 16], name: [0; 32], time: 1_790_000_000, size: SIZE, legs: 3, block_size: 512 };
    array.uuid = std::array::from_fn(|index| 0x10 + index as u8);
    array.name[..10].copy_from_slice(b"host:vol-1");
    let layout = fresh(DEVICE).unwrap();
    let mut superblock = array.leg(1, [0xab; 16], &layout, true).unwrap();
    superblock.events = 42.into();
    let mut members = [[0; 16]; PLACES];
    members[1] = [0xab; 16];
    let record = Record::first(&superblock, members, [9; 16], 1_790_000_000);
    superblock.set_time(1_790_000_000, record.tag());
    change(&mut superblock);
    superblock.seal().unwrap();

    let path = std::env::temp_dir().join(format!("stor-mdadm-{name}-{}", std::process::id()));
    let image = File::create(&path).unwrap();
    image.set_len(DEVICE.0 * 512).unwrap();
    let put_at = |sector: u64, bytes: &[u8]| image.write_all_at(bytes, sector * 512).unwrap();
    put_at(AT.0, superblock.as_bytes());
    let geometry = Geometry::new(SIZE, 64 << 10).unwrap();
    let mut page = [0; PAGE_SIZE];
    Header::new(array.uuid, &geometry, 42, 8).write(&mut page);
    [0, 7, 100].into_iter().for_each(|chunk| put(&mut page, geometry.place(chunk), true));
    put_at(layout.bitmap.start, &page);
    put_at(layout.bad_blocks.start, &[0xff; PAGE_SIZE]);
    for (place, position) in record_places(&superblock, Some(&geometry)).unwrap().into_iter().zip([0, 1]) {
        let position = Position { slot: position, sequence: position as u64 };
        record.write::<Portable>([0xab; 16], position, &mut page).unwrap();
        put_at(place.0, &page);
    }
    Leg { path, superblock }
}

/// What mdadm says, as "key: value" lines with single spaces; nothing without mdadm.
fn mdadm(how: &str, leg: &Leg) -> Option<String> {
    let Some(program) = std::env::var_os("STOR_MDADM") else {
        eprintln!("skipped: STOR_MDADM does not name mdadm");
        return None;
    };
    let output = Command::new(program).arg(how).arg(&leg.path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if text.contains("bitmap file is not supported") {
        eprintln!("skipped: this mdadm reads bitmaps of block devices only");
        return None;
    }
    assert!(output.status.success(), "{text}");
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

fn says(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|other| other.starts_with(line)), "no line {line:?} in:\n{text}");
    }
}

#[test]
fn mdadm_reads_a_new_leg() {
    let leg = leg("new", |_| {});
    assert_ne!(leg.superblock.tag(), 0);
    let Some(text) = mdadm("--examine", &leg) else { return };
    says(
        &text,
        &[
            "Magic : a92b4efc",
            "Version : 1.2",
            "Feature Map : 0x1",
            "Array UUID : 10111213:14151617:18191a1b:1c1d1e1f",
            "Name : host:vol-1",
            "Raid Level : raid1",
            "Raid Devices : 3",
            "Data Offset : 2048 sectors",
            "Super Offset : 8 sectors",
            "Unused Space : before=1968 sectors, after=",
            "State : clean",
            "Device UUID : abababab:abababab:abababab:abababab",
            "Internal Bitmap : 8 sectors from superblock",
            // The tag stands where md has microseconds, which nobody reads.
            "Update Time : Mon Sep 21",
            "Bad Block Log : 512 entries available at offset 16 sectors",
            "Events : 42",
            "Device Role : Active device 1",
            "Array State : AAA",
            "Flags : write-mostly",
        ],
    );
    let checksum = text.lines().find(|line| line.starts_with("Checksum : ")).unwrap_or_default();
    assert!(checksum.ends_with("- correct"), "{text}");
}

#[test]
fn mdadm_reads_a_leg_that_lost_others() {
    let leg = leg("lost", |leg| {
        leg.role[0] = Role::Faulty.raw().into();
        leg.resync_offset = 0.into();
        leg.feature_map = (feature::BITMAP | feature::RECOVERY | feature::RECOVERY_BITMAP).into();
    });
    let Some(text) = mdadm("--examine", &leg) else { return };
    says(&text, &["Feature Map : 0x83", "State : active", "Recovery Offset : 0 sectors", "Array State : .AA"]);
}

#[test]
fn mdadm_reads_the_bitmap() {
    let leg = leg("bitmap", |_| {});
    // In a file mdadm looks for a bitmap from its beginning on.
    let image = File::options().read(true).write(true).open(&leg.path).unwrap();
    let mut page = [0; PAGE_SIZE];
    image.read_exact_at(&mut page, leg.superblock.bitmap().unwrap() * 512).unwrap();
    image.write_all_at(&page, 0).unwrap();
    let Some(text) = mdadm("--examine-bitmap", &leg) else { return };
    says(
        &text,
        &[
            "Magic : 6d746962",
            "Version : 4",
            "UUID : 10111213:14151617:18191a1b:1c1d1e1f",
            "Events : 42",
            "Events Cleared : 42",
            "State : OK",
            "Chunksize : 64 KB",
            "Daemon : 5s flush period",
            "Write Mode : Normal",
            "Sync Size : 16384",
            "Bitmap : 256 bits (chunks), 3 dirty (1.2%)",
        ],
    );
}
