// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `storctl metadata` on metadata that was made for it.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use stor_thin_gen::generate::{generate, Shape};

/// Metadata of 2 volumes with 2 snapshots each, in a file that goes when the test ends.
struct Metadata(PathBuf);

impl Metadata {
    fn new(name: &str, held: bool) -> Self {
        let path = std::env::temp_dir().join(format!("storctl-metadata-{}-{name}", std::process::id()));
        let shape = Shape { mappings: 4000, volumes: 2, snapshots: 4, run: 4, rewritten: 50, held, seed: 3 };
        generate(&path, &shape).unwrap();
        Self(path)
    }

    fn command(&self, verb: &str, rest: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_storctl"));
        command.args(["metadata", verb]).arg(&self.0).args(rest);
        command
    }

    fn run(&self, verb: &str, rest: &[&str]) -> (Option<i32>, String) {
        let Output { status, stdout, stderr } = self.command(verb, rest).output().unwrap();
        (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn check_of_pool_and_metadata_snapshot() {
    let metadata = Metadata::new("check", true);
    for rest in [&[][..], &["--held"], &["--no-progress"]] {
        let (code, text) = metadata.run("check", rest);
        assert!(code == Some(0) && text.starts_with("6 devices, ") && text.ends_with(": sound\n"), "{text}");
    }
    let metadata = Metadata::new("unheld", false);
    let (code, text) = metadata.run("check", &["--held"]);
    assert!(code == Some(3) && text.ends_with("there is no metadata snapshot; reserve one first\n"), "{text}");
}

#[test]
fn delta_as_text_json_and_xml() {
    let metadata = Metadata::new("delta", true);
    let block = 65_536;
    for rest in [&["0", "2"][..], &["2", "0", "--same"], &["0", "1"], &["0", "2", "--held"]] {
        let (code, text) = metadata.run("delta", rest);
        assert_eq!(code, Some(0), "{text}");
        let json = metadata.run("delta", &[rest, &["--json"]].concat()).1;
        let xml = metadata.run("delta", &[rest, &["--xml"]].concat()).1;
        let mut documents: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let total = documents.pop().unwrap();
        let ranges = total["total"]["ranges"].as_u64().unwrap();
        assert!(ranges > 2 && documents.len() as u64 == ranges, "{total}");
        assert_eq!(text.lines().count() as u64, ranges + 1);
        assert!(text.lines().last().unwrap().starts_with(&format!("{ranges} ranges: ")), "{text}");
        assert_eq!(xml.lines().count() as u64, ranges + 4);
        let mut end = 0;
        for ((document, line), element) in documents.iter().zip(text.lines()).zip(xml.lines().skip(2)) {
            let [begin, length] = ["begin", "length"].map(|field| document[field].as_u64().unwrap());
            assert!(begin >= end && length > 0 && begin % block == 0 && length % block == 0, "{document}");
            end = begin + length;
            let what = document["what"].as_str().unwrap();
            assert_eq!(line.split_whitespace().collect::<Vec<_>>(), [what, &begin.to_string(), &length.to_string()]);
            let names = [("changed", "different"), ("added", "right_only"), ("removed", "left_only"), ("same", "same")];
            let name = names.iter().find(|(word, _)| *word == what).unwrap().1;
            assert_eq!(element, format!("    <{name} begin=\"{}\" length=\"{}\"/>", begin / block, length / block));
        }
        for what in ["changed", "added", "removed", "same"] {
            let of_kind = documents.iter().filter(|document| document["what"] == what);
            let sum: u64 = of_kind.map(|document| document["length"].as_u64().unwrap()).sum();
            let said = &total["total"][what];
            assert!(said.as_u64() == Some(sum) || (what == "same" && said.is_null() && sum == 0), "{total}");
        }
    }
}

#[test]
fn delta_of_what_is_not_there() {
    let metadata = Metadata::new("nothing", false);
    let path = metadata.0.display();
    for (rest, cause) in [
        (&["0", "99"][..], "there is no thin device 99; name one that there is"),
        (&["0", "1", "--held"], "there is no metadata snapshot; reserve one first"),
    ] {
        let (code, text) = metadata.run("delta", rest);
        let want = format!("storctl: cannot compare devices 0 and {} in {path}: {cause}\n", rest[1]);
        assert_eq!((code, text), (Some(3), want));
    }
    let (code, text) = metadata.run("delta", &["3", "3"]);
    assert_eq!((code, text.as_str()), (Some(0), "0 ranges: 0 B changed, 0 B added, 0 B removed\n"));
}

/// A reader that has seen enough is no error.
#[test]
fn nobody_reads_on() {
    let metadata = Metadata::new("pipe", false);
    for (verb, rest) in [("delta", &["0", "1"][..]), ("delta", &["0", "1", "--xml"]), ("dump", &[])] {
        let mut command = metadata.command(verb, rest);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        assert!(status.success() && stderr.is_empty(), "{status}: {}", String::from_utf8_lossy(&stderr));
    }
}
