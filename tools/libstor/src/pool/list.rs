// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What there is: pools in a list, one with everything, what each waits for, devices with labels.

use super::activate::uuid;
use super::name;
use super::open::fit;
use super::scan::{scan, Group};
use super::settings::Policy;
use super::view::{
    blank, device_view, errno_name, facts_words, role, served_by, wait_of, ActiveView, Found, Growth, PoolDetail,
    PoolView, Waiting,
};
use crate::device::Access;
use crate::error::Context;
use crate::volume::{state_words, Wait};
use crate::{Bytes, Error, Kind, Result, Stor, Uuid};
use std::path::PathBuf;
use std::time::Duration;
use stor_pure::pure::catalog::{NO_PASSDOWN, NO_ZERO};

/// A request of a volume that is with a device for longer than this is with the pool, if that waits for room.
const WITH_A_DEVICE_NS: u64 = 1_000_000_000;

/// What a volume waits for. The kernel tells of a volume that it has requests below it, and not whether they are with a device or
/// wait in the pool.
fn of_pool(wait: Wait, pool: Option<&Wait>) -> Wait {
    let room = pool.filter(|pool| matches!(pool.reason, "data-room" | "metadata-room"));
    match room {
        Some(pool) if wait.reason == "lower" && wait.for_ns.is_some_and(|time| time > WITH_A_DEVICE_NS) => {
            Wait { reason: pool.reason, ..wait }
        }
        _ => wait,
    }
}

impl Stor {
    /// The pools, those included that are not active or not whole.
    pub fn pools(&self) -> Result<Vec<PoolView>> {
        let list = || -> Result<Vec<PoolView>> {
            let active = self.system.pool_list()?;
            let found = scan(self.system.as_ref(), &[])?;
            let mut views: Vec<PoolView> = found.pools.into_iter().map(|group| self.view_group(group)).collect();
            for pool in active {
                if !views.iter().any(|view| view.uuid == pool.uuid) {
                    let mut view = blank(pool.name.clone(), pool.uuid);
                    view.state = state_words(pool.state).collect();
                    view.served_by = Some(served_by(pool.engine.as_deref()));
                    view.problem = Some("none of its devices can be read".into());
                    views.push(view);
                }
            }
            Ok(views)
        };
        list().context(|| "cannot list pools".into())
    }

    /// A pool of which not everything need be there.
    fn view_group(&self, group: Group) -> PoolView {
        let mut view = blank(group.name(), group.uuid);
        view.devices =
            group.members.iter().map(|member| device_view(member.device.path.clone(), &member.seen.label)).collect();
        if let Err(error) = fit(&group) {
            view.state.push("incomplete");
            view.problem = Some(error.to_string());
            return view;
        }
        match self.lock(group, Access::Read) {
            Ok(Some(mut open)) => match open.load() {
                Ok(()) => open.view(),
                Err(error) => {
                    let outline = open.outline();
                    PoolView { problem: outline.problem.clone().or(Some(error.to_string())), ..outline }
                }
            },
            Ok(None) => PoolView { problem: Some("it is being changed: look again".into()), ..view },
            Err(error) => PoolView { problem: Some(error.to_string()), ..view },
        }
    }

    /// A pool as a listing shows it.
    pub(crate) fn view_pool(&self, name: &str) -> Result<PoolView> {
        Ok(self.open_pool(name, &[], Access::Read)?.view())
    }

    /// Everything about a pool. If `measure` is given, how fast it fills is measured for so long.
    pub fn show_pool(&self, name: &str, measure: Option<Duration>) -> Result<PoolDetail> {
        let show = || -> Result<PoolDetail> {
            let open = self.open_pool(name, &[], Access::Read)?;
            let settings = open.catalog.settings;
            let block = open.data_block();
            // The catalog forgets what is gone at the next change.
            let marked = open.catalog.records.values().filter(|record| record.fixed.is_deleting()).count() as u64;
            let deleting = open.status.as_ref().map_or(marked, |status| status.facts.deleting);
            let reserved = open
                .catalog
                .records
                .values()
                .fold(0u64, |sum, record| sum.saturating_add(record.fixed.reservation.get()));
            let owner = open.first()?.owner;
            let active = open.status.as_ref().map(|status| ActiveView {
                engine: status.info.engine.clone(),
                volumes: status.info.volumes,
                snapshots_left: status.facts.snapshots_left,
                metadata_reserve: status.facts.metadata_reserve,
                memory: status.facts.memory,
                commits: status.facts.commits,
                waiting: status.facts.waiting,
                wait: wait_of(&status.facts, self.system.boottime()),
                last_error: errno_name(status.facts.last_error),
            });
            let mut detail = PoolDetail {
                view: open.view(),
                policy: match Policy::of(settings.policy.get()) {
                    Policy::Pool => Policy::Queue,
                    policy => policy,
                },
                timeout_s: settings.timeout.get(),
                low_water: Bytes(settings.low_water.get().saturating_mul(block)),
                reserve: Bytes(settings.reserve.get().saturating_mul(block)),
                reserved: Bytes(reserved),
                passdown: settings.flags.get() & NO_PASSDOWN == 0,
                zero: settings.flags.get() & NO_ZERO == 0,
                commit_interval_ms: match settings.commit_interval.get() {
                    0 => 1000,
                    interval => interval,
                },
                transaction: open.catalog.stamp.transaction.get(),
                deleting,
                owner: (owner != [0; 16]).then(|| Uuid::from_bytes(owner).simple().to_string()),
                active,
                growth: None,
            };
            let uuid = open.uuid;
            // Nobody has to wait for the measurement.
            drop(open);
            if let Some(time) = measure {
                detail.growth = Some(self.growth(uuid, time)?);
            }
            Ok(detail)
        };
        show().context(|| format!("cannot show pool {name}"))
    }

    fn growth(&self, pool: Uuid, time: Duration) -> Result<Growth> {
        let inactive = |_| Error::new(Kind::NotFound, "how fast it fills can be measured of an active pool only");
        let before = self.system.pool_status(pool).map_err(inactive)?.facts;
        let begun = self.system.boottime();
        std::thread::sleep(time);
        let after = self.system.pool_status(pool).map_err(inactive)?.facts;
        let over_ns = self.system.boottime().saturating_sub(begun).max(1);
        let grown = after.data_used.0.saturating_sub(before.data_used.0);
        let free = u128::from(after.data_size.0.saturating_sub(after.data_used.0));
        let nanoseconds = (free * u128::from(over_ns)).checked_div(u128::from(grown));
        let full_in_s = nanoseconds.map(|time| u64::try_from(time / 1_000_000_000).unwrap_or(u64::MAX));
        Ok(Growth { over_ns, grown: Bytes(grown), full_in_s })
    }

    /// What a pool, or every pool, and their volumes wait for.
    pub fn waiting(&self, name: Option<&str>) -> Result<Vec<Waiting>> {
        let status = || -> Result<Vec<Waiting>> {
            let pools = self.system.pool_list()?;
            let wanted = name.and_then(|name| Uuid::try_parse(name).ok());
            let is = |pool: &&crate::control::pool::PoolInfo| {
                name.is_none_or(|name| pool.name == name || Some(pool.uuid) == wanted)
            };
            let chosen: Vec<_> = pools.iter().filter(is).collect();
            if let (Some(name), true) = (name, chosen.is_empty()) {
                let group = scan(self.system.as_ref(), &[])?.find(name)?;
                return Err(Error::new(Kind::NotFound, "it is not active")
                    .help(format!("activate it: storctl pool activate {}", group.name())));
            }
            let now = self.system.boottime();
            let mut all = Vec::new();
            for pool in chosen {
                let status = self.system.pool_status(pool.uuid)?;
                let mut state: Vec<_> = state_words(status.info.state).collect();
                state.extend(
                    facts_words(&status.facts).into_iter().filter(|word| !state.contains(word)).collect::<Vec<_>>(),
                );
                let of_its_pool = wait_of(&status.facts, now);
                all.push(Waiting {
                    kind: "pool",
                    name: pool.name.clone(),
                    served_by: served_by(pool.engine.as_deref()),
                    wait: of_its_pool.clone(),
                    state,
                    last_error: errno_name(status.facts.last_error),
                });
                let names = self.open_pool(&pool.uuid.to_string(), &[], Access::Read).ok().map(|open| {
                    let pair = |record: &super::catalog::Record| (uuid(record), record.name.clone());
                    open.catalog.records.values().map(pair).collect::<std::collections::BTreeMap<_, _>>()
                });
                for volume in self.volumes_of(pool.uuid)? {
                    let status = self.system.status(volume.uuid)?;
                    let known = names.as_ref().and_then(|names| names.get(&volume.uuid));
                    all.push(Waiting {
                        kind: "volume",
                        name: known.map_or(volume.name.clone(), |known| format!("{}/{known}", pool.name)),
                        served_by: served_by(pool.engine.as_deref()),
                        wait: Wait::new(&status, now).map(|wait| of_pool(wait, of_its_pool.as_ref())),
                        state: state_words(volume.state).collect(),
                        last_error: errno_name(status.last_error),
                    });
                }
            }
            Ok(all)
        };
        status().context(|| match name {
            Some(name) => format!("cannot tell the status of pool {name}"),
            None => "cannot tell the status of the pools".into(),
        })
    }

    /// The devices that have a pool's label, or that cannot be read.
    pub fn scan(&self, devices: &[PathBuf]) -> Result<Vec<Found>> {
        let scan = || -> Result<Vec<Found>> {
            let active = self.system.pool_list()?;
            let found = scan(self.system.as_ref(), devices)?;
            let mut all = Vec::new();
            for group in &found.pools {
                let problem = fit(group).err().map(|error| error.to_string());
                let is_active = active.iter().any(|pool| pool.uuid == group.uuid);
                let incomplete = problem.is_some().then_some("incomplete");
                let inactive = (!is_active).then_some("inactive");
                for member in &group.members {
                    all.push(Found {
                        path: member.device.path.clone(),
                        pool: Some(group.name()),
                        pool_uuid: Some(group.uuid),
                        index: Some(member.seen.label.index.get()),
                        role: Some(role(member.seen.label.role.get())),
                        size: Some(member.seen.label.size.get()),
                        state: inactive.into_iter().chain(incomplete).collect(),
                        problem: problem.clone(),
                    });
                }
            }
            all.extend(found.troubles.into_iter().map(|trouble| Found {
                path: trouble.path,
                pool: None,
                pool_uuid: None,
                index: None,
                role: None,
                size: None,
                state: vec!["unusable"],
                problem: Some(trouble.why),
            }));
            Ok(all)
        };
        scan().context(|| "cannot look for pools".into())
    }

    /// What the kernel calls a volume of a pool.
    pub fn kernel_name(pool: &str, volume: &str, uuid: Uuid) -> String {
        name::kernel(pool, volume, uuid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_long_below_a_volume_of_a_full_pool_waits_for_room() {
        let wait = |reason, for_ns| Wait { reason, since_ns: Some(1), for_ns: Some(for_ns) };
        let (short, long) = (wait("lower", WITH_A_DEVICE_NS), wait("lower", WITH_A_DEVICE_NS + 1));
        let full = wait("data-room", 5);
        assert_eq!(of_pool(long.clone(), Some(&full)), Wait { reason: "data-room", ..long.clone() });
        assert_eq!(of_pool(short.clone(), Some(&full)), short);
        assert_eq!(of_pool(long.clone(), Some(&wait("commit", 5))), long);
        assert_eq!(of_pool(long.clone(), None), long);
        let suspended = wait("resume", u64::MAX);
        assert_eq!(of_pool(suspended.clone(), Some(&full)), suspended);
    }
}
