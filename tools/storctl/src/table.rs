// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Aligned columns of text.

use std::io::{self, Write};

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Writes rows under their headings, each column as wide as its widest cell.
pub(crate) fn write<const N: usize>(
    out: &mut dyn Write,
    heads: [(&str, Align); N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let wide = |text: &str| text.chars().count();
    let mut widths = heads.map(|(head, _)| wide(head));
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = wide(cell).max(*width);
        }
    }
    let mut line = |cells: [&str; N]| {
        let cells = cells.iter().zip(heads).zip(widths).map(|((cell, (_, align)), width)| match align {
            Align::Left => format!("{cell:width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(out, "{}", line.trim_end())
    };
    line(heads.map(|(head, _)| head))?;
    rows.iter().try_for_each(|row| line(row.each_ref().map(String::as_str)))
}
