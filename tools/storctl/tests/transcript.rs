// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Runs the `console` blocks of tests/cli/*.md and docs/*.md on a simulated kernel and compares what is printed.
//!
//! - `<!-- state` … `-->` holds the kernel that the following blocks run on (`libstor::Simulated`); it is booted anew.
//! - `$ storctl …` runs it: what follows is its output, stdout before stderr. JSON is compared as values.
//! - `$ echo $?` must follow whatever fails, and tells its exit code.
//! - `$ simulate POINTER VALUE` changes something in the kernel, named by a JSON pointer; `-` appends to an array.
//!
//! `STOR_UPDATE=1 cargo test` writes what was printed into the files: read the difference before it is committed.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Shell {
    state: PathBuf,
    /// Exit code of the last command.
    code: i32,
}

impl Shell {
    fn run(&mut self, line: &str) -> String {
        let words = split(line);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["echo", "$?"] => format!("{}\n", std::mem::take(&mut self.code)),
            ["simulate", pointer, value] => {
                self.simulate(pointer, value);
                String::new()
            }
            ["storctl", arguments @ ..] => {
                assert_eq!(self.code, 0, "the command before '{line}' failed: let '$ echo $?' follow it");
                let mut command = Command::new(env!("CARGO_BIN_EXE_storctl"));
                let output = command.args(arguments).env("STOR_SIMULATE", &self.state).output().unwrap();
                self.code = output.status.code().expect("killed by a signal");
                String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
            }
            _ => panic!("no such command: {line}"),
        }
    }

    fn simulate(&self, pointer: &str, value: &str) {
        let mut state: Value = serde_json::from_str(&fs::read_to_string(&self.state).unwrap()).unwrap();
        let value: Value = serde_json::from_str(value).unwrap();
        match pointer.strip_suffix("/-") {
            Some(array) => state.pointer_mut(array).and_then(Value::as_array_mut).expect(pointer).push(value),
            None => {
                let (parent, key) = pointer.rsplit_once('/').unwrap();
                let parent = state.pointer_mut(parent).expect(pointer);
                match parent.as_object_mut() {
                    Some(object) => drop(object.insert(key.into(), value)),
                    None => *parent.get_mut(key.parse::<usize>().unwrap()).expect(pointer) = value,
                }
            }
        }
        fs::write(&self.state, state.to_string()).unwrap();
    }
}

/// Splits a line into words as a shell does, knowing only single quotes.
fn split(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut quoted, mut inside) = (false, false);
    for c in line.chars() {
        if c == ' ' && !quoted {
            inside = false;
            continue;
        }
        if !std::mem::replace(&mut inside, true) {
            words.push(String::new());
        }
        match c {
            '\'' => quoted = !quoted,
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

fn documents(text: &str) -> Option<Vec<Value>> {
    serde_json::Deserializer::from_str(text).into_iter().collect::<Result<Vec<_>, _>>().ok()
}

/// What a file would be if all that was printed were expected.
fn replay(text: &str, state: &Path) -> String {
    let mut shell = Shell { state: state.into(), code: 0 };
    fs::write(state, "{}").unwrap();
    let mut out = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        out += &format!("{line}\n");
        if line.trim() == "<!-- state" {
            let mut json = String::new();
            for line in lines.by_ref() {
                out += &format!("{line}\n");
                if line.trim() == "-->" {
                    break;
                }
                json += line;
            }
            fs::write(state, json).unwrap();
            // What the devices of another kernel held.
            let _ = fs::remove_dir_all(format!("{}.devices", state.display()));
        }
        if line.trim() != "```console" {
            continue;
        }
        while let Some(line) = lines.next_if(|line| *line != "```") {
            let command = line.strip_prefix("$ ").unwrap_or_else(|| panic!("'{line}' is the output of no command"));
            let mut expected = String::new();
            while let Some(line) = lines.next_if(|line| *line != "```" && !line.starts_with("$ ")) {
                expected += &format!("{line}\n");
            }
            let printed = shell.run(command);
            out += &format!("{line}\n");
            out += &match (documents(&expected), documents(&printed)) {
                (Some(old), Some(new)) if old == new => expected,
                (_, Some(new)) if !new.is_empty() && printed.starts_with('{') => {
                    new.iter().map(|document| format!("{document:#}") + "\n").collect()
                }
                _ => printed,
            };
        }
        assert_eq!(shell.code, 0, "the last command of a block failed: let '$ echo $?' follow it");
    }
    out
}

fn check(folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    files.sort();
    assert!(!files.is_empty());
    let mut differ = Vec::new();
    for file in files {
        let old = fs::read_to_string(&file).unwrap();
        if !old.contains("<!-- state") {
            continue;
        }
        let name = file.file_stem().unwrap().to_str().unwrap();
        let state = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
        let new = replay(&old, &state);
        if old == new {
            continue;
        }
        if std::env::var_os("STOR_UPDATE").is_some() {
            fs::write(&file, new).unwrap();
            continue;
        }
        let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
        let at = old.iter().zip(&new).position(|(old, new)| old != new).unwrap_or(old.len().min(new.len()));
        let line = |lines: &[&str]| lines.get(at).unwrap_or(&"nothing").to_string();
        differ.push(format!("{}:{}\n  expected {}\n  printed  {}", file.display(), at + 1, line(&old), line(&new)));
    }
    assert!(differ.is_empty(), "\n{}\n(STOR_UPDATE=1 takes over what was printed)", differ.join("\n"));
}

#[test]
fn what_storctl_prints() {
    check("tests/cli");
}

#[test]
fn what_the_documents_show() {
    check("../../docs");
}
