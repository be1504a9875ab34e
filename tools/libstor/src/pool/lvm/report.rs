// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What lvm2 reports as JSON of a volume group: its state, its volumes, which extents are free.

use super::group::Run;
use crate::device::Host;
use crate::{Error, Kind, Result};
use serde::de::DeserializeOwned;
use serde::Deserialize;

/// A logical volume; every field is a string, empty for what it does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Lv {
    /// Its name; that of a hidden one is in brackets.
    pub(crate) lv_name: String,
    pub(crate) lv_uuid: String,
    pub(crate) lv_size: String,
    pub(crate) lv_active: String,
    pub(crate) lv_permissions: String,
    pub(crate) lv_skip_activation: String,
    pub(crate) pool_lv: String,
    pub(crate) origin: String,
    pub(crate) segtype: String,
    pub(crate) thin_id: String,
    pub(crate) transaction_id: String,
    pub(crate) chunk_size: String,
    pub(crate) discards: String,
    pub(crate) lv_when_full: String,
    pub(crate) lv_time: String,
}

/// A volume group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Vg {
    pub(crate) vg_lock_type: String,
    pub(crate) vg_missing_pv_count: String,
    pub(crate) vg_exported: String,
    pub(crate) vg_permissions: String,
}

/// A segment of a physical volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct PvSegment {
    pub(crate) pv_name: String,
    pub(crate) pv_uuid: String,
    pub(crate) pvseg_start: String,
    pub(crate) pvseg_size: String,
    pub(crate) lv_name: String,
    pub(crate) pv_allocatable: String,
}

#[derive(Deserialize)]
struct Whole<T> {
    report: Vec<T>,
}

#[derive(Deserialize)]
struct Lvs {
    lv: Vec<Lv>,
}

#[derive(Deserialize)]
struct Vgs {
    vg: Vec<Vg>,
}

#[derive(Deserialize)]
struct Pvs {
    #[serde(default)]
    pvseg: Vec<PvSegment>,
    #[serde(default)]
    pv: Vec<PvSegment>,
}

/// What lvm2 says of a volume group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) vg: Vg,
    pub(crate) volumes: Vec<Lv>,
    pub(crate) segments: Vec<PvSegment>,
}

const LV: &str = "lv_name,lv_uuid,lv_size,lv_active,lv_permissions,lv_skip_activation,pool_lv,origin,segtype,thin_id,\
                  transaction_id,chunk_size,discards,lv_when_full,lv_time";
const VG: &str = "vg_lock_type,vg_missing_pv_count,vg_exported,vg_permissions";
const PV: &str = "pv_name,pv_uuid,pvseg_start,pvseg_size,lv_name,pv_allocatable";

fn ask<T: DeserializeOwned>(host: &(impl Host + ?Sized), command: &[&str]) -> Result<Vec<T>> {
    let mut arguments = command.to_vec();
    arguments.extend(["--reportformat", "json", "--units", "b", "--nosuffix", "--config", "report/time_format=\"%s\""]);
    let printed = host.lvm(&arguments)?;
    let read: Whole<T> = serde_json::from_str(&printed)
        .map_err(|error| Error::new(Kind::Failure, format!("what lvm2 reports cannot be understood: {error}")))?;
    Ok(read.report)
}

/// Asks lvm2 for a volume group.
///
/// # Errors
///
/// There is no lvm2, no such group, or it cannot be understood.
pub(crate) fn report(host: &(impl Host + ?Sized), vg: &str) -> Result<Report> {
    let groups = ask::<Vgs>(host, &["vgs", "-o", VG, vg])?;
    let volumes = ask::<Lvs>(host, &["lvs", "-a", "-o", LV, vg])?;
    let only = format!("vg_name={vg}");
    let physical = ask::<Pvs>(host, &["pvs", "--segments", "-o", PV, "-S", &only])?;
    let vg = groups.into_iter().flat_map(|group| group.vg).next().unwrap_or_default();
    let mut volumes: Vec<Lv> = volumes.into_iter().flat_map(|all| all.lv).collect();
    for volume in &mut volumes {
        // Those of hidden ones are in brackets.
        for name in [&mut volume.lv_name, &mut volume.pool_lv, &mut volume.origin] {
            *name = name.trim_matches(['[', ']']).to_string();
        }
    }
    let segments = physical.into_iter().flat_map(|all| all.pvseg.into_iter().chain(all.pv)).collect();
    Ok(Report { vg, volumes, segments })
}

impl Report {
    /// The path of a physical volume.
    pub(crate) fn path(&self, id: &str) -> Option<&str> {
        self.segments.iter().find(|segment| segment.pv_uuid == id).map(|segment| segment.pv_name.as_str())
    }

    /// Extents that are free, on the physical volumes that the text calls so.
    pub(crate) fn free(&self, name_of: impl Fn(&str) -> Option<String>) -> Vec<Run> {
        let free =
            self.segments.iter().filter(|segment| segment.lv_name.is_empty() && !segment.pv_allocatable.is_empty());
        let run = |segment: &PvSegment| {
            let (start, count) = (segment.pvseg_start.parse().ok()?, segment.pvseg_size.parse().ok()?);
            Some(Run { pv: name_of(&segment.pv_uuid)?, start, count })
        };
        free.filter_map(run).filter(|run| run.count > 0).collect()
    }

    /// Names of volumes that are active, of these.
    pub(crate) fn active(&self, of: impl Fn(&Lv) -> bool) -> Vec<&str> {
        let active = self.volumes.iter().filter(|volume| !volume.lv_active.is_empty() && of(volume));
        let mut names: Vec<_> = active.map(|volume| volume.lv_name.as_str()).collect();
        names.dedup();
        names
    }

    /// Refuses a volume group that is not this machine's alone, or not whole.
    pub(crate) fn check(&self) -> Result<()> {
        let vg = &self.vg;
        let refuse = |cause: &str, help: &str| Err(Error::new(Kind::Unfit, cause).help(help));
        if !matches!(vg.vg_lock_type.as_str(), "" | "none") {
            return refuse(
                "the volume group is shared between machines",
                "make it a local one: vgchange --lock-type none",
            );
        }
        if !matches!(vg.vg_missing_pv_count.as_str(), "" | "0") {
            return refuse("the volume group has physical volumes that are missing", "attach them");
        }
        if !vg.vg_exported.is_empty() {
            return refuse("the volume group is exported", "run 'vgimport' first");
        }
        if vg.vg_permissions == "read-only" {
            return refuse("the volume group is read-only", "make it writable: vgchange --permission rw");
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn json_of_lvm2_is_read() {
        let text = r#"{"report": [{"pvseg": [{"pv_name":"/dev/vda","pv_uuid":"a-b","pvseg_start":"3","pvseg_size":"5",
            "lv_name":"","pv_allocatable":"allocatable"},{"pv_name":"/dev/vda","pv_uuid":"a-b","pvseg_start":"0",
            "pvseg_size":"3","lv_name":"[pool_tdata]","pv_allocatable":"allocatable"}]}], "log": []}"#;
        let read: Whole<Pvs> = serde_json::from_str(text).unwrap();
        let segments = read.report.into_iter().flat_map(|all| all.pvseg).collect();
        let report = Report { segments, ..Report::default() };
        assert_eq!(
            report.free(|id| (id == "a-b").then(|| "pv0".into())),
            [Run { pv: "pv0".into(), start: 3, count: 5 }]
        );
        assert_eq!((report.path("a-b"), report.path("c")), (Some("/dev/vda"), None));
    }

    #[test]
    fn groups_that_are_not_ours_are_refused() {
        let of = |vg| Report { vg, ..Report::default() }.check();
        assert!(of(Vg { vg_missing_pv_count: "0".into(), vg_permissions: "writeable".into(), ..Vg::default() }).is_ok());
        assert!(of(Vg { vg_lock_type: "sanlock".into(), ..Vg::default() }).is_err());
        assert!(of(Vg { vg_missing_pv_count: "1".into(), ..Vg::default() }).is_err());
        assert!(of(Vg { vg_exported: "exported".into(), ..Vg::default() }).is_err());
    }
}
