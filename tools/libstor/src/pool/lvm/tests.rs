// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Plans in both directions, on texts as lvm2 writes them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::adopt::{adopt, Adopted};
use super::give::{give, uuid, Pool, Thin};
use super::group::{self, Run};
use super::text::{parse, Section};
use crate::{Bytes, Kind, Uuid};

const MIB: u64 = 1 << 20;
/// The extents of the sample.
const EXTENT: u64 = 4 * MIB;

/// A volume group with a pool in three pieces on two disks, two volumes, a snapshot, the spare, and a volume of somebody else.
const VG: &str = r#"
contents = "Text Format Volume Group"
version = 1
vg {
	id = "Zl40LX-3sEb-NCxm-xZ2A-MyoQ-6cWB-Yb0mcB"
	seqno = 17
	format = "lvm2"
	status = ["RESIZEABLE", "READ", "WRITE"]
	flags = []
	extent_size = 8192		# 4 Megabytes
	physical_volumes {
		pv0 {
			id = "TY0uJI-aHcT-8HMx-lMBB-x3Ic-5oQA-aGqM0f"
			device = "/dev/vda"	# Hint only
			status = ["ALLOCATABLE"]
			pe_start = 2048
			pe_count = 95
		}
		pv1 {
			id = "9lXYFU-5bbo-lQmV-HGkC-eYSZ-QvsU-mVd9zY"
			device = "/dev/vdb"
			status = ["ALLOCATABLE"]
			pe_start = 2048
			pe_count = 127
		}
	}
	logical_volumes {
		other {
			id = "2p3pGI-LTbR-9FpF-ZcM3-mnTp-hJcS-WRNF2d"
			status = ["READ", "WRITE", "VISIBLE"]
			segment_count = 1
			segment1 {
				start_extent = 0
				extent_count = 24
				type = "striped"
				stripe_count = 1
				stripes = [
					"pv0", 0
				]
			}
		}
		pool {
			id = "0XfQFC-FbFJ-Dqdu-KFzS-IZZL-JpLl-dvj1fy"
			status = ["READ", "WRITE", "VISIBLE"]
			tags = ["keep"]
			segment_count = 1
			segment1 {
				start_extent = 0
				extent_count = 100
				type = "thin-pool"
				metadata = "pool_tmeta"
				pool = "pool_tdata"
				transaction_id = 4
				chunk_size = 128	# 64 Kilobytes
				discards = "passdown"
				zero_new_blocks = 1
			}
		}
		v1 {
			id = "YNJKjp-4hoB-qNde-jD2o-3EqN-SxGA-LtcSxf"
			status = ["READ", "WRITE", "VISIBLE"]
			creation_host = "box"
			segment_count = 1
			segment1 {
				start_extent = 0
				extent_count = 6
				type = "thin"
				thin_pool = "pool"
				transaction_id = 0
				device_id = 1
			}
		}
		v2 {
			id = "8gFSxn-rMjs-YGXP-Mgu2-dyRn-5jJf-QwJhQY"
			status = ["READ", "WRITE", "VISIBLE"]
			segment_count = 1
			segment1 {
				start_extent = 0
				extent_count = 6
				type = "thin"
				thin_pool = "pool"
				transaction_id = 1
				device_id = 2
			}
		}
		s1 {
			id = "PbtfEC-M73k-FQbi-7z23-2bGA-Gu1y-sx5vpe"
			status = ["READ", "VISIBLE"]
			flags = ["ACTIVATION_SKIP"]
			segment_count = 1
			segment1 {
				start_extent = 0
				extent_count = 6
				type = "thin"
				thin_pool = "pool"
				transaction_id = 3
				device_id = 3
				origin = "v1"
			}
		}
		lvol0_pmspare {
			id = "aOJWUn-LIQo-qLPi-FFvD-KmuZ-LEzf-KCHRfj"
			status = ["READ", "WRITE"]
			segment_count = 1
			segment1 {
				start_extent = 0
				extent_count = 2
				type = "striped"
				stripe_count = 1
				stripes = [
					"pv0", 24
				]
			}
		}
		pool_tmeta {
			id = "BtrVKL-bNgC-4Lq2-JeZc-s7zF-zm0e-RQlTso"
			status = ["READ", "WRITE"]
			segment_count = 1
			segment1 {
				start_extent = 0
				extent_count = 2
				type = "striped"
				stripe_count = 1
				stripes = [
					"pv1", 90
				]
			}
		}
		pool_tdata {
			id = "Dqm0Ae-5wTk-lG2e-H2Lm-0PCv-Zw0n-kTZr2i"
			status = ["READ", "WRITE"]
			segment_count = 2
			segment1 {
				start_extent = 0
				extent_count = 60
				type = "striped"
				stripe_count = 1
				stripes = [
					"pv0", 26
				]
			}
			segment2 {
				start_extent = 60
				extent_count = 40
				type = "striped"
				stripe_count = 1
				stripes = [
					"pv1", 0
				]
			}
		}
	}
}
"#;

fn sample() -> Section {
    parse(VG).unwrap()
}

fn run(pv: &str, start: u64, count: u64) -> Run {
    Run { pv: pv.into(), start, count }
}

fn id() -> String {
    group::id(&Uuid::from_u128(0xabc).simple().to_string())
}

fn adopted(free: &[Run]) -> Adopted {
    adopt(&sample(), "pool", &id(), free).unwrap()
}

/// What Stor has after an import of the sample, with a head of so many extents.
fn pool(head: u64) -> Pool {
    let ids = ["YNJKjp-4hoB-qNde-jD2o-3EqN-SxGA-LtcSxf", "8gFSxn-rMjs-YGXP-Mgu2-dyRn-5jJf-QwJhQY"];
    let volume = |name: &str, id: &str, device, transaction| Thin {
        name: name.into(),
        uuid: uuid(id),
        device,
        size: Bytes(6 * EXTENT),
        transaction,
        ..Thin::default()
    };
    let mut snapshot = volume("s1", "PbtfEC-M73k-FQbi-7z23-2bGA-Gu1y-sx5vpe", 3, 3);
    (snapshot.origin, snapshot.read_only, snapshot.manual) = (Some("v1".into()), true, true);
    let metadata = head * EXTENT..(head + 2) * EXTENT;
    let data = metadata.end..metadata.end + 100 * EXTENT;
    Pool {
        id: id(),
        metadata: vec![metadata],
        data: vec![data],
        transaction: 4,
        thins: vec![volume("v1", ids[0], 1, 0), volume("v2", ids[1], 2, 1), snapshot],
    }
}

/// All values of a text, in order, each with its place.
fn flat(section: &Section, at: &str) -> Vec<String> {
    use super::text::Item;
    let mut out = Vec::new();
    for item in &section.items {
        match item {
            Item::Value(key, value) if value.to_string() != "[]" => out.push(format!("{at}/{key} = {value}")),
            Item::Value(..) => {}
            Item::Section(section) => out.extend(flat(section, &format!("{at}/{}", section.name))),
        }
    }
    out.sort();
    out
}

#[test]
fn what_is_taken_over_and_given_back_is_as_it_was() {
    for (free, head) in [(vec![run("pv1", 92, 35)], 1), (vec![], 2)] {
        let adopted = adopted(&free);
        let given = give(&adopted.text, &adopted.kept, &pool(head)).unwrap();
        assert_eq!(flat(&given.text, ""), flat(&sample(), ""));
        assert_eq!(given.head, adopted.head);
    }
}

#[test]
fn the_pool_becomes_one_linear_volume() {
    let free = [run("pv1", 92, 35)];
    let adopted = adopted(&free);
    let volume = group::volume(&adopted.text, "pool").unwrap().unwrap();
    let want = [run("pv1", 92, 1), run("pv1", 90, 2), run("pv0", 26, 60), run("pv1", 0, 40)];
    assert_eq!(group::runs(volume).unwrap(), want);
    assert_eq!((volume.text("id").unwrap(), volume.words("tags")), (id().as_str(), vec!["keep".to_string()]));
    let names: Vec<_> = group::volumes(&adopted.text).unwrap().iter().map(|volume| volume.name.clone()).collect();
    assert_eq!(names, ["other", "lvol0_pmspare", "pool"]);
    assert!(!adopted.text.to_string().contains("thin"));
    assert_eq!((adopted.chunk, adopted.transaction, adopted.passdown), (128, 4, true));
    // Without room the spare is taken.
    let spare = self::adopted(&[]);
    assert_eq!(spare.head, [run("pv0", 24, 2)]);
    assert!(group::volume(&spare.text, "lvol0_pmspare").unwrap().is_none());
}

#[test]
fn what_stor_has_changed_lvm_gets() {
    let adopted = adopted(&[]);
    let mut pool = pool(2);
    pool.transaction = 9;
    pool.thins.remove(1);
    pool.thins[0].name = "one".into();
    pool.thins[0].size = Bytes(8 * EXTENT);
    pool.thins[1].origin = Some("one".into());
    let new = Uuid::from_u128(0x1234_5678);
    pool.thins.push(Thin {
        name: "new".into(),
        uuid: new,
        device: 7,
        size: Bytes(EXTENT),
        transaction: 8,
        ..Thin::default()
    });
    let text = give(&adopted.text, &adopted.kept, &pool).unwrap().text;
    let get = |name: &str| group::volume(&text, name).unwrap().unwrap().clone();
    assert!(group::volume(&text, "v2").unwrap().is_none() && group::volume(&text, "v1").unwrap().is_none());
    assert_eq!(group::segments(&get("pool"))[0].number("transaction_id"), Some(9));
    let one = get("one");
    assert_eq!(
        (one.text("id").unwrap(), one.text("creation_host")),
        ("YNJKjp-4hoB-qNde-jD2o-3EqN-SxGA-LtcSxf", Some("box"))
    );
    assert_eq!(group::segments(&one)[0].number("extent_count"), Some(8));
    assert_eq!(group::segments(&get("s1"))[0].text("origin"), Some("one"));
    let made = get("new");
    assert_eq!(uuid(made.text("id").unwrap()), new);
    assert_eq!(group::segments(&made)[0].number("device_id"), Some(7));
    // What was added to the volume in one piece with the data is data.
    let mut text = adopted.text.clone();
    let all = group::volumes_mut(&mut text).unwrap();
    let volume = all.section_mut("pool").unwrap();
    let mut runs = group::runs(volume).unwrap();
    runs.push(run("pv1", 100, 3));
    group::set_runs(volume, &runs);
    pool.data[0].end += 3 * EXTENT - 65536;
    let text = give(&text, &adopted.kept, &pool).unwrap().text;
    let data = group::volume(&text, "pool_tdata").unwrap().unwrap();
    assert_eq!(group::runs(data).unwrap(), [run("pv0", 26, 60), run("pv1", 0, 40), run("pv1", 100, 3)]);
    assert_eq!(group::segments(group::volume(&text, "pool").unwrap().unwrap())[0].number("extent_count"), Some(103));
}

#[test]
fn what_stor_cannot_take_over_is_refused() {
    let refuse = |from: &str, to: &str, free: &[Run], why: &str| {
        assert!(from.is_empty() || VG.contains(from), "{from}");
        let text = parse(&VG.replacen(from, to, if from.is_empty() { 0 } else { 1 })).unwrap();
        let error = adopt(&text, "pool", &id(), free).unwrap_err();
        assert!(error.cause.contains(why) && error.help.is_some(), "{error}");
        error
    };
    let free = [run("pv1", 92, 35)];
    let thin = "device_id = 3";
    refuse(thin, "device_id = 3\nexternal_origin = \"other\"", &free, "volume s1 has an external origin");
    refuse(thin, "device_id = 3\nmerge = \"v1\"", &free, "volume s1 is being merged");
    refuse("chunk_size = 128", "chunk_size = 128\nmessage1 {\ncreate = \"v1\"\n}", &free, "has not told the pool yet");
    refuse("extent_size = 8192", "extent_size = 4", &free, "no multiple of 4096");
    let raid = "extent_count = 60\n\t\t\t\ttype = \"striped\"\n";
    refuse(raid, "extent_count = 60\n\t\t\t\ttype = \"raid1\"\n", &free, "pool_tdata is raid1, not linear");
    let striped = "extent_count = 40\n\t\t\t\ttype = \"striped\"\n\t\t\t\tstripe_count = 1";
    refuse(striped, "extent_count = 40\ntype = \"striped\"\nstripe_count = 2", &free, "striped over several devices");
    let uses = "extent_count = 24\n\t\t\t\ttype = \"striped\"";
    refuse(uses, "extent_count = 24\ntype = \"snapshot\"\norigin = \"v2\"", &free, "volume other uses v2");
    // The spare may be another pool's.
    refuse(uses, "extent_count = 24\ntype = \"cache-pool\"", &[], "no room for label and catalog: 1 free extents");
    let error = adopt(&sample(), "other", &id(), &free).unwrap_err();
    assert_eq!((error.kind, error.cause.as_str()), (Kind::Unfit, "other is no thin pool"));
    assert_eq!(adopt(&sample(), "none", &id(), &free).unwrap_err().kind, Kind::NotFound);
}

#[test]
fn what_lvm_cannot_have_is_refused() {
    let adopted = adopted(&[]);
    let refuse = |change: &dyn Fn(&mut Pool), why: &str| {
        let mut pool = pool(2);
        change(&mut pool);
        let error = give(&adopted.text, &adopted.kept, &pool).unwrap_err();
        assert!(error.cause.contains(why) && error.help.is_some(), "{error}");
    };
    refuse(&|pool| pool.thins[0].size = Bytes(EXTENT + 512), "volume v1 has 4194816 bytes, and extents have 4 MiB");
    refuse(&|pool| pool.thins[0].name = "a_tdata".into(), "it keeps names like a_tdata for itself");
    refuse(&|pool| pool.thins[0].name = "other".into(), "another volume other");
    refuse(&|pool| pool.thins[0].name = "pool".into(), "another volume pool");
    refuse(&|pool| pool.id = "x".into(), "on no volume of this volume group");
    refuse(&|pool| pool.metadata.push(1 << 40..(1 << 40) + 4096), "the metadata is not of whole extents");
    refuse(
        &|pool| {
            let end = pool.data[0].end;
            pool.data[0].end -= MIB;
            pool.metadata.push(end - MIB..end);
        },
        "is not of whole extents",
    );
}

#[test]
fn ids_stand_for_uuids() {
    let id = "YNJKjp-4hoB-qNde-jD2o-3EqN-SxGA-LtcSxf";
    assert_eq!(uuid(id), uuid(id));
    assert_ne!(uuid(id), uuid("YNJKjp-4hoB-qNde-jD2o-3EqN-SxGA-LtcSxg"));
    let ours = Uuid::from_u128(0x1234_5678_9abc_def0);
    assert_eq!(uuid(&group::id(&ours.simple().to_string())), ours);
    assert_eq!(group::id(&ours.simple().to_string()), "000000-0000-0000-0012-3456-789a-bcdef0");
}
