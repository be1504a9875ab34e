// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A plain volume becomes a replica of one leg, while it is in use and without moving its data (docs/adr/0015).
//!
//! md's metadata are written on a device for them first; then, if the volume is one of a pool, the pool's catalog gets to know it as
//! what is below the leg; and then the kernel puts the three of them together, in one call. After a crash at any of these steps the
//! volume is what it was, or the replica: metadata without the volume behind them are only found, and the command goes on with them.

use super::config::Config;
use super::create::NAME_MAX;
use super::draft::Draft;
use super::joint::{self, joined_name, of_stor, segments};
use super::leg::at;
use super::view::ReplicaChange;
use super::{spare, REPLICA};
use crate::control::mapper::ENGINE;
use crate::control::{Insert, Table};
use crate::device::{busy, Access, Device};
use crate::error::{errno_text, Context};
use crate::linear::{self, encode};
use crate::pool::below::{data_name, Below};
use crate::pool::resolve::Meant;
use crate::size::Iec;
use crate::volume::{Info, LINEAR};
use crate::{Bytes, Error, Kind, Result, Stor, Uuid};
use nix::errno::Errno;
use std::path::PathBuf;
use stor_pure::abi::uapi::*;
use stor_pure::pure::md::PAGE_SIZE;
use stor_pure::pure::replica::join::{Join, Part, PARTS_MAX};
use stor_pure::pure::units::SECTOR_SIZE;

/// The smallest volume, so that nobody takes the metadata alone for all of the leg.
const SIZE_MIN: u64 = 1 << 20;

/// How a volume becomes a replica.
#[derive(Clone, Debug, Default)]
pub struct Convert {
    /// The device that gets the metadata of the first leg.
    pub metadata: PathBuf,
    /// Whether what that holds may be lost.
    pub force: bool,
}

/// What is to be.
struct Plan<'a> {
    info: Info,
    /// What the volume is, to be found after a reboot.
    parts: Vec<Part>,
    /// The UUID of what is below,
    below: Uuid,
    /// and the pool's part, if it is of one.
    pool: Option<Below<'a>>,
    joined: Uuid,
    /// Its logical block.
    block: Bytes,
}

impl Plan<'_> {
    /// How a user names what is below.
    fn below_name(&self) -> String {
        self.pool.as_ref().map_or_else(|| data_name(&self.info.name), Below::name)
    }
}

impl Stor {
    /// Makes a volume a replica of one leg, which others can join.
    pub fn convert(&self, name: &str, how: &Convert) -> Result<ReplicaChange> {
        self.try_convert(name, how).context(|| format!("cannot make volume {name} a replica"))
    }

    fn try_convert(&self, name: &str, how: &Convert) -> Result<ReplicaChange> {
        let info = match self.the(name)? {
            Meant::Plain(info) => info,
            Meant::Thin { uuid, name, .. } => {
                let active = self.active_volumes()?.into_iter().find(|info| info.uuid == uuid);
                active.ok_or_else(|| {
                    Error::new(Kind::Unfit, "it is not active")
                        .help(format!("activate it: storctl volume activate {name}"))
                })?
            }
        };
        fit(&info)?;
        let begun = self.begun(&info, how)?;
        let (device, signed) = self.metadata_device(how, begun.is_some())?;
        let mut plan = self.plan_convert(info, begun.as_deref())?;
        let draft = self.draft_ahead(&plan.info.name, plan.info.uuid, &device, plan.info.size, plan.block)?;
        let (replica, shown) = (plan.info.name.clone(), device.path.display().to_string());
        let where_ = format!("its metadata on {shown}, its data in {}", plan.below_name());
        if self.dry_run {
            let text = format!("volume {replica} would become a replica of one leg: {where_}");
            return Ok(ReplicaChange { changed: true, dry_run: true, replica: None, text });
        }
        if signed {
            self.system.wipe(&device)?;
        }
        let members = self.write_replica(&draft, std::slice::from_ref(&device), 1)?;
        let leg = members.first().copied().unwrap_or_default();
        self.write_join(&plan, &device, leg, &draft)?;
        if let Some(pool) = &mut plan.pool {
            pool.carry_out()?;
        }
        if let Err(error) = self.insert(&plan, &device, leg, draft.start()) {
            // If that cannot be written down, the command goes on with it when it is run again.
            if plan.pool.as_mut().map_or(Ok(()), Below::undo).is_ok() {
                let content = self.system.content(&device, Access::Claim)?;
                spare::clear(&device, content.as_ref())?;
            }
            return Err(error);
        }
        let text = format!("volume {replica} is a replica of one leg now: {where_}");
        let replica = self.view_replica(plan.info.uuid).ok();
        Ok(ReplicaChange { changed: true, dry_run: false, replica, text })
    }

    /// What a run that was broken off has left on the device.
    fn begun(&self, info: &Info, how: &Convert) -> Result<Option<Box<Join>>> {
        let device = self.system.open(&how.metadata)?;
        let content = self.system.content(&device, Access::Look)?;
        let found = joint::read(&device, content.as_ref())?;
        Ok(found.filter(|record| record.array == *info.uuid.as_bytes() && !joint::is_whole(&device, record)))
    }

    /// The device, and whether it holds something that is to be erased.
    fn metadata_device(&self, how: &Convert, begun: bool) -> Result<(Device, bool)> {
        if begun {
            let device = self.system.open(&how.metadata)?;
            if self.system.busy(&device) {
                return Err(busy(&device, self.system.user(&device)).errno(Errno::EBUSY));
            }
            return Ok((device, false));
        }
        let fresh = self.fresh(std::slice::from_ref(&how.metadata), how.force)?;
        let first = fresh.into_iter().next().ok_or(Errno::ENODEV)?;
        Ok((first.device, first.signed))
    }

    fn plan_convert(&self, info: Info, begun: Option<&Join>) -> Result<Plan<'_>> {
        let status = self.system.status(info.uuid)?;
        let block = Bytes(status.logical_block.into());
        let known = |field: fn(&Join) -> [u8; 16]| begun.map(|own| Uuid::from_bytes(field(own)));
        let below = known(|own| own.below).unwrap_or_else(|| self.system.uuid());
        let joined = known(|own| own.joined).unwrap_or_else(|| self.system.uuid());
        if let Some(pool) = info.pool {
            let pool = self.below(pool, info.uuid, below)?;
            let part = Part::new(&of_stor(below), 0, info.size.0 / SECTOR_SIZE);
            return Ok(Plan { info, parts: part.into_iter().collect(), below, pool: Some(pool), joined, block });
        }
        let odd =
            |error| Error::new(Kind::Failure, format!("the kernel's configuration of it cannot be read: {error}"));
        let mut parts = Vec::new();
        for segment in linear::decode(&status.config).map_err(odd)? {
            let lower = status.lowers.get(segment.lower as usize).ok_or(Errno::ENODEV)?;
            let device = self.system.find(lower.number, &lower.disk)?;
            let (start, length) = (segment.lower_start.0 / SECTOR_SIZE, segment.length.0 / SECTOR_SIZE);
            let part = self.system.identity(&device).and_then(|identity| Part::new(&identity, start, length));
            parts.push(part.ok_or_else(|| {
                let path = device.path.display();
                Error::new(Kind::Unfit, format!("{path} could not be found again after a reboot")).help(
                    "it has neither a UUID nor a worldwide id nor a serial number; have the data on a device that has one",
                )
            })?);
        }
        Ok(Plan { info, parts, below, pool: None, joined, block })
    }

    fn write_join(&self, plan: &Plan<'_>, device: &Device, leg: [u8; 16], draft: &Draft) -> Result<()> {
        let mut record = Join::new(plan.info.uuid.into_bytes(), leg, draft.name(), draft.start());
        (record.joined, record.below) = (plan.joined.into_bytes(), plan.below.into_bytes());
        for part in &plan.parts {
            if !record.push(*part) {
                let cause = format!("it is on more than {PARTS_MAX} parts of devices");
                return Err(Error::new(Kind::Unfit, cause).help("use a volume of fewer parts"));
            }
        }
        let content = self.system.content(device, Access::Claim)?;
        joint::write(device, content.as_ref(), &record)
    }

    /// Has the kernel put it together.
    fn insert(&self, plan: &Plan<'_>, device: &Device, leg: [u8; 16], start: u64) -> Result<()> {
        let Plan { info, below, pool, joined, .. } = plan;
        let below_name = pool.as_ref().map_or_else(|| data_name(&info.name), Below::kernel_name);
        let joined_name = joined_name(&info.name, Uuid::from_bytes(leg));
        let config = Config { array: info.uuid, machine: Uuid::from_bytes(self.system.machine()), ..Config::default() };
        let sectors = info.size.0 / SECTOR_SIZE;
        let joined_config = encode(&segments(start, [(1, 0, sectors)]));
        let lowers = [self.system.open(&device.path)?];
        let size = Bytes(at(start.saturating_add(sectors)));
        let insert = Insert {
            uuid: info.uuid,
            below: (*below, &below_name),
            joined: (*joined, &joined_name),
            joined_target: LINEAR,
            table: Table { size, lowers: &lowers, config: &joined_config },
            target: REPLICA,
            config: &config.encode(),
        };
        self.system.insert(&insert).map_err(|errno| {
            let error = match errno {
                Errno::ENOTTY => {
                    Error::new(Kind::Abi, "the loaded stor module cannot do that").help("update the modules")
                }
                Errno::EEXIST => Error::new(Kind::Exists, "a name that it needs is taken")
                    .help(format!("rename the volume {below_name} or {joined_name}")),
                Errno::EBUSY => {
                    Error::new(Kind::Busy, "it is suspended, or its blocks would become larger while it is open")
                }
                Errno::EOPNOTSUPP => Error::new(Kind::Unfit, "its engine has no target replica"),
                errno => Error::new(Kind::Failure, errno_text(errno)),
            };
            error.errno(errno)
        })
    }
}

/// Refuses what cannot become a replica.
fn fit(info: &Info) -> Result<()> {
    let unfit = |cause: String| Error::new(Kind::Unfit, cause);
    if info.target == REPLICA {
        return Err(Error::new(Kind::Exists, "it is a replica already")
            .help(format!("add a leg: storctl replica add-leg {} DEVICE", info.name)));
    }
    if info.engine.as_deref() == Some(ENGINE) {
        return Err(
            unfit("device-mapper serves it".into()).help("deactivate its pool, and activate it with Stor's modules")
        );
    }
    if info.state & STOR_STATE_READ_ONLY != 0 {
        return Err(unfit("it is read-only".into()).help(format!("storctl volume set {} --read-write", info.name)));
    }
    if info.state & STOR_STATE_SUSPENDED != 0 {
        return Err(Error::new(Kind::Busy, "it is suspended").help(format!("storctl volume resume {}", info.name)));
    }
    if info.name.len() > NAME_MAX {
        let cause = format!(
            "its name, {}, has {} characters, and md's metadata has room for {NAME_MAX}",
            info.name,
            info.name.len()
        );
        return Err(unfit(cause).help("rename it first: storctl volume rename"));
    }
    if info.size.0 < SIZE_MIN || info.size.0 % PAGE_SIZE as u64 != 0 {
        let cause =
            format!("its size is {}, and has to be a multiple of 4 KiB, and 1 MiB at least", linear::exact(info.size));
        return Err(unfit(cause)
            .help(format!("resize it first, such as to {}", Iec(Bytes(info.size.0.div_ceil(SIZE_MIN) * SIZE_MIN)))));
    }
    Ok(())
}
