// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the doctor finds in systems that are made up of files.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use libstor::doctor::{examine, Status};
use libstor::{Error, Kind, Result, Simulated, Stor};
use std::fs;
use std::path::{Path, PathBuf};

const RELEASE: &str = "7.3.4+deb13-amd64";

/// A healthy node: Debian's kernel, installed and loaded modules, no Secure Boot.
struct System(PathBuf);

impl System {
    fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("doctor-{name}"));
        let _ = fs::remove_dir_all(&root);
        let system = Self(root);
        system.write("proc/sys/kernel/osrelease", format!("{RELEASE}\n"));
        system.write(&format!("boot/config-{RELEASE}"), "CONFIG_MODULES=y\nCONFIG_RUST=y\n");
        system.module("stor.ko", RELEASE, true);
        system.module("stor_engine_0_1_0.ko", RELEASE, true);
        system.write("sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
        system.write("sys/module/stor/version", "0.1.0\n");
        system.write("sys/module/stor_engine_0_1_0/version", "0.1.0\n");
        system.write("dev/stor-control", "");
        system
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        let path = self.0.join(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }

    fn module(&self, name: &str, release: &str, signed: bool) {
        let signature = if signed { "~Module signature appended~\n" } else { "" };
        let text = format!("\x7fELF\0license=GPL\0vermagic={release} SMP preempt mod_unload \0\u{fe}{signature}");
        self.write(&format!("lib/modules/{RELEASE}/updates/{name}"), text);
    }

    fn secure_boot(&self, on: u8) {
        let variable = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
        self.write(variable, [6, 0, 0, 0, on]);
    }

    fn kernel(&self, state: &str) -> Result<Stor> {
        Stor::connect(Box::new(Simulated::create(&self.0.join("kernel.json"), state)?))
    }

    /// The status and text of one check.
    fn find(&self, check: &str) -> (Status, String) {
        self.find_with(check, self.kernel(r#"{"engines":[{"version":"0.1.0","active":true}]}"#))
    }

    fn find_with(&self, check: &str, stor: Result<Stor>) -> (Status, String) {
        let report = examine(&self.0, Some(stor));
        let finding = report.findings.iter().find(|finding| finding.check == check).expect(check);
        assert_eq!(report.ok, report.findings.iter().all(|finding| finding.status != Status::Problem));
        (finding.status, [finding.message.as_str(), finding.help.as_deref().unwrap_or_default()].join(" -> "))
    }

    fn checks(&self, status: Status) -> Vec<&'static str> {
        let stor = self.kernel(r#"{"engines":[{"version":"0.1.0","active":true}]}"#);
        let findings = examine(&self.0, Some(stor)).findings;
        findings.into_iter().filter(|finding| finding.status == status).map(|finding| finding.check).collect()
    }
}

#[test]
fn a_healthy_node_is_found_healthy() {
    let system = System::new("healthy");
    let all = ["kernel", "rust", "files", "signature", "secure-boot", "module", "control", "abi", "engine", "volumes"];
    assert_eq!(system.checks(Status::Ok), all);
}

#[test]
fn a_kernel_without_rust_is_a_problem() {
    let system = System::new("no-rust");
    system.write(&format!("boot/config-{RELEASE}"), "# CONFIG_RUST is not set\n");
    let (status, text) = system.find("rust");
    assert_eq!(status, Status::Problem);
    assert!(text.contains("without CONFIG_RUST") && text.contains("boot a kernel that has it"), "{text}");
}

#[test]
fn the_kernel_tells_of_rust_in_several_places() {
    let system = System::new("rust");
    system.remove("boot");
    assert_eq!(system.find("rust").0, Status::Unknown);
    system.write("proc/kallsyms", "0000000000000000 T rust_helper_mutex_lock\n");
    assert_eq!(system.find("rust").0, Status::Ok);
    system.write(&format!("lib/modules/{RELEASE}/config"), "CONFIG_RUST=y\n");
    assert!(system.find("rust").1.contains("/lib/modules/"), "{:?}", system.find("rust"));
}

#[test]
fn modules_that_are_missing_or_of_another_kernel_are_a_problem() {
    let system = System::new("files");
    system.module("stor_engine_0_1_0.ko", "7.2.12+deb13-amd64", true);
    let (status, text) = system.find("files");
    assert_eq!(status, Status::Problem);
    assert!(text.contains("stor_engine_0_1_0.ko was built for kernel 7.2.12+deb13-amd64"), "{text}");
    system.remove(&format!("lib/modules/{RELEASE}/updates/stor_engine_0_1_0.ko"));
    assert!(system.find("files").1.starts_with("no stor_engine module for this kernel"));
    system.remove(&format!("lib/modules/{RELEASE}"));
    system.write("lib/modules/6.1.0-1-amd64/extra/stor.ko.xz", "");
    let (status, text) = system.find("files");
    assert_eq!(status, Status::Problem);
    assert!(text.starts_with("no stor module") && text.contains("only for 6.1.0-1-amd64"), "{text}");
}

#[test]
fn the_modules_of_the_driver_image_count() {
    let system = System::new("image");
    system.remove("lib/modules");
    for module in ["stor.ko", "stor_engine_0_1_0.ko"] {
        system.write(&format!("opt/lib/modules/{RELEASE}/{module}"), format!("vermagic={RELEASE} SMP \0"));
    }
    assert_eq!(system.find("files").0, Status::Ok);
    assert!(system.find("files").1.contains("/opt/lib/modules/"));
}

#[test]
fn unsigned_modules_are_a_problem_only_where_signatures_are_enforced() {
    let system = System::new("signature");
    system.module("stor.ko", RELEASE, false);
    assert_eq!(system.find("signature").0, Status::Note);
    system.secure_boot(1);
    assert_eq!(system.find("secure-boot").0, Status::Note);
    assert_eq!(system.find("signature").0, Status::Note, "Secure Boot alone does not enforce them");
    system.write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
    let (status, text) = system.find("signature");
    assert_eq!(status, Status::Problem);
    assert!(text.contains("lockdown is integrity") && text.contains("mokutil"), "{text}");
    system.write("sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
    system.write("sys/module/module/parameters/sig_enforce", "Y\n");
    assert_eq!(system.find("signature").0, Status::Problem);
    system.module("stor.ko", RELEASE, true);
    assert_eq!(system.find("signature").0, Status::Ok);
}

#[test]
fn secure_boot_is_told_from_none() {
    let system = System::new("secure-boot");
    assert!(system.find("secure-boot").1.contains("not booted by EFI"));
    system.secure_boot(0);
    assert!(system.find("secure-boot").1.contains("Secure Boot is off; lockdown none"));
    system.remove("sys/firmware/efi/efivars");
    system.write("sys/firmware/efi/runtime", "");
    assert_eq!(system.find("secure-boot").0, Status::Unknown);
}

#[test]
fn what_is_not_loaded_or_not_reachable_is_a_problem() {
    let system = System::new("loaded");
    system.remove("dev/stor-control");
    assert!(system.find("control").1.contains("in a container mount the host's /dev"));
    system.remove("sys/module/stor");
    let (status, text) = system.find("module");
    assert_eq!(status, Status::Problem);
    assert!(text.contains("modprobe stor"), "{text}");
}

#[test]
fn the_live_module_is_asked() {
    let system = System::new("live");
    let refused = |kind, cause: &str| Err(Error::new(kind, cause));
    assert_eq!(system.find_with("control", refused(Kind::Permission, "x")).0, Status::Problem);
    assert_eq!(system.find_with("abi", refused(Kind::Abi, "x")).0, Status::Problem);
    let newer = system.kernel(r#"{"front":{"abi_min":9,"abi_max":9}}"#);
    assert!(system.find_with("abi", newer).1.contains("update storctl"));
    assert_eq!(system.find_with("engine", system.kernel("{}")).0, Status::Problem);
    let unprivileged = r#"{"unprivileged":true,"engines":[{"version":"0.1.0","active":true}]}"#;
    assert_eq!(system.find_with("engine", system.kernel(unprivileged)).0, Status::Unknown);
    let dead = r#"{"engines":[{"version":"0.1.0","active":true}],"volumes":[{"name":"data","index":0,"engine":null,
        "uuid":"00000000-0000-4000-8000-000000000001","read_only":false,"suspended":null,"open_count":0,"lowers":[],
        "segments":[]}]}"#;
    let (status, text) = system.find_with("volumes", system.kernel(dead));
    assert_eq!(status, Status::Problem);
    assert!(text.contains("data") && text.contains("engine switch"), "{text}");
}

#[test]
fn a_folder_that_is_no_system_is_looked_at_without_harm() {
    let report = examine(Path::new("/nonexistent"), None);
    assert!(!report.ok);
}
