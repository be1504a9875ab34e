// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `storctl` as a process among others: streams, signals of the pipe, several at a time, files it writes.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const STATE: &str = r#"{"engines":[{"version":"0.1.0","active":true}],"devices":[{"path":"/dev/vda","size":1048576}]}"#;

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("process-{name}"))
}

fn storctl(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_storctl"));
    command.env("STOR_SIMULATE", state);
    command
}

fn kernel(name: &str) -> PathBuf {
    let state = scratch(name);
    fs::write(&state, STATE).unwrap();
    state
}

#[test]
fn answers_go_to_stdout_and_errors_to_stderr() {
    let state = kernel("streams");
    let good = storctl(&state).args(["volume", "list"]).output().unwrap();
    assert!(good.status.success() && good.stderr.is_empty() && !good.stdout.is_empty());
    let odd = "a\nb\u{1b}[2Jc";
    for arguments in [
        &["volume", "show", "x"][..],
        &["volume", "show", "x", "--json"],
        &["volume", "shwo", "x"],
        &["volume", "create", odd, "/dev/vda"],
        &["volume", "show", odd],
        &["pool", "create", odd, "/dev/vda"],
    ] {
        let bad = storctl(&state).args(arguments).output().unwrap();
        assert!(!bad.status.success() && bad.stdout.is_empty());
        let said = String::from_utf8(bad.stderr).unwrap();
        assert_eq!((said.lines().count(), said.contains('\u{1b}')), (1, false), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let state = kernel("pipe");
    for arguments in [&["completions", "bash"][..], &["volume", "list"], &["--help"], &["doctor", "--json"]] {
        // A pipe's end that is closed here may live on for a moment in a process that another test is just starting.
        let (reader, stdout) = UnixStream::pair().unwrap();
        reader.shutdown(Shutdown::Both).unwrap();
        let output = storctl(&state).args(arguments).stdout(OwnedFd::from(stdout)).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
}

#[test]
fn metadata_goes_through_pipes() {
    let state = kernel("metadata");
    let (xml, image, other) = (scratch("metadata.xml"), scratch("metadata.img"), scratch("metadata.other"));
    let mut text =
        String::from("<superblock time=\"0\" transaction=\"0\" data_block_size=\"128\" nr_data_blocks=\"20000\">\n");
    text += "<device dev_id=\"1\" mapped_blocks=\"20000\" transaction=\"0\" creation_time=\"0\" snap_time=\"0\">\n";
    for block in 0..20_000 {
        text += &format!("<single_mapping origin_block=\"{}\" data_block=\"{block}\" time=\"0\"/>\n", block * 2);
    }
    fs::write(&xml, text + "</device></superblock>\n").unwrap();
    for path in [&image, &other] {
        fs::File::create(path).unwrap().set_len(4 << 20).unwrap();
    }
    let restore = || {
        let mut command = storctl(&state);
        command.args(["metadata", "restore", "--input"]);
        command
    };
    assert!(restore().arg(&xml).arg("--output").arg(&image).status().unwrap().success());
    // Of a dump whose reader goes away nothing is said, however much of it is left.
    for format in ["xml", "text"] {
        let mut dump = storctl(&state);
        dump.args(["metadata", "dump", "--format", format]).arg(&image).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = dump.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    // What cannot be written for another reason is an error.
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = storctl(&state).args(["metadata", "dump"]).arg(&image).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    // From one into the other.
    let mut dump = storctl(&state).args(["metadata", "dump"]).arg(&image).stdout(Stdio::piped()).spawn().unwrap();
    let restored = restore().arg("-").arg("--output").arg(&other).stdin(dump.stdout.take().unwrap()).output().unwrap();
    assert!(dump.wait().unwrap().success() && restored.status.success(), "{restored:?}");
    assert!(fs::read(&image).unwrap() == fs::read(&other).unwrap());
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = storctl(&kernel("full")).args(["volume", "list"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("storctl: cannot write: "));
}

#[test]
fn a_follower_sees_what_another_process_does() {
    let state = kernel("follow");
    let mut follower = storctl(&state).args(["events", "--follow", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    // The follower sees what comes after it has opened the stream, so something has to go on until it has.
    let busy = std::thread::spawn(move || {
        while storctl(&state).args(["volume", "create", "data", "/dev/vda"]).output().unwrap().status.success() {
            storctl(&state).args(["volume", "remove", "data"]).output().unwrap();
            if fs::remove_file(scratch("follow.seen")).is_ok() {
                break;
            }
        }
    });
    let first: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let second: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    fs::write(scratch("follow.seen"), "").unwrap();
    busy.join().unwrap();
    follower.kill().unwrap();
    follower.wait().unwrap();
    assert_eq!(first["sequence"].as_u64().map(|sequence| sequence + 1), second["sequence"].as_u64());
    assert!(["created", "removed"].contains(&first["type"].as_str().unwrap()));
}

#[test]
fn several_at_a_time_make_one_volume() {
    let state = kernel("race");
    let create = || storctl(&state).args(["volume", "create", "data", "/dev/vda", "--if-missing", "--json"]).output();
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
        racers.into_iter().map(|racer| racer.join().unwrap().unwrap()).collect()
    });
    assert!(outputs.iter().all(|output| output.status.success()), "{outputs:?}");
    let changed = |output: &&std::process::Output| {
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["changed"] == true
    };
    assert_eq!(outputs.iter().filter(changed).count(), 1);
}

#[test]
fn without_the_module_it_says_so() {
    if Path::new("/dev/stor-control").exists() {
        return;
    }
    let storctl = || Command::new(env!("CARGO_BIN_EXE_storctl"));
    let output = storctl().args(["volume", "list"]).output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "storctl: /dev/stor-control is not there, so the stor module is not loaded; load it: modprobe stor; 'storctl \
         doctor' tells what is wrong\n"
    );
    let version = storctl().arg("version").output().unwrap();
    assert!(version.status.success());
    assert!(String::from_utf8(version.stdout).unwrap().ends_with("module   not loaded\n"));
}

#[test]
fn man_pages_and_completions_come_from_the_same_definitions() {
    let folder = scratch("man");
    fs::create_dir_all(&folder).unwrap();
    assert!(storctl(&folder).arg("man").arg(&folder).status().unwrap().success());
    let page = fs::read_to_string(folder.join("storctl-volume-create.1")).unwrap();
    assert!(page.contains("if\\-missing") && page.contains("After a reboot, or"), "{page}");
    assert!(fs::read_to_string(folder.join("storctl.1")).unwrap().contains("Exit codes:"));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = storctl(&folder).args(["completions", shell]).output().unwrap();
        assert!(String::from_utf8(script.stdout).unwrap().contains("if-missing"), "{shell}");
    }
    let lost = storctl(&folder).args(["man", "/nonexistent"]).output().unwrap();
    assert_eq!(lost.status.code(), Some(1));
}
