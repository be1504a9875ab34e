// SPDX-License-Identifier: GPL-2.0

//! Inputs in a file: one in each line, as hexadecimal digits without the zeros at its end; what begins with # is a comment.

use std::fmt::Write;
use std::path::Path;

/// Reads a file; none is there: no inputs.
pub(crate) fn read(path: &Path) -> crate::Result<Vec<Vec<u8>>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("{}: {error}", path.display()).into()),
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#'));
    lines
        .map(|(number, line)| parse(line).ok_or_else(|| format!("{}:{}: no input", path.display(), number + 1).into()))
        .collect()
}

fn parse(line: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = line.trim().chars().map(|c| Some(c.to_digit(16)? as u8)).collect();
    digits?.chunks(2).map(|pair| matches!(pair, [_, _]).then(|| pair.iter().fold(0, |n, d| (n << 4) | d))).collect()
}

/// An input as a line.
pub(crate) fn line(input: &[u8]) -> String {
    let length = input.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    input.iter().take(length).fold(String::new(), |mut line, byte| {
        let _ = write!(line, "{byte:02x}"); // a string has room
        line
    })
}

/// Writes a file, the shortest first.
pub(crate) fn write(path: &Path, inputs: &[Vec<u8>]) -> crate::Result<()> {
    let mut lines: Vec<String> = inputs.iter().map(|input| line(input) + "\n").collect();
    lines.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    lines.dedup();
    std::fs::write(path, lines.concat()).map_err(|error| format!("{}: {error}", path.display()).into())
}
