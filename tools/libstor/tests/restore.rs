// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Metadata dumped and restored is the same metadata; the thin-provisioning-tools, where they are there, agree.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "metadata/pool.rs"]
mod pool;

use libstor::metadata::{dump, restore, Form, Progress, Restore, Restored};
use libstor::{Kind, Result};
use pool::{contents, format, insert, random, sound, tool, Image};
use std::fs;
use std::path::Path;

fn dumped(image: &Image) -> String {
    let mut xml = Vec::new();
    dump(&image.0, false, Form::Xml, &Progress::default(), &mut xml).unwrap();
    String::from_utf8(xml).unwrap()
}

fn restored(xml: &str, image: &Image) -> Result<Restored> {
    let input = image.0.with_extension("xml");
    fs::write(&input, xml).unwrap();
    let request = Restore { input: input.clone(), output: image.0.clone(), ..Restore::default() };
    let restore = restore(&request, &Progress::default());
    fs::remove_file(input).unwrap();
    restore
}

/// What thin_restore makes of a dump, and what thin_dump makes of metadata, mean the same.
fn ask_others(image: &Image, xml: &str, name: &str) {
    if let Some(mut thin_restore) = tool("STOR_THIN_RESTORE") {
        let theirs = Image::new(&format!("{name}-theirs"), 4096);
        let input = theirs.0.with_extension("xml");
        fs::write(&input, xml).unwrap();
        let output = thin_restore.arg("-q").arg("-i").arg(&input).arg("-o").arg(&theirs.0).output().unwrap();
        assert!(output.status.success(), "{}: {}", input.display(), String::from_utf8_lossy(&output.stderr));
        fs::remove_file(input).unwrap();
        sound(&theirs);
        assert_eq!(contents(&theirs.0), contents(&image.0));
        // Their metadata, dumped by us.
        let again = Image::new(&format!("{name}-again"), 4096);
        restored(&dumped(&theirs), &again).unwrap();
        assert_eq!(contents(&again.0), contents(&image.0));
    }
    if let Some(mut thin_dump) = tool("STOR_THIN_DUMP") {
        let output = thin_dump.arg(&image.0).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let again = Image::new(&format!("{name}-dumped"), 4096);
        restored(&String::from_utf8(output.stdout).unwrap(), &again).unwrap();
        assert_eq!(contents(&again.0), contents(&image.0));
        sound(&again);
    }
}

#[test]
fn what_is_restored_is_what_was_dumped() {
    // Side by side: thin_check sleeps for half a second, whatever it reads.
    std::thread::scope(|scope| {
        for seed in 1..9 {
            scope.spawn(move || round_trip(seed));
        }
    });
}

fn round_trip(seed: u64) {
    let (from, to) = (Image::new(&format!("from-{seed}"), 4096), Image::new(&format!("to-{seed}"), 4096));
    random(&from, seed, 400);
    let used = sound(&from);
    let xml = dumped(&from);
    let said = restored(&xml, &to).unwrap();
    assert_eq!(contents(&to.0), contents(&from.0), "seed {seed}");
    let now = sound(&to);
    assert_eq!(now, said.metadata_blocks);
    assert!(now <= used, "seed {seed}: {now} blocks instead of {used}: what was shared is shared no more");
    ask_others(&from, &xml, &format!("seed-{seed}"));
    ask_others(&to, &dumped(&to), &format!("seed-{seed}-to"));
}

#[test]
fn snapshots_stay_snapshots() {
    let (from, to) = (Image::new("shared-from", 16_384), Image::new("shared-to", 4096));
    let mut pool = format(&from, 200_000);
    pool.create_thin(0).unwrap();
    insert(&mut pool, 0, 0, 100_000);
    for id in 1..20 {
        pool.create_snapshots(&[(id, 0)]).unwrap();
    }
    // One of them has written since.
    insert(&mut pool, 7, 50_000, 10);
    pool.commit().unwrap();
    drop(pool);
    let said = restored(&dumped(&from), &to).unwrap();
    assert_eq!(contents(&to.0), contents(&from.0));
    assert_eq!((said.devices, said.mappings, said.data_blocks), (20, 2_000_000, 100_010));
    // The 18 that are the same have one root; without that there would be two blocks for each.
    let leaves = 100_000 / 252 + 3;
    assert!(sound(&to) <= leaves + 4 + 2 + 20, "{said:?}");
}

#[test]
fn dumps_of_damaged_metadata_say_so() {
    let from = Image::new("damaged", 4096);
    random(&from, 3, 100);
    let mut bytes = from.bytes();
    let nodes = (1..4096).filter(|at| bytes[at * 4096 + 4] == 2).collect::<Vec<_>>();
    for at in nodes {
        bytes[at * 4096 + 100] ^= 1;
    }
    fs::write(&from.0, bytes).unwrap();
    let error = dump(&from.0, false, Form::Xml, &Progress::default(), &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("metadata block ") && error.contains("the checksum does not fit"), "{error}");
}

const HEAD: &str =
    r#"<superblock uuid="" time="3" transaction="2" version="2" data_block_size="128" nr_data_blocks="1000">"#;
const DEVICE: &str = r#"<device dev_id="1" mapped_blocks="2" transaction="1" creation_time="0" snap_time="3">"#;

/// Each bad input, and what is said of it.
fn bad() -> Vec<(String, &'static str)> {
    let in_device = |text: &str| format!("{HEAD}\n{DEVICE}\n{text}\n</device></superblock>");
    let range = |begin: u64, data: u64, length: u64, time: u64| {
        format!("<range_mapping origin_begin=\"{begin}\" data_begin=\"{data}\" length=\"{length}\" time=\"{time}\"/>")
    };
    vec![
        (String::new(), "line 1: no <superblock>"),
        ("PK\u{3}\u{4}".into(), "line 1: text 'PK\\u{3}\\u{4}' where there must be a tag"),
        ("<?xml version=\"1.0\"?>\n<cache/>".into(), "line 2: <cache> instead of <superblock>"),
        ("<!-- never\n\nclosed".into(), "line 1: what begins here has no end '-->'"),
        (HEAD.into(), "line 1: the input ends before </superblock>"),
        (format!("{HEAD}\n{DEVICE}\n"), "line 3: the input ends before </superblock>"),
        (format!("{HEAD}\n<device dev_id=\"1"), "line 2: a tag without an end"),
        (format!("{HEAD}\n</device>"), "line 2: </device> is not known, or not here"),
        (format!("{HEAD}</superblock>\n<device/>"), "line 2: <device> is not known, or not here"),
        (
            format!("{HEAD}\n<device dev_id=\"1\"/></superblock>"),
            "line 2: <device> has no attribute mapped_blocks: add it",
        ),
        (HEAD.replace("\"3\"", "\"x\""), "line 1: time=\"x\" is no number"),
        (HEAD.replace("\"3\"", "\"18446744073709551616\""), "line 1: time=\"18446744073709551616\" is no number"),
        (HEAD.replace("\"3\"", "\"16777216\""), "line 1: superblock: the snapshot clock"),
        (HEAD.replace("\"128\"", "\"100\""), "line 1: superblock: a data block of 100 sectors"),
        (HEAD.replace("\"1000\"", "\"0\""), "line 1: 0 data blocks: a pool has 1 to"),
        (HEAD.replace("version=\"2\"", "version=\"3\""), "line 1: version 3 is not known"),
        (HEAD.replace("uuid", "size"), "line 1: attribute size of <superblock> is not known"),
        (HEAD.replace("uuid=\"\"", "time=\"1\""), "line 1: attribute time is there twice"),
        (in_device("<ref name=\"a\"/>"), "line 3: there is no <def> named a before this"),
        (in_device("<map/>"), "line 3: <map> is not known, or not here"),
        (
            in_device(&range(0, 0, 2, 0).replace("/>", "><ref name=\"\"/>")),
            "line 3: <ref> in <range_mapping>, which holds",
        ),
        (in_device(&range(0, 999, 2, 0)), "line 3: data block 1000: the pool has 1000"),
        (in_device(&range(0, u64::MAX, 2, 0)), "line 3: data block 18446744073709551615: the pool has 1000"),
        (in_device(&range(0, 0, 0, 0)), "line 3: a run of no blocks"),
        (in_device(&range(u64::MAX, 0, 2, 0)), "line 3: a run of no blocks, or of more"),
        (in_device(&range(0, 0, 2, 4)), "line 3: time 4 is ahead of the pool's, which is 3"),
        (in_device(&format!("{}\n{}", range(5, 0, 2, 0), range(6, 0, 2, 0))), "line 4: block 6 comes after block 6"),
        (
            in_device(&range(0, 0, 3, 0)),
            "line 2: device 1 says that 2 blocks are mapped, but has 3: something is missing",
        ),
        (
            format!("{HEAD}\n{DEVICE}{}</device>\n{DEVICE}</device></superblock>", range(0, 0, 2, 0)),
            "line 3: there is a thin device 1 already",
        ),
        (
            format!("{HEAD}\n<def name=\"a\"></def>\n<def name=\"a\"></def></superblock>"),
            "line 3: there is a <def> named a",
        ),
        (
            format!("{HEAD}\n{}</superblock>", DEVICE.replace("dev_id=\"1\"", "dev_id=\"16777216\"")),
            "line 2: 16777216 is no device id",
        ),
        (
            format!("{HEAD}\n{}</superblock>", DEVICE.replace("snap_time=\"3\"", "snap_time=\"4\"")),
            "line 2: time 4 is ahead",
        ),
        (format!("{HEAD}\n{}", "<a b=\"1\" ".repeat(40_000)), "line 2: "),
    ]
}

#[test]
fn bad_input_is_refused_with_its_line_and_nothing_can_be_opened() {
    let image = Image::new("bad", 256);
    for (xml, begin) in bad() {
        let error = restored(&xml, &image).unwrap_err();
        assert!(error.cause.starts_with(begin), "{error}");
        assert_eq!(error.kind, Kind::Failure, "{error}");
        assert!(image.bytes()[..4096].iter().all(|&byte| byte == 0), "{error}");
    }
}

#[test]
fn other_ways_to_write_the_same() {
    let (one, other) = (Image::new("plain", 256), Image::new("other", 256));
    let plain = format!(
        "{HEAD}\n<def name=\"x\">\n<range_mapping origin_begin=\"0\" data_begin=\"0\" length=\"2\" time=\"0\"/></def>\n\
         {DEVICE}\n<ref name=\"x\"/></device></superblock>"
    );
    let strange = format!(
        "<?xml version='1.0'?>\n<!-- <a> comment -->\r\n{}\n<def name='x'><single_mapping time = '0' origin_block='0'\n\
         data_block='0'></single_mapping><single_mapping origin_block=\"1\" data_block=\"1\" time=\"0\" /></def>\n\
         <def\tname=\"nothing\"/><def name='y'><ref name='x'></ref></def><def name='unused'><ref name='x'/>\n\
         <single_mapping origin_block='7' data_block='7' time='0'/></def>\
         {DEVICE}\n<ref name=\"y\"/><ref name='nothing'/></device ></superblock>\n<!-- end -->",
        HEAD.replace(" version=\"2\"", " flags=\"0\"")
    );
    restored(&plain, &one).unwrap();
    restored(&strange, &other).unwrap();
    assert_eq!(contents(&one.0), contents(&other.0));
    assert_eq!(contents(&one.0).devices[&1].3, [(0, 0, 0), (1, 1, 0)]);
    sound(&one);
    sound(&other);
}

#[test]
fn targets() {
    let (from, to) = (Image::new("target-from", 4096), Image::new("target", 4096));
    random(&from, 11, 60);
    let xml = dumped(&from);
    let input = to.0.with_extension("xml");
    fs::write(&input, &xml).unwrap();
    let ask = |output: &Path, overwrite, dry_run| {
        let progress = Progress::default();
        let restore = restore(&Restore { input: input.clone(), output: output.into(), overwrite, dry_run }, &progress);
        // What was read is what was expected: twice the input if something is written over.
        assert!(restore.is_err() || progress.total() == Some(progress.read()), "{progress:?}");
        restore
    };
    let missing = ask(Path::new("/nonexistent/file"), false, false).unwrap_err();
    assert_eq!(missing.kind, Kind::NotFound);
    assert_eq!(ask(Path::new("/dev/null"), false, false).unwrap_err().kind, Kind::Usage);

    // A dry run says what would be, and does nothing.
    let dry = ask(&to.0, false, true).unwrap();
    assert!(!dry.changed && to.bytes().iter().all(|&byte| byte == 0));
    let done = ask(&to.0, false, false).unwrap();
    assert!(done.changed && (done.metadata_blocks, done.mappings) == (dry.metadata_blocks, dry.mappings));

    // What holds metadata is left alone; and stays what it is if the input turns out to be bad.
    let held = to.bytes();
    let refused = ask(&to.0, false, false).unwrap_err();
    assert_eq!((refused.kind, &*refused.cause), (Kind::Exists, "the target holds metadata already"));
    fs::write(&input, xml.replace("</superblock>", "")).unwrap();
    assert!(ask(&to.0, true, false).is_err());
    assert_eq!(to.bytes(), held);
    fs::write(&input, &xml).unwrap();
    ask(&to.0, true, false).unwrap();
    assert_eq!(contents(&to.0), contents(&from.0));
    sound(&to);

    // Too small: how much there must be, exactly.
    let small = Image::new("target-small", done.metadata_needed - 1);
    let refused = ask(&small.0, false, false).unwrap_err();
    assert_eq!(refused.kind, Kind::Unfit);
    assert!(refused.cause.starts_with(&format!("{} metadata blocks", done.metadata_needed)), "{refused}");
    assert!(small.bytes()[..4096].iter().all(|&byte| byte == 0));
    let enough = Image::new("target-enough", done.metadata_needed);
    ask(&enough.0, false, false).unwrap();
    sound(&enough);
    // Something else.
    let other = Image::new("target-other", 16);
    fs::write(&other.0, vec![7; 65536]).unwrap();
    let refused = ask(&other.0, false, false).unwrap_err();
    assert_eq!((refused.kind, &*refused.cause), (Kind::Exists, "the target holds something already"));
    fs::remove_file(input).unwrap();
}
