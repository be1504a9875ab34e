// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `storctl`: parse what was typed, call [`libstor`], print what it answers. No logic lives here.

mod args;
mod pool;
mod print;
mod progress;
mod replica;
mod table;

use args::{Command, Engine, Events, Format, Metadata, NoProgress, Noun, OnOff, ThinSettings, Volume, VolumeChange};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use libstor::metadata::{Delta, Form, Planned, Progress, Repair, Restore};
use libstor::pool::{NewClone, NewThin, Rollback, VolumeSettings};
use libstor::volume::{New, Resize};
use libstor::{doctor, Error, Kind, Result, Simulated, Stor, System, Version};
use print::Printer;
use progress::Shown;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Why a command ended early.
enum Stop {
    /// It failed.
    Failed(Error),
    /// What it printed could not be written.
    Output(io::Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

fn main() -> ExitCode {
    let command = match Command::try_parse() {
        Ok(command) => command,
        Err(error) => return unparsed(&error),
    };
    FALLBACK.store(command.fallback, Ordering::Relaxed);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = run(&command, &mut Printer { out: &mut out, json: command.json });
    // What was printed comes before an error.
    let error = match (done, out.flush()) {
        (Ok(()), Ok(())) => return ExitCode::SUCCESS,
        // The reader has seen enough; what was to be done is done.
        (_, Err(error)) | (Err(Stop::Output(error)), _) if error.kind() == io::ErrorKind::BrokenPipe => {
            return ExitCode::SUCCESS
        }
        (Err(Stop::Failed(error)), _) if error.is_broken_pipe() => return ExitCode::SUCCESS,
        (Err(Stop::Failed(error)), _) => error,
        (Err(Stop::Output(error)), _) | (_, Err(error)) => Error::new(Kind::Failure, format!("cannot write: {error}")),
    };
    fail(command.json, &error)
}

fn fail(json: bool, error: &Error) -> ExitCode {
    // If stderr is closed there is nobody left to tell.
    let _ = print::error(&mut io::stderr().lock(), json, error);
    ExitCode::from(error.kind.code())
}

/// Help and version are printed; what cannot be parsed is an error like any other.
fn unparsed(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let no_command = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if asked_for || no_command {
        // If the reader is gone there is nothing to do.
        let _ = error.print();
        return ExitCode::from(if asked_for { 0 } else { Kind::Usage.code() });
    }
    let text = error.render().to_string();
    // Paragraphs: what is wrong, perhaps tips, the usage, where to find help.
    let mut paragraphs = text.split("\n\n").map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    let cause = paragraphs.next().unwrap_or_default().trim_start_matches("error: ").to_string();
    let mut advice = paragraphs.map(|text| text.replace("Usage: ", "usage: "));
    let help = advice.next().filter(|text| text.starts_with("tip: ") || text.starts_with("usage: "));
    fail(json, &Error::new(Kind::Usage, cause).help(help.unwrap_or("see 'storctl --help'".into())))
}

/// The exit codes, for help and the manual.
fn exit_codes() -> String {
    let line = |kind: &Kind| format!("\n  {:2}  {}", kind.code(), kind.meaning());
    format!("Exit codes:\n   0  ok{}", Kind::ALL.iter().map(line).collect::<String>())
}

/// The file of the simulated kernel to work on, if this is a test or a trial.
fn simulated() -> Option<PathBuf> {
    std::env::var_os("STOR_SIMULATE").map(PathBuf::from)
}

/// Whether device-mapper or md is to be used.
static FALLBACK: AtomicBool = AtomicBool::new(false);

fn system() -> Result<Box<dyn System>> {
    if let Some(state) = simulated() {
        return Ok(Box::new(Simulated::open(&state)?));
    }
    libstor::control::local(FALLBACK.load(Ordering::Relaxed), allowed())
}

/// Whether what is asked for is to be done without Stor's modules.
fn is_fallback() -> bool {
    let asked = FALLBACK.load(Ordering::Relaxed);
    asked || simulated().is_none() && libstor::control::is_fallback(false, allowed())
}

/// Whether that may be done where the modules are not loaded.
fn allowed() -> bool {
    std::env::var("STOR_FALLBACK").is_ok_and(|when| when == "auto")
}

fn connect(dry_run: bool) -> Result<Stor> {
    Ok(Stor::connect(system()?)?.dry_run(dry_run).fallback(is_fallback()))
}

/// The same for commands about replicas, for which device-mapper is not needed.
fn connect_replicas(dry_run: bool) -> Result<Stor> {
    if simulated().is_some() {
        return connect(dry_run);
    }
    let system = libstor::control::for_replicas(FALLBACK.load(Ordering::Relaxed), allowed())?;
    Ok(Stor::connect(system)?.dry_run(dry_run).fallback(is_fallback()))
}

fn run(command: &Command, printer: &mut Printer<'_>) -> std::result::Result<(), Stop> {
    match &command.noun {
        Noun::Volume(Volume::List) => printer.volumes(&connect(false)?.volumes()?)?,
        Noun::Volume(Volume::Show { volume }) => printer.detail(&connect(false)?.show(&volume.volume)?)?,
        Noun::Volume(Volume::Change(request)) => printer.change(&change(request)?)?,
        Noun::Pool(request) => pool::pool(request, printer)?,
        Noun::Snapshot(request) => pool::snapshot(request, printer)?,
        Noun::Replica(request) => replica::replica(request, printer)?,
        Noun::Scan { udev: Some(device), .. } => {
            // Whether the modules are there or not.
            let system = if simulated().is_some() { Some(system()?) } else { None };
            for (key, value) in libstor::udev::properties(system.as_deref(), device)? {
                writeln!(printer.out, "{key}={value}")?;
            }
        }
        Noun::Scan { devices, .. } => printer.found(&connect(false)?.scan(devices)?)?,
        Noun::Activate { pool, change, .. } => pool::activate(pool.as_deref(), change.dry_run, printer)?,
        Noun::Engine(Engine::List) => printer.engines(&connect(false)?.engines()?)?,
        Noun::Engine(Engine::Switch { version, change }) => {
            let (switch, answer) = connect(change.dry_run)?.switch(version);
            if answer.is_ok() || !switch.results.is_empty() {
                printer.switch(&switch, change.dry_run)?;
            }
            answer?;
        }
        Noun::Metadata(request) => metadata(request, printer)?,
        Noun::Events(options) => events(&connect(false)?, options, printer)?,
        Noun::Version => printer.version(&version()?)?,
        Noun::Doctor(options) => {
            // A system below another folder does not run.
            let live = simulated().is_some() || options.root == Path::new("/");
            let report = doctor::examine(&options.root, live.then(|| connect(false)));
            printer.report(&report)?;
            if !report.ok {
                return Err(Error::new(Kind::Failure, "Stor does not work here; see the problems above").into());
            }
        }
        Noun::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Command::command(), "storctl", &mut script);
            printer.out.write_all(&script)?;
        }
        Noun::Man { folder } => clap_mangen::generate_to(Command::command(), folder)?,
    }
    printer.out.flush()?;
    Ok(())
}

/// For what may be many lines: one write for each would take longer than to find them.
fn buffered<'a, 'b>(printer: &'a mut Printer<'b>) -> io::BufWriter<&'a mut &'b mut dyn Write> {
    io::BufWriter::with_capacity(1 << 16, &mut printer.out)
}

fn metadata(request: &Metadata, printer: &mut Printer<'_>) -> std::result::Result<(), Stop> {
    let progress = Progress::default();
    let show = |no: &NoProgress, json, streams| Shown::new(&progress, no.no_progress || json, streams);
    match request {
        Metadata::Check { metadata, held, progress: no } => {
            let shown = show(no, printer.json, false);
            let checked = libstor::metadata::check(&metadata.path, held.held, &progress)?;
            drop(shown);
            printer.checked(&checked)?;
            if checked.count > 0 {
                let what = format!("{} is damaged, see above", metadata.path.display());
                return Err(Error::new(Kind::Failure, what).into());
            }
        }
        Metadata::Dump { metadata, held, format, progress: no } => {
            let _shown = show(no, printer.json, true);
            let form = match format {
                Format::Xml => Form::Xml,
                Format::Text => Form::Text,
            };
            let mut out = buffered(printer);
            libstor::metadata::dump(&metadata.path, held.held, form, &progress, &mut out)?;
        }
        Metadata::Restore { input, output, overwrite, progress: no, change } => {
            let restore = Restore {
                input: input.clone(),
                output: output.clone(),
                overwrite: *overwrite,
                dry_run: change.dry_run,
            };
            let shown = show(no, printer.json, false);
            let restored = libstor::metadata::restore(&restore, &progress)?;
            drop(shown);
            printer.restored(&restored)?;
        }
        Metadata::Repair {
            input,
            output,
            plan: _, // there is no output then
            overwrite,
            data_block_size,
            data_blocks,
            transaction_id,
            progress: no,
            change,
        } => {
            let repair = Repair {
                input: input.clone(),
                output: output.clone(),
                overwrite: *overwrite,
                dry_run: change.dry_run,
                data_block_size: data_block_size.map(|size| size.0),
                data_blocks: *data_blocks,
                transaction_id: *transaction_id,
            };
            let shown = show(no, printer.json, false);
            let plan = libstor::metadata::repair(&repair, &progress)?;
            drop(shown);
            printer.plan(&plan)?;
        }
        Metadata::Delta { metadata, from, to, held, same, xml, progress: no } => {
            let delta = Delta { path: &metadata.path, held: held.held, from: *from, to: *to, same: *same };
            let _shown = show(no, printer.json, true);
            if *xml {
                delta.xml(&progress, &mut buffered(printer))?;
            } else {
                let json = printer.json;
                let mut buffer = buffered(printer);
                let mut printer = Printer { out: &mut buffer, json };
                let mut written = Ok(());
                let total = delta.ranges(&progress, &mut |range| {
                    written = printer.delta_range(&range);
                    if written.is_ok() {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    }
                });
                written?;
                printer.delta_total(&total?)?;
                printer.out.flush()?;
            }
        }
        Metadata::Stat { metadata, held } => printer.stat(&libstor::metadata::stat(&metadata.path, held.held)?)?,
        Metadata::Size { data, block_size, volumes, snapshots, rewritten } => {
            printer.needed(&libstor::metadata::size(&Planned {
                data: *data,
                block_size: *block_size,
                volumes: *volumes,
                snapshots: *snapshots,
                rewritten: *rewritten,
            })?)?;
        }
    }
    Ok(())
}

/// Settings of a volume of a pool.
fn settings(settings: &ThinSettings, read_only: Option<bool>, auto: Option<bool>) -> VolumeSettings {
    let ThinSettings { policy, timeout, reservation, labels } = settings;
    VolumeSettings {
        read_only,
        policy: *policy,
        timeout: *timeout,
        reservation: *reservation,
        auto,
        labels: labels.clone(),
        origin: None,
    }
}

fn change(request: &VolumeChange) -> Result<libstor::volume::Change> {
    match request {
        VolumeChange::Create {
            name,
            devices,
            pool,
            origin,
            size,
            uuid,
            read_only,
            settings: thin,
            inactive,
            if_missing,
            change,
        } => {
            let stor = connect(change.dry_run)?;
            let settings = settings(thin, read_only.then_some(true), None);
            match pool {
                Some(pool) => stor.create_thin(&NewThin {
                    name: name.clone(),
                    pool: pool.clone(),
                    size: *size,
                    origin: origin.clone(),
                    uuid: *uuid,
                    settings,
                    if_missing: *if_missing,
                    inactive: *inactive,
                }),
                _ if settings.is_of_a_pool() || origin.is_some() => {
                    let what = "an origin, policy, time-out, reservation and labels are of volumes of a pool";
                    Err(Error::new(Kind::Usage, what).help("give --pool"))
                }
                _ => stor.create(&New {
                    name: name.clone(),
                    uuid: *uuid,
                    parts: devices.clone(),
                    size: *size,
                    read_only: *read_only,
                    if_missing: *if_missing,
                }),
            }
        }
        VolumeChange::Clone { volume, name, settings: thin, inactive, change } => connect(change.dry_run)?
            .clone_volume(&NewClone {
                of: volume.volume.clone(),
                name: name.clone(),
                settings: settings(thin, None, None),
                inactive: *inactive,
            }),
        VolumeChange::Rollback { snapshot, keep_as, discard_current, change } => {
            connect(change.dry_run)?.rollback(&Rollback {
                snapshot: snapshot.clone(),
                keep_as: keep_as.clone(),
                discard_current: *discard_current,
            })
        }
        VolumeChange::Activate { volume, change } => connect(change.dry_run)?.activate_volume(&volume.volume),
        VolumeChange::Deactivate { volume, change } => connect(change.dry_run)?.deactivate_volume(&volume.volume),
        VolumeChange::Resize { volume, size, devices, shrink, change } => {
            let resize = Resize { size: *size, parts: devices.clone(), shrink: *shrink };
            connect(change.dry_run)?.resize(&volume.volume, &resize)
        }
        VolumeChange::Suspend { volume, change } => connect(change.dry_run)?.suspend(&volume.volume),
        VolumeChange::Resume { volume, change } => connect(change.dry_run)?.resume(&volume.volume),
        VolumeChange::Rename { volume, to, change } => connect(change.dry_run)?.rename(&volume.volume, to),
        VolumeChange::Remove { volume, if_exists, change } => {
            connect(change.dry_run)?.remove(&volume.volume, *if_exists)
        }
        VolumeChange::Set { volume, read_only, auto, origin, settings: thin, change } => {
            let on = |value: &Option<OnOff>| value.map(|value| value == OnOff::On);
            let settings = VolumeSettings { origin: origin.clone(), ..settings(thin, on(read_only), on(auto)) };
            if settings.is_empty() {
                return Err(Error::new(Kind::Usage, "nothing is to be set").help("see 'storctl volume set --help'"));
            }
            connect(change.dry_run)?.set_volume(&volume.volume, &settings)
        }
    }
}

fn events(stor: &Stor, options: &Events, printer: &mut Printer<'_>) -> std::result::Result<(), Stop> {
    let mut events = stor.events()?;
    let timeout = options.timeout.map(|seconds| Duration::from_secs(seconds.into()));
    loop {
        match events.next(timeout).map_err(Error::from)? {
            Some(event) => printer.event(&event)?,
            None => return Err(Error::new(Kind::Timeout, "no event came in time").into()),
        }
        if !options.follow {
            return Ok(());
        }
    }
}

/// The versions; a module that is not loaded is an answer too.
fn version() -> Result<Version> {
    match system() {
        Ok(system) => Version::of(system.as_ref()),
        Err(error) if error.kind == Kind::NoModule => Ok(Version::default()),
        Err(error) => Err(error),
    }
}
