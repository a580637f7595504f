//! What the checks need from elsewhere: fetched where this process may, else named so that a person can.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;

use crate::process;

pub(crate) const CARGO_DENY_VERSION: &str = "0.20.2";
pub(crate) const CARGO_NEXTEST_VERSION: &str = "0.9.143";

/// A cargo subcommand, built from crates.io where there is none yet.
///
/// # Errors
/// When it can't be built.
pub(crate) fn cargo_tool(name: &str, version: &str) -> anyhow::Result<()> {
    let cargo_home_has_it = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
        .is_some_and(|home| home.join("bin").join(name).is_file());
    if cargo_home_has_it || process::is_installed(name) {
        return Ok(());
    }
    let package = format!("{name}@{version}");
    process::run(process::cargo(["install", "--locked", package.as_str()]))
}

/// The part of the standard library for another target.
///
/// # Errors
/// When rustup is not there or can't fetch it.
pub(crate) fn rust_target(target: &str) -> anyhow::Result<()> {
    let installed = process::output(process::command("rustup", ["target", "list", "--installed"]))
        .context("rustup is needed to install a target; see https://rustup.rs")?;
    if installed.lines().any(|line| line == target) {
        return Ok(());
    }
    process::run(process::command("rustup", ["target", "add", target]))
}

/// Programs from Debian packages: pairs of a program and the package that brings it.
///
/// # Errors
/// When one is missing and this process may not install it, or the installation fails.
pub(crate) fn debian(wanted: &[(&str, &str)]) -> anyhow::Result<()> {
    let is_missing = |(program, _): &&(&str, _)| !process::is_installed(program);
    let missing: Vec<&str> =
        wanted.iter().filter(is_missing).map(|(_, package)| *package).collect();
    apt_get_install(&missing)
}

/// A file from a Debian package.
///
/// # Errors
/// As [`debian`], or when the package does not bring the file.
pub(crate) fn debian_file(path: &Path, package: &str) -> anyhow::Result<()> {
    if !path.is_file() {
        apt_get_install(&[package])?;
    }
    anyhow::ensure!(path.is_file(), "{package} has not brought {}", path.display());
    Ok(())
}

fn apt_get_install(missing: &[&str]) -> anyhow::Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    anyhow::ensure!(
        process::is_installed("apt-get"),
        "these are missing, and there is no apt-get to install them with: {packages}"
    );
    let prefix: &[&str] = if is_root()? {
        &[]
    } else if may_sudo() {
        &["sudo", "--non-interactive"]
    } else {
        anyhow::bail!("run this as root, then try again: apt-get install {packages}");
    };
    // RUNLEVEL=1 keeps the packages from starting their daemons.
    let environment = ["env", "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive", "apt-get"];
    let apt_get = |arguments: &[&str]| {
        let mut words = prefix.iter().chain(&environment).chain(arguments).copied();
        let program = words.next().unwrap_or("env");
        process::run(process::command(program, words))
    };
    apt_get(&["update", "--quiet"])?;
    let install = ["install", "--quiet", "--yes", "--no-install-recommends"];
    let arguments: Vec<&str> = install.iter().chain(missing).copied().collect();
    apt_get(&arguments)
}

/// The packages of a folder's `package-lock.json`, in its `node_modules`.
///
/// # Errors
/// When npm fails.
pub(crate) fn npm(folder: &Path) -> anyhow::Result<()> {
    let lock = folder.join("package-lock.json");
    let wanted = std::fs::read(&lock).with_context(|| lock.display().to_string())?;
    let stamp = folder.join("node_modules/.installed-package-lock.json");
    if std::fs::read(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    let mut command = process::command("npm", ["ci", "--no-audit", "--no-fund"]);
    command.current_dir(folder);
    process::run(command)?;
    // Last, so that what was half installed is installed again.
    Ok(std::fs::write(&stamp, wanted)?)
}

/// A Python environment under `target/python/` with what a requirements file lists; the path of its interpreter.
///
/// # Errors
/// When Python or pip fails.
pub(crate) fn python(name: &str, requirements: &Path) -> anyhow::Result<String> {
    let environment = process::root()?.join("target/python").join(name);
    let interpreter = environment.join("bin/python");
    let interpreter =
        interpreter.to_str().context("the path of the repository is UTF-8")?.to_owned();
    let stamp = environment.join("requirements.txt");
    let wanted = std::fs::read(requirements).with_context(|| requirements.display().to_string())?;
    if std::fs::read(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(interpreter);
    }
    let mut create = process::command("python3", ["-m", "venv", "--clear"]);
    create.arg(&environment);
    process::run(create)?;
    let mut install =
        process::command(&interpreter, ["-m", "pip", "install", "--quiet", "--requirement"]);
    install.arg(requirements);
    process::run(install)?;
    // Last, so that what was half installed is installed again.
    std::fs::write(&stamp, wanted)?;
    Ok(interpreter)
}

/// Whether this process may mount a file as a disk.
///
/// # Errors
/// When the system does not tell.
pub(crate) fn may_mount() -> anyhow::Result<bool> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capabilities = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    let may_administer = capabilities & (1 << CAP_SYS_ADMIN) != 0;
    Ok(is_root()? && may_administer && Path::new("/dev/loop-control").exists())
}

fn is_root() -> anyhow::Result<bool> {
    Ok(process::output(process::command("id", ["-u"]))?.trim() == "0")
}

fn may_sudo() -> bool {
    process::is_installed("sudo")
        && process::command("sudo", ["--non-interactive", "true"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
}

/// Its number in `capabilities(7)`.
const CAP_SYS_ADMIN: u32 = 21;
