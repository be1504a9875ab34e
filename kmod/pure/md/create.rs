// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The superblock of a leg of a new array, as mdadm makes it.

use super::layout::{Layout, NoRoom};
use super::superblock::{device, feature, Role, Superblock, CLEAN, LEGS_MAX, ROLES};
use super::PAGE_SECTORS;
use zerocopy::FromZeros;

/// What all legs of an array have in common.
#[derive(Clone, Copy, Debug)]
pub struct Array {
    /// Its UUID.
    pub uuid: [u8; 16],
    /// HOST:NAME, with zeros behind it.
    pub name: [u8; 32],
    /// When it is made, in seconds.
    pub time: u64,
    /// Sectors that it uses of each leg.
    pub size: u64,
    /// How many legs it has.
    pub legs: u32,
    /// Bytes of its blocks.
    pub block_size: u32,
}

impl Array {
    /// The superblock of leg `number`, which fills the slot of that number. It is to be [sealed](Superblock::seal).
    ///
    /// # Errors
    ///
    /// The leg is too small for the array.
    #[inline]
    pub fn leg(&self, number: u32, uuid: [u8; 16], layout: &Layout, write_mostly: bool) -> Result<Superblock, NoRoom> {
        let data = layout.data;
        if data.end.saturating_sub(data.start) < self.size {
            return Err(NoRoom::Device(data.end));
        }
        let from_here = |sector: u64| (sector.saturating_sub(super::superblock::AT.0) as i32).into();
        let mut leg = Superblock::new_zeroed();
        leg.feature_map = feature::BITMAP.into();
        leg.set_uuid = self.uuid;
        leg.set_name = self.name;
        leg.ctime = (self.time & ((1 << 40) - 1)).into();
        leg.level = 1.into();
        leg.size = self.size.into();
        leg.raid_disks = self.legs.into();
        leg.bitmap_offset = from_here(layout.bitmap.start);
        leg.data_offset = data.start.into();
        leg.data_size = (data.end - data.start).into();
        leg.recovery_offset = 0.into();
        leg.dev_number = number.into();
        leg.device_uuid = uuid;
        leg.devflags = if write_mostly { device::WRITE_MOSTLY } else { 0 };
        leg.bblog_size = (PAGE_SECTORS as u16).into();
        leg.bblog_offset = from_here(layout.bad_blocks.start);
        leg.utime = leg.ctime;
        leg.resync_offset = CLEAN.into();
        leg.max_dev = ROLES.into();
        // Kernels that do not know the field want zeros there; 512 is what they take for it.
        leg.logical_block_size = if self.block_size > 512 { self.block_size } else { 0 }.into();
        leg.role.iter_mut().for_each(|role| *role = Role::Spare.raw().into());
        let slots = self.legs.min(LEGS_MAX) as u16;
        leg.role.iter_mut().zip(0..slots).for_each(|(role, slot)| *role = Role::Slot(slot).raw().into());
        Ok(leg)
    }
}
