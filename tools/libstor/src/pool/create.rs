// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Making a pool, in an order in which no crash makes half of one: labels come last, and the first device's last of all.
//!
//! 1. what is on the devices is looked at, and refused if it is anything;
//! 2. old labels and signatures are erased, and that is flushed;
//! 3. metadata and both slots of the catalog are written and flushed;
//! 4. labels are written, that of the first device, which makes it a pool, when all others are durable.

use super::area::{Area, Part};
use super::catalog::Catalog;
use super::layout::{plan, Layout, Shape, Wanted};
use super::member;
use super::name;
use super::scan::scan;
use super::settings::{Policy, PoolSettings};
use super::slots::Slots;
use super::view::PoolChange;
use crate::device::{busy, Access, Content, Device};
use crate::error::Context;
use crate::size::Iec;
use crate::{Bytes, Error, Kind, Result, Stor, Uuid};
use nix::errno::Errno;
use std::path::PathBuf;
use std::rc::Rc;
use stor_pure::pure::catalog::handshake::Stamp;
use stor_pure::pure::label::copies::{at_end, FIRST};
use stor_pure::pure::label::{self, Label, DATA, LABEL_SIZE, MEMBERS_MAX, METADATA};
use stor_pure::pure::text;
use stor_pure::pure::thin::block;
use stor_pure::pure::thin::pool::{Options, Pool as Engine};
use stor_pure::pure::units::SECTOR_SIZE;
use zerocopy::FromZeros;

/// Seconds that writes wait for room in a pool of which nothing else was said.
pub(super) const TIMEOUT: u32 = 60;
/// There is an event when less than this part of the pool is free.
pub(super) const LOW_WATER: u64 = 16;

/// A pool to make.
#[derive(Clone, Debug, Default)]
pub struct NewPool {
    /// Its name.
    pub name: String,
    /// Its UUID; a random one if not given.
    pub uuid: Option<Uuid>,
    /// The devices for data, and for all else if there is no other.
    pub devices: Vec<PathBuf>,
    /// A device for metadata and catalog alone.
    pub metadata: Option<PathBuf>,
    /// A data block.
    pub data_block: Option<Bytes>,
    /// Room for metadata.
    pub metadata_size: Option<Bytes>,
    /// Its settings.
    pub settings: PoolSettings,
    /// Whether what the devices hold may be lost.
    pub force: bool,
    /// Whether the same pool may be there already.
    pub if_missing: bool,
    /// Whether it is not to be activated.
    pub inactive: bool,
}

/// What devices hold, in their order.
pub(super) type Contents = Vec<Rc<dyn Content>>;

/// A device that is to be a pool's, and what it has that would be lost.
pub(crate) struct Fresh {
    pub(crate) device: Device,
    pub(crate) signed: bool,
}

impl Stor {
    /// Makes a pool of devices, and activates it. What they hold is lost.
    pub fn create_pool(&self, new: &NewPool) -> Result<PoolChange> {
        self.try_create_pool(new).context(|| format!("cannot create pool {}", new.name))
    }

    fn try_create_pool(&self, new: &NewPool) -> Result<PoolChange> {
        name::check(&new.name)?;
        if new.uuid.is_some_and(|uuid| uuid.is_nil()) {
            return Err(Error::new(Kind::Usage, "the UUID may not be all zero"));
        }
        if let Some(change) = self.pool_is_there(new)? {
            return Ok(change);
        }
        let paths: Vec<PathBuf> = new.metadata.iter().chain(&new.devices).cloned().collect();
        let devices = self.fresh(&paths, new.force)?;
        self.check_found(&devices)?;
        let shapes: Vec<Shape> = devices.iter().map(|fresh| shape(&fresh.device)).collect();
        let wanted = Wanted { data_block: new.data_block, metadata: new.metadata_size, apart: new.metadata.is_some() };
        let layout = plan(&shapes, &wanted)?;
        let catalog = catalog(new, &layout)?;
        let names: Vec<_> = shapes.iter().map(|shape| shape.path.as_str()).collect();
        let what = format!(
            "{} for data in blocks of {}, {} for metadata, on {}",
            Iec(layout.data),
            Iec(layout.data_block),
            Iec(layout.metadata),
            names.join(", ")
        );
        if self.dry_run {
            let text = format!("pool {} would be created: {what}", new.name);
            return Ok(PoolChange { changed: true, dry_run: true, pool: None, text });
        }
        let uuid = new.uuid.unwrap_or_else(|| self.system.uuid());
        self.write_pool(&new.name, uuid, devices, &layout, &catalog)?;
        let mut text = format!("pool {} created: {what}", new.name);
        if new.inactive {
            text += "; not active";
        } else {
            let activated = self.activate_pool(&uuid.to_string(), &super::activate::Activate::default());
            activated.map_err(|error| Error {
                cause: format!("it was made, but cannot be activated: {}", error.cause),
                context: String::new(),
                ..error
            })?;
        }
        Ok(PoolChange { changed: true, dry_run: false, pool: self.view_pool(&uuid.to_string()).ok(), text })
    }

    /// Whether a pool of this name is there already: as an answer, or as an error.
    fn pool_is_there(&self, new: &NewPool) -> Result<Option<PoolChange>> {
        let mut found = scan(self.system.as_ref(), &[])?;
        let mut numbers = Vec::new();
        for path in new.metadata.iter().chain(&new.devices) {
            numbers.push(self.system.number(path)?);
        }
        if new.force && !new.if_missing {
            // What is lost is not in the way: an old pool on these devices, or half of one that a crash has left.
            found.pools.retain(|group| group.members.iter().any(|member| !numbers.contains(&member.device.number)));
        }
        let same_uuid = found.pools.iter().find(|group| Some(group.uuid) == new.uuid);
        let Some(group) = found.pools.iter().find(|group| group.name() == new.name) else {
            if let Some(group) = same_uuid {
                return Err(Error::new(Kind::Exists, format!("its UUID is that of pool {}", group.name())));
            }
            if self.system.pool_list()?.iter().any(|pool| pool.name == new.name) {
                return Err(Error::new(Kind::Exists, "a pool of this name is active, whose devices are not found"));
            }
            return Ok(None);
        };
        let exists = || Error::new(Kind::Exists, "a pool of this name exists").errno(Errno::EEXIST);
        if !new.if_missing {
            return Err(exists().help("choose another name, or use --if-missing if the same pool may be there already"));
        }
        let is: Vec<_> = group.members.iter().map(|member| member.device.number).collect();
        let block =
            group.members.first().map(|member| u64::from(member.seen.label.data_block_size.get()) * SECTOR_SIZE);
        let differs = |what: &str| {
            Err(Error { cause: format!("a pool of this name exists and differs: {what}"), ..exists() }
                .help("see 'storctl pool show', choose another name, or remove it first"))
        };
        if is != numbers {
            let is: Vec<_> = group.members.iter().map(|member| member.device.path.display().to_string()).collect();
            return differs(&format!("it is on {}", is.join(", ")));
        }
        if new.uuid.is_some_and(|uuid| uuid != group.uuid) {
            return differs(&format!("its UUID is {}", group.uuid));
        }
        if let Some(block) = block.filter(|block| new.data_block.is_some_and(|wanted| wanted.0 != *block)) {
            return differs(&format!("its data blocks have {}", Iec(Bytes(block))));
        }
        let uuid = group.uuid.to_string();
        let mut changed = false;
        if !new.inactive && !self.dry_run && !self.is_active(group.uuid)? {
            changed = self.activate_pool(&uuid, &super::activate::Activate::default())?.changed;
        }
        let text = format!("pool {} exists already", new.name);
        Ok(Some(PoolChange { changed, dry_run: self.dry_run, pool: self.view_pool(&uuid).ok(), text }))
    }

    /// Opens devices that are to be a pool's, and refuses those that are in use or hold something.
    pub(crate) fn fresh(&self, paths: &[PathBuf], force: bool) -> Result<Vec<Fresh>> {
        let mut devices: Vec<Fresh> = Vec::new();
        for path in paths {
            let device = self.system.open(path)?;
            let shown = path.display();
            if devices.iter().any(|other| other.device.number == device.number) {
                return Err(Error::new(Kind::Usage, format!("{shown} is named twice")));
            }
            if self.system.busy(&device) {
                return Err(busy(&device, self.system.user(&device)).errno(Errno::EBUSY));
            }
            self.admitted(&device)?;
            if device.read_only {
                return Err(Error::new(Kind::Unfit, format!("{shown} is read-only")).errno(Errno::EROFS));
            }
            if device.logical_block.0 > LABEL_SIZE as u64 {
                let cause =
                    format!("{shown} has logical blocks of {}, and a label is of 4 KiB", Iec(device.logical_block));
                return Err(Error::new(Kind::Unfit, cause));
            }
            let holds = self.holds(&device);
            let signed = match holds {
                Ok(None) => false,
                Ok(Some(_)) | Err(_) if force => true,
                Ok(Some(what)) => {
                    return Err(Error::new(Kind::Exists, format!("{shown} holds {what}"))
                        .help("use another, or --force if that can be lost"));
                }
                Err(error) => return Err(error),
            };
            devices.push(Fresh { device, signed });
        }
        if devices.len() > MEMBERS_MAX {
            return Err(Error::new(Kind::Usage, format!("a pool has at most {MEMBERS_MAX} devices")));
        }
        Ok(devices)
    }

    /// Refuses volumes in which no pool would be found: what is in them is their user's.
    pub(super) fn check_found(&self, devices: &[Fresh]) -> Result<()> {
        let volumes = self.system.list()?;
        for Fresh { device, .. } in devices {
            let own = volumes.iter().find(|info| info.number == device.number);
            if let Some(info) = own.filter(|info| info.target != crate::replica::REPLICA) {
                let (path, name) = (device.path.display(), &info.name);
                return Err(Error::new(
                    Kind::Unfit,
                    format!("{path} is volume {name}, in which no pool is looked for"),
                )
                .help("make the pool on what is below, or on a replica"));
            }
        }
        Ok(())
    }

    /// What a device holds that would be lost.
    fn holds(&self, device: &Device) -> Result<Option<String>> {
        let content = self.system.content(device, Access::Look)?;
        match member::read(device, content.as_ref())? {
            Ok(seen) => {
                let name = seen.label.name().unwrap_or("?").to_string();
                return Ok(Some(format!("a part of pool {name} ({})", Uuid::from_bytes(seen.label.pool))));
            }
            Err(label::Refusal::Magic) => {}
            Err(refusal) => return Ok(Some(format!("a pool label that cannot be used ({refusal})"))),
        }
        if let Some(what) = crate::replica::scan::holds(self.system.as_ref(), &device.path)? {
            return Ok(Some(what));
        }
        if let Some(what) = self.system.signature(device)? {
            return Ok(Some(what));
        }
        let mut first = [0; block::BLOCK_SIZE];
        content.read(0, &mut first).map_err(|error| member::failed(device, "read", &error))?;
        let superblock = block::kind::<Area>(&first) == Some(block::Kind::Superblock);
        Ok(superblock.then(|| "metadata of a thin pool".into()))
    }

    /// Claims devices, and makes them ones that hold nothing.
    pub(super) fn claim(&self, devices: Vec<Fresh>) -> Result<(Vec<Device>, Contents)> {
        for fresh in devices.iter().filter(|fresh| fresh.signed) {
            self.system.wipe(&fresh.device)?;
        }
        let devices: Vec<Device> = devices.into_iter().map(|fresh| fresh.device).collect();
        let mut contents = Vec::new();
        for device in &devices {
            contents.push(self.system.content(device, Access::Claim)?);
        }
        for (device, content) in devices.iter().zip(&contents) {
            member::clear(device, content.as_ref(), true)?;
        }
        Ok((devices, contents))
    }

    fn write_pool(
        &self,
        name: &str,
        uuid: Uuid,
        devices: Vec<Fresh>,
        layout: &Layout,
        catalog: &Catalog,
    ) -> Result<()> {
        let (devices, contents) = self.claim(devices)?;
        let area = |area: label::Area| {
            let segments = layout.devices.iter().zip(&contents).flat_map(|(segments, content)| {
                let ours = segments.iter().filter(move |segment| segment.area.get() == area as u32);
                ours.map(|segment| Part {
                    content: content.clone(),
                    start: segment.start.get(),
                    length: segment.length.get(),
                })
            });
            Area::new(segments.collect())
        };
        let sectors = u32::try_from(layout.data_block.0 / SECTOR_SIZE).unwrap_or(u32::MAX);
        let options = Options { frames: 1024, streams: 1, passdown: false };
        let blocks = layout.data.0 / layout.data_block.0;
        let mut engine =
            Engine::format(area(label::Area::Metadata), options, sectors, blocks).map_err(crate::metadata::failure)?;
        engine.commit().map_err(crate::metadata::failure)?;
        Slots::new(area(label::Area::Catalog), *uuid.as_bytes()).create(catalog)?;
        let members: Vec<[u8; 16]> = devices.iter().map(|_| *self.system.uuid().as_bytes()).collect();
        let label = |index: usize, device: &Device| -> Result<Label> {
            let mut label = blank(name, uuid, sectors, device, &members, index);
            set_segments(&mut label, layout.devices.get(index).map(Vec::as_slice).unwrap_or_default())?;
            Ok(label)
        };
        // That of the first device last.
        for (index, (device, content)) in devices.iter().zip(&contents).enumerate().rev() {
            member::write(device, content.as_ref(), &label(index, device)?)?;
        }
        Ok(())
    }
}

pub(super) fn shape(device: &Device) -> Shape {
    Shape { path: device.path.display().to_string(), size: device.size, optimal: device.optimal }
}

/// A label without segments.
pub(super) fn blank(
    name: &str,
    uuid: Uuid,
    sectors: u32,
    device: &Device,
    members: &[[u8; 16]],
    index: usize,
) -> Label {
    let mut label = Label::new_zeroed();
    label.generation = 1.into();
    label.location = FIRST.into();
    label.other = at_end(device.size.0).into();
    label.size = (device.size.0 / LABEL_SIZE as u64 * LABEL_SIZE as u64).into();
    label.pool = *uuid.as_bytes();
    label.device = members.get(index).copied().unwrap_or_default();
    // There are at most 64.
    (label.index, label.members) = ((index as u32).into(), (members.len() as u32).into());
    label.data_block_size = sectors.into();
    text::to_field(name, &mut label.name);
    label.member.iter_mut().zip(members).for_each(|(to, from)| *to = *from);
    label
}

/// Says what lies on the device.
pub(super) fn set_segments(label: &mut Label, segments: &[label::Segment]) -> Result<()> {
    if segments.len() > label.segment.len() {
        return Err(Error::new(Kind::Unfit, format!("a device has at most {} segments", label.segment.len()))
            .help("add a device"));
    }
    let has = |area: label::Area| segments.iter().any(|segment| segment.area.get() == area as u32);
    let role = |area, role| if has(area) { role } else { 0 };
    label.role = (role(label::Area::Metadata, METADATA) | role(label::Area::Data, DATA)).into();
    label.segments = (segments.len() as u32).into();
    label.segment = FromZeros::new_zeroed();
    label.segment.iter_mut().zip(segments).for_each(|(to, from)| *to = *from);
    Ok(())
}

/// The catalog of a new pool.
fn catalog(new: &NewPool, layout: &Layout) -> Result<Catalog> {
    let mut catalog = Catalog { stamp: Stamp { generation: 1.into(), transaction: 0.into() }, ..Catalog::default() };
    let block = layout.data_block.0;
    catalog.settings.policy = Policy::Queue.number().into();
    catalog.settings.timeout = TIMEOUT.into();
    catalog.settings.low_water = (layout.data.0 / block / LOW_WATER).into();
    new.settings.apply(&mut catalog.settings, block)?;
    let above = |blocks: u64| blocks.saturating_mul(block) > layout.data.0;
    if above(catalog.settings.reserve.get()) || above(catalog.settings.low_water.get()) {
        return Err(Error::new(
            Kind::Unfit,
            format!("the pool has {}, less than is to be kept free", Iec(layout.data)),
        )
        .help("give less to --reserve and --low-water"));
    }
    Ok(catalog)
}
