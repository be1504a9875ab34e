// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Errors: what was tried, why it failed, what to do.

use nix::errno::Errno;
use serde::Serialize;
use std::fmt;

/// What went wrong, in the few kinds a program tells apart. The number is `storctl`'s exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Something failed that no other kind names.
    Failure = 1,
    /// What was asked makes no sense: an illegal name, size or combination.
    Usage = 2,
    /// No such volume, pool, engine or device; or it is not active.
    NotFound = 3,
    /// The name or UUID is taken, or the volume is in that state already; or what is to be written to holds something.
    Exists = 4,
    /// Not allowed to this user.
    Permission = 5,
    /// The module or an engine is not loaded.
    NoModule = 6,
    /// Module and tool speak different versions of the control ABI.
    Abi = 7,
    /// A device or volume is in use.
    Busy = 8,
    /// The devices cannot carry it: too small, misaligned, read-only, of a kind that is not supported.
    Unfit = 9,
    /// It took too long.
    Timeout = 10,
}

impl Kind {
    /// Every kind, in order of exit codes.
    pub const ALL: [Self; 10] = [
        Self::Failure,
        Self::Usage,
        Self::NotFound,
        Self::Exists,
        Self::Permission,
        Self::NoModule,
        Self::Abi,
        Self::Busy,
        Self::Unfit,
        Self::Timeout,
    ];

    /// The exit code.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// One line that says what the kind means.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Usage => "usage: an illegal option, name, size or combination",
            Self::NotFound => "not found: no such volume, pool, engine or device, or it is not active",
            Self::Exists => {
                "exists: the name or UUID is taken, the target holds something, or it is in that state already"
            }
            Self::Permission => "permission: not allowed to this user",
            Self::NoModule => "no module: stor or an engine is not loaded",
            Self::Abi => "abi: the module and storctl speak different versions of the control ABI",
            Self::Busy => "busy: a device or volume is in use",
            Self::Unfit => "unfit: a device is too small, misaligned, read-only or not supported",
            Self::Timeout => "timeout",
        }
    }
}

/// An error of libstor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What kind it is.
    pub kind: Kind,
    /// What was tried, such as "cannot create volume data".
    pub context: String,
    /// Why it failed.
    pub cause: String,
    /// What to do.
    pub help: Option<String>,
    /// What the kernel answered, if it did.
    pub errno: Option<i32>,
}

/// What the functions of libstor return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error without help; its context is added on the way up by [`Context::context`].
    pub fn new(kind: Kind, cause: impl Into<String>) -> Self {
        Self { kind, context: String::new(), cause: cause.into(), help: None, errno: None }
    }

    /// Says what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Whether it is only that the reader of what was written went away.
    pub fn is_broken_pipe(&self) -> bool {
        self.errno == Some(Errno::EPIPE as i32)
    }

    /// The name of the errno that the kernel answered with.
    pub fn errno_name(&self) -> Option<String> {
        self.errno.map(|errno| format!("{:?}", Errno::from_raw(errno)))
    }

    /// Remembers the kernel's answer.
    pub fn errno(mut self, errno: Errno) -> Self {
        self.errno = Some(errno as i32);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.context.is_empty() {
            write!(f, "{}: ", self.context)?;
        }
        f.write_str(&self.cause)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl From<Errno> for Error {
    /// What an errno of the control ABI means when the call gives it no meaning of its own.
    fn from(errno: Errno) -> Self {
        let error = match errno {
            Errno::EPERM | Errno::EACCES => {
                Self::new(Kind::Permission, "not permitted").help("run as root; a container needs CAP_SYS_ADMIN")
            }
            Errno::EPROTONOSUPPORT | Errno::ENOTTY => {
                Self::new(Kind::Abi, "the loaded stor module does not know this call")
                    .help("install modules and storctl of the same release")
            }
            Errno::ENXIO => Self::new(Kind::NotFound, "the volume is gone"),
            Errno::ENODEV => {
                Self::new(Kind::NoModule, "no engine is loaded").help("load one: modprobe stor_engine_<version>")
            }
            Errno::EINTR => Self::new(Kind::Failure, "interrupted by a signal").help("run it again"),
            Errno::ETIMEDOUT => Self::new(Kind::Timeout, "a lower device did not finish its I/O in time")
                .help("see 'storctl volume show' for what it waits for"),
            _ => Self::new(Kind::Failure, errno_text(errno)),
        };
        error.errno(errno)
    }
}

/// An errno as people and searches know it, such as "No such device (ENODEV)".
pub fn errno_text(errno: Errno) -> String {
    format!("{} ({errno:?})", errno.desc().to_lowercase())
}

/// Adds what was tried to an error.
pub trait Context<T> {
    /// Adds it, unless something closer to the cause did so already.
    fn context(self, context: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, context: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            let mut error = error.into();
            if error.context.is_empty() {
                error.context = context();
            }
            error
        })
    }
}
