// SPDX-License-Identifier: GPL-2.0

//! A write-intent bitmap: sizes, a chunk, and the first page.

use super::{Bytes, Target};
use stor_pure::pure::md::bitmap::{is_set, put, Geometry, Header};
use stor_pure::pure::md::PAGE_SIZE;

pub(super) const TARGET: Target =
    Target { name: "bitmap", about: "write-intent bitmap of a leg", most: 600, seeds, run };

const UUID: [u8; 16] = [7; 16];

fn seeds() -> Vec<Vec<u8>> {
    [(1 << 15, 1024, 8), (1 << 36, 1 << 26, 255), (1, 512, 8)]
        .into_iter()
        .filter_map(|(size, chunk, room): (u64, u32, u8)| {
            let mut page = [0; PAGE_SIZE];
            Header::new(UUID, &Geometry::new(size, chunk).ok()?, 3, u32::from(room)).write(&mut page);
            let head = page.get(..256)?;
            Some([&size.to_le_bytes()[..], &[room, 5, 0, 0, 0], head, &[0xfe, 0xff]].concat())
        })
        .collect()
}

fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    let (size, room, chunk) = (bytes.number(8), bytes.number(1), bytes.number(4));
    let mut page = [0; PAGE_SIZE];
    bytes.fill(&mut page);
    match Geometry::choose(size, room) {
        Ok(geometry) => assert!(geometry.sectors() <= room && geometry.size() == size),
        Err(refusal) => drop(refusal.to_string()),
    }
    let (header, geometry) = match Header::of(&page, &UUID, size, room) {
        Ok(found) => found,
        Err(refusal) => return drop(refusal.to_string()),
    };
    assert!(geometry.sectors() <= room && geometry.chunk_bytes() == header.chunksize.get());
    assert!(geometry.chunks() > 0 && geometry.pages() as u64 <= room.div_ceil(8));
    let _ = header.counts(chunk).map_err(|refusal| refusal.to_string());
    let chunk = chunk % geometry.chunks();
    let place = geometry.place(chunk);
    let (begin, end) = geometry.chunks_of(place.page);
    assert!(place.page < geometry.pages() && (begin..end).contains(&chunk));
    let (first, behind) = geometry.sectors_of(chunk);
    assert!(
        first < behind && behind <= size && geometry.chunk_of(first) == chunk && geometry.chunk_of(behind - 1) == chunk
    );
    assert!(geometry.page_bytes(place.page, 512) > place.byte);
    let before = page;
    let was = is_set(&page, place);
    put(&mut page, place, !was);
    assert!(is_set(&page, place) != was);
    put(&mut page, place, was);
    assert_eq!(page, before);
}
