// SPDX-License-Identifier: GPL-2.0

//! KUnit suites of the front. They run when stor.ko is loaded into a kernel with CONFIG_KUNIT, the debug kernel.

use super::event::{Event, Events, KEPT};
use crate::abi::uapi;
use kernel::prelude::*;

#[kunit_tests(stor_event)]
mod event {
    use super::*;

    fn ring() -> Result<Pin<KBox<Events>>> {
        KBox::pin_init(Events::new(), GFP_KERNEL)
    }

    fn emit(events: &Events, value: u64) {
        events.emit(&Event { kind: uapi::STOR_EVENT_CREATED, uuid: [1; 16], name: b"volume", value });
    }

    #[test]
    fn reader_sees_what_comes_after_it() -> Result {
        let events = ring()?;
        emit(&events, 1);
        let cursor = events.next();
        assert_eq!(events.read(cursor, true).err(), Some(EAGAIN));
        emit(&events, 2);
        let (event, next) = events.read(cursor, true)?;
        assert_eq!((event.sequence, event.value, event.type_), (1, 2, uapi::STOR_EVENT_CREATED));
        assert_eq!(&event.name[..7], b"volume\0");
        assert_eq!(events.read(next, true).err(), Some(EAGAIN));
        Ok(())
    }

    #[test]
    fn slow_reader_is_told_what_it_lost() -> Result {
        let events = ring()?;
        let extra = 3;
        for value in 0..KEPT as u64 + extra {
            emit(&events, value);
        }
        let (lost, next) = events.read(0, true)?;
        assert_eq!((lost.type_, lost.value, lost.sequence), (uapi::STOR_EVENT_LOST, extra, extra));
        let (event, _) = events.read(next, true)?;
        assert_eq!((event.sequence, event.value), (extra, extra));
        Ok(())
    }
}

#[kunit_tests(stor_work)]
mod work {
    use super::*;
    use crate::block::work::{Handler, Work};
    use kernel::sync::atomic::{ordering::Relaxed, Atomic};
    use kernel::sync::Arc;

    struct Count(Arc<Atomic<i32>>);

    impl Handler for Count {
        fn run(&self) {
            self.0.add(1, Relaxed);
        }
    }

    #[test]
    fn dropping_waits_for_a_run() -> Result {
        let runs = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        for _ in 0..100 {
            let work = Work::new(Count(runs.clone()))?;
            work.schedule();
            drop(work);
        }
        // Whatever ran has ended: nothing can change the count, or use the work, any more.
        let after = runs.load(Relaxed);
        assert!((0..=100).contains(&after));
        assert_eq!(runs.load(Relaxed), after);
        Ok(())
    }
}

#[kunit_tests(stor_linear)]
mod linear {
    use crate::pure::linear::{check, find, Error, Lower, Run, Segment};
    use crate::pure::units::{Bytes, Sectors};

    fn segment(start: u64, end: u64, lower_start: u64, lower: u32) -> Segment {
        Segment { start: Sectors(start), end: Sectors(end), lower_start: Sectors(lower_start), lower }
    }

    #[test]
    fn every_sector_has_its_place() {
        let table = [segment(0, 8, 100, 0), segment(8, 9, 0, 1), segment(9, 30, 8, 1)];
        for sector in 0..30 {
            let expected = match sector {
                0..=7 => Run { lower: 0, sector: sector + 100, length: 8 - sector },
                8 => Run { lower: 1, sector: 0, length: 1 },
                _ => Run { lower: 1, sector: sector - 1, length: 30 - sector },
            };
            assert_eq!(find(&table, sector), Some(expected));
        }
        assert_eq!(find(&table, 30), None);
        assert_eq!(find(&table, u64::MAX), None);
    }

    #[test]
    fn overlap_is_refused() {
        let lowers = [Lower { size: Bytes(1 << 20), logical_block: Bytes(512) }];
        let table = [segment(0, 8, 0, 0), segment(8, 16, 7, 0)];
        assert_eq!(check(&table, Bytes(16 << 9), &lowers), Err(Error::Overlap(1)));
        let table = [segment(0, 8, 0, 0), segment(8, 16, 8, 0)];
        assert_eq!(check(&table, Bytes(16 << 9), &lowers), Ok(()));
    }
}
