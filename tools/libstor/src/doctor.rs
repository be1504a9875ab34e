// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Why Stor does not work here, and what to do: each thing that must be right is looked at and reported.
//!
//! Files are read below a root folder, so that a test, or an image that is not booted, can be looked at too.

use crate::volume::Info;
use crate::{Kind, Result, Stor};
use serde::Serialize;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use stor_pure::abi::uapi::STOR_STATE_DEAD;

/// How something that was looked at is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// As it must be.
    Ok,
    /// It works, but should be known.
    Note,
    /// It cannot be told.
    Unknown,
    /// Stor does not work because of it.
    Problem,
}

impl Status {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Unknown => "unknown",
            Self::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it is.
    pub status: Status,
    /// What was found.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// Everything that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether there is no problem.
    pub ok: bool,
    /// What was found, in the order in which things depend on each other.
    pub findings: Vec<Finding>,
}

/// Looks at the system below `root`; `stor` is the connection to its kernel, or why there is none, if it runs.
pub fn examine(root: &Path, stor: Option<Result<Stor>>) -> Report {
    let mut doctor = Doctor { root, findings: Vec::new() };
    let release = doctor.kernel();
    doctor.rust(&release);
    let modules = doctor.files(&release);
    doctor.signature(&modules);
    doctor.secure_boot();
    let loaded = doctor.loaded(&modules);
    if let (Some(stor), true) = (stor, loaded) {
        doctor.control(stor);
    }
    let ok = doctor.findings.iter().all(|finding| finding.status != Status::Problem);
    Report { ok, findings: doctor.findings }
}

struct Doctor<'a> {
    root: &'a Path,
    findings: Vec<Finding>,
}

/// A module in a file.
struct Module {
    path: PathBuf,
    /// The kernel it was built for; none if the file is compressed and cannot be looked into.
    vermagic: Option<String>,
    signed: Option<bool>,
}

/// What a signed module ends with (`MODULE_SIG_STRING`, `include/linux/module_signature.h`).
const SIGNATURE: &[u8] = b"~Module signature appended~\n";

/// Where the modules of a kernel may be: installed, or in the driver image.
const PLACES: [&str; 2] = ["lib/modules", "opt/lib/modules"];

impl Doctor<'_> {
    fn find(&mut self, check: &'static str, status: Status, message: impl Into<String>, help: Option<&str>) {
        self.findings.push(Finding { check, status, message: message.into(), help: help.map(Into::into) });
    }

    /// The text of a file, trimmed.
    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok().map(|text| text.trim().to_string())
    }

    fn kernel(&mut self) -> String {
        let release = self.text("proc/sys/kernel/osrelease");
        match &release {
            Some(release) => self.find("kernel", Status::Ok, release, None),
            None => self.find("kernel", Status::Unknown, "/proc is not mounted", Some("mount it")),
        }
        release.unwrap_or_default()
    }

    fn rust(&mut self, release: &str) {
        let files = [format!("boot/config-{release}"), format!("lib/modules/{release}/config")];
        let found = files.iter().find_map(|file| Some((file.clone(), self.text(file)?)));
        let found = found.or_else(|| Some(("proc/config.gz".into(), self.unpacked("proc/config.gz")?)));
        let Some((file, config)) = found else {
            // The names of the kernel's functions tell too, and need no file of a distribution's.
            let symbols = self.text("proc/kallsyms").unwrap_or_default();
            return if symbols.contains(" rust_helper_") {
                self.find("rust", Status::Ok, "the kernel has Rust functions (/proc/kallsyms)", None);
            } else {
                let message = "the kernel's configuration is not in /boot, /lib/modules or /proc/config.gz";
                self.find("rust", Status::Unknown, message, None);
            };
        };
        if config.lines().any(|line| line == "CONFIG_RUST=y") {
            return self.find("rust", Status::Ok, format!("CONFIG_RUST=y (/{file})"), None);
        }
        let message = format!("this kernel was built without CONFIG_RUST (/{file}), so it cannot load Stor");
        let help = "boot a kernel that has it, such as Debian's linux-image-amd64 of trixie-backports or forky";
        self.find("rust", Status::Problem, message, Some(help));
    }

    fn unpacked(&self, path: &str) -> Option<String> {
        let packed = fs::File::open(self.root.join(path)).ok()?;
        let gzip = Command::new("gzip").arg("-dc").stdin(packed).stderr(Stdio::null()).output().ok()?;
        String::from_utf8(gzip.stdout).ok().filter(|text| !text.is_empty())
    }

    fn files(&mut self, release: &str) -> Vec<Module> {
        let mut paths = Vec::new();
        let mut others = Vec::new();
        for place in PLACES {
            let place = self.root.join(place);
            modules_below(&place.join(release), &mut paths);
            for other in entries(&place).into_iter().filter(|other| !other.ends_with(release)) {
                let mut theirs = Vec::new();
                modules_below(&other, &mut theirs);
                others.extend(
                    other.file_name().filter(|_| !theirs.is_empty()).map(|name| name.to_string_lossy().into_owned()),
                );
            }
        }
        let modules: Vec<_> = paths.into_iter().map(Module::read).collect();
        let has = |prefix: &str| modules.iter().any(|module| module.name().starts_with(prefix));
        let foreign = modules.iter().find(|module| module.vermagic.as_ref().is_some_and(|magic| magic != release));
        if let Some(Module { path, vermagic: Some(theirs), .. }) = foreign {
            let message = format!("{} was built for kernel {theirs}", self.shown(path));
            self.find("files", Status::Problem, message, Some("install the modules that were built for this kernel"));
        } else if !has("stor.ko") || !has("stor_engine_") {
            let what = if has("stor.ko") { "no stor_engine module" } else { "no stor module" };
            let other = if others.is_empty() { String::new() } else { format!(", only for {}", others.join(", ")) };
            let message = format!("{what} for this kernel in /lib/modules or /opt/lib/modules{other}");
            let help = "install the modules that were built for this kernel, or run the driver image of this kernel";
            self.find("files", Status::Problem, message, Some(help));
        } else {
            let shown: Vec<_> = modules.iter().map(|module| self.shown(&module.path)).collect();
            self.find("files", Status::Ok, shown.join(", "), None);
        }
        modules
    }

    /// A path as the system below the root sees it.
    fn shown(&self, path: &Path) -> String {
        format!("/{}", path.strip_prefix(self.root).unwrap_or(path).display())
    }

    fn signature(&mut self, modules: &[Module]) {
        if modules.is_empty() {
            return;
        }
        let unsigned = modules.iter().find(|module| module.signed == Some(false));
        let Some(unsigned) = unsigned.map(|module| self.shown(&module.path)) else {
            return if modules.iter().all(|module| module.signed == Some(true)) {
                self.find("signature", Status::Ok, "the modules are signed", None);
            } else {
                self.find(
                    "signature",
                    Status::Unknown,
                    "the modules are compressed, their signatures are not seen",
                    None,
                );
            };
        };
        let enforced = match (self.text("sys/module/module/parameters/sig_enforce"), self.lockdown()) {
            (Some(enforce), _) if enforce == "Y" => Some("module.sig_enforce".to_string()),
            (_, Some(mode)) if mode != "none" => Some(format!("lockdown is {mode}")),
            _ => None,
        };
        match enforced {
            Some(why) => {
                let message = format!("{unsigned} is not signed, and this kernel loads only signed modules ({why})");
                let help = "sign the modules with a key enrolled by 'mokutil --import', or turn off Secure Boot";
                self.find("signature", Status::Problem, message, Some(help));
            }
            None => {
                let message = format!("{unsigned} is not signed: it loads and taints the kernel");
                self.find("signature", Status::Note, message, None);
            }
        }
    }

    /// The lockdown mode, such as "none" of "[none] integrity confidentiality".
    fn lockdown(&self) -> Option<String> {
        let modes = self.text("sys/kernel/security/lockdown")?;
        Some(modes.split_once('[')?.1.split_once(']')?.0.to_string())
    }

    fn secure_boot(&mut self) {
        let variable = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
        let lockdown = self.lockdown().map_or("lockdown unknown".into(), |mode| format!("lockdown {mode}"));
        // Four bytes of attributes, then the value.
        let secure = fs::read(self.root.join(variable)).ok().and_then(|value| value.get(4).copied());
        let (status, boot) = match secure {
            Some(1) => (Status::Note, "Secure Boot is on"),
            Some(_) => (Status::Ok, "Secure Boot is off"),
            None if self.root.join("sys/firmware/efi").exists() => (Status::Unknown, "Secure Boot cannot be read"),
            None => (Status::Ok, "not booted by EFI, so there is no Secure Boot"),
        };
        self.find("secure-boot", status, format!("{boot}; {lockdown}"), None);
    }

    fn loaded(&mut self, modules: &[Module]) -> bool {
        let loaded: Vec<_> = entries(&self.root.join("sys/module"))
            .iter()
            .filter_map(|path| path.file_name()?.to_str())
            .filter(|name| *name == "stor" || name.starts_with("stor_engine_"))
            .map(|name| match self.text(&format!("sys/module/{name}/version")) {
                Some(version) => format!("{name} {version}"),
                None => name.into(),
            })
            .collect();
        if !self.root.join("sys/module/stor").exists() {
            let help = if modules.is_empty() {
                None
            } else {
                Some("load it: modprobe stor; the kernel log tells if that is refused")
            };
            self.find("module", Status::Problem, "the stor module is not loaded", help);
            return false;
        }
        self.find("module", Status::Ok, format!("loaded: {}", loaded.join(", ")), None);
        if !self.root.join("dev/stor-control").exists() {
            let help = "in a container mount the host's /dev; else see whether devtmpfs is mounted on /dev";
            self.find("control", Status::Problem, "/dev/stor-control is not there", Some(help));
            return false;
        }
        true
    }

    fn control(&mut self, stor: Result<Stor>) {
        let stor = match stor {
            Ok(stor) => stor,
            Err(error) => {
                let check = if error.kind == Kind::Abi { "abi" } else { "control" };
                return self.find(check, Status::Problem, error.cause, error.help.as_deref());
            }
        };
        self.find("control", Status::Ok, "/dev/stor-control can be opened", None);
        self.find("abi", Status::Ok, "storctl and the module speak a common control ABI", None);
        match stor.engines() {
            Ok(engines) => match engines.iter().find(|engine| engine.active) {
                Some(engine) => self.find("engine", Status::Ok, format!("{} is active", engine.version), None),
                None => {
                    let help = "load one: modprobe stor_engine_<version>";
                    self.find("engine", Status::Problem, "no engine is loaded", Some(help));
                }
            },
            Err(error) => self.find("engine", Status::Unknown, error.cause, error.help.as_deref()),
        }
        match stor.active_volumes() {
            Ok(volumes) => self.volumes(&volumes),
            Err(error) => self.find("volumes", Status::Unknown, error.cause, error.help.as_deref()),
        }
    }

    fn volumes(&mut self, volumes: &[Info]) {
        let dead: Vec<_> =
            volumes.iter().filter(|volume| volume.state & STOR_STATE_DEAD != 0).map(|v| v.name.as_str()).collect();
        if dead.is_empty() {
            return self.find("volumes", Status::Ok, format!("{}, none dead", volumes.len()), None);
        }
        let message = format!("dead, all their I/O fails: {}", dead.join(", "));
        self.find("volumes", Status::Problem, message, Some("revive them by 'storctl engine switch'"));
    }
}

impl Module {
    fn read(path: PathBuf) -> Self {
        let mut bytes = Vec::new();
        let whole = path.extension().is_some_and(|extension| extension == "ko");
        let read = fs::File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes));
        if !whole || read.is_err() {
            return Self { path, vermagic: None, signed: None };
        }
        let tag = b"vermagic=";
        let vermagic = bytes.windows(tag.len()).position(|window| window == tag).and_then(|at| {
            let value = bytes.get(at + tag.len()..)?.split(|&c| c == 0 || c == b' ').next()?;
            Some(String::from_utf8_lossy(value).into_owned())
        });
        Self { path, vermagic, signed: Some(bytes.ends_with(SIGNATURE)) }
    }

    fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }
}

/// A folder's entries, sorted; none if it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut entries: Vec<_> = entries.map(|entry| entry.path()).collect();
    entries.sort();
    entries
}

/// Stor's modules below a kernel's folder, leaving out the kernel's own and links out of it.
fn modules_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in entries(folder) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_symlink() || name == "kernel" {
            continue;
        }
        if path.is_dir() {
            modules_below(&path, found);
        } else if (name.starts_with("stor.ko") || name.starts_with("stor_engine_")) && name.contains(".ko") {
            found.push(path);
        }
    }
}
