//! Builds `web/console` with npm, in the folder that cargo gives it: nothing is written into the sources.
//!
//! Where that can't be done, because npm or its packages can't be had or `LONGWAVE_CONSOLE` is `off`, the crate is built
//! without the console and says why. It runs again only when the console's sources change.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;

fn main() -> anyhow::Result<()> {
    let sources = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("../../web/console");
    let out = PathBuf::from(variable("OUT_DIR")?);
    println!("cargo::rerun-if-env-changed={SWITCH}");
    println!("cargo::rerun-if-changed=build.rs");
    for name in SOURCES {
        println!("cargo::rerun-if-changed={}", sources.join(name).display());
    }
    let built = match build(&sources, &out.join("console")) {
        Ok(dist) => embed(&dist, &out)?,
        Err(missing) => {
            let why = format!("{missing:#}");
            if std::env::var_os(SWITCH).is_none() {
                println!("cargo::warning=built without the console: {why}");
            }
            format!("const BUILT: Result<&[File], &str> = Err({why:?});\n")
        }
    };
    fs::write(out.join("built.rs"), built).context("OUT_DIR can't be written")
}

/// Builds the console in `work`; the folder with what came out.
fn build(sources: &Path, work: &Path) -> anyhow::Result<PathBuf> {
    if std::env::var_os(SWITCH).is_some_and(|value| value == "off") {
        bail!("it was switched off when the server was built ({SWITCH}=off)");
    }
    ensure!(sources.join("package.json").is_file(), "its sources are not there (web/console)");
    let npm = |arguments: &[&str]| run(work, "npm", arguments);
    fs::create_dir_all(work)?;
    for name in SOURCES {
        copy(&sources.join(name), &work.join(name))
            .with_context(|| format!("can't copy {name}"))?;
    }
    let lock = fs::read(work.join("package-lock.json"))?;
    let stamp = work.join("node_modules/.installed-package-lock.json");
    if fs::read(&stamp).ok().as_ref() != Some(&lock) {
        npm(&INSTALL)?;
        // Last, so that what was half installed is installed again.
        fs::write(stamp, lock)?;
    }
    npm(&["run", "build", "--silent"])?;
    Ok(work.join("dist"))
}

/// Runs a program and says what it said where it failed.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    let output = command.output().with_context(|| {
        format!("{program} can't be run; install Node.js 20.19 or later with npm, then {AGAIN}")
    })?;
    if output.status.success() {
        return Ok(());
    }
    let told = [output.stderr, output.stdout].concat();
    let told = String::from_utf8_lossy(&told);
    let complaint = told
        .lines()
        .map(str::trim)
        .find(|line| line.to_ascii_lowercase().contains("error") || line.contains("ERR"))
        .unwrap_or_default();
    let first = arguments.first().unwrap_or(&"");
    bail!("`{program} {first}` failed ({complaint}); {AGAIN}")
}

/// Makes `to` what `from` is: a file, or a folder with all that is in it and nothing else.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if !from.is_dir() {
        fs::copy(from, to)?;
        return Ok(());
    }
    if to.is_dir() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Rust code that has all files of a folder in it, each also compressed.
fn embed(dist: &Path, out: &Path) -> anyhow::Result<String> {
    let mut paths = Vec::new();
    list(dist, &mut paths)?;
    paths.sort();
    let mut code = String::from("const BUILT: Result<&[File], &str> = Ok(&[\n");
    for (index, path) in paths.iter().enumerate() {
        let name = path.strip_prefix(dist)?.to_str().context("a file's name is UTF-8")?;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&fs::read(path)?)?;
        let gzip = out.join(format!("{index}.gz"));
        fs::write(&gzip, encoder.finish()?)?;
        writeln!(
            code,
            "    File {{ path: {name:?}, media_type: {:?}, plain: include_bytes!({path:?}), gzip: include_bytes!({gzip:?}) }},",
            media_type(path)?,
        )?;
    }
    code.push_str("]);\n");
    Ok(code)
}

fn list(folder: &Path, into: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        match path.is_dir() {
            true => list(&path, into)?,
            false => into.push(path),
        }
    }
    Ok(())
}

fn media_type(path: &Path) -> anyhow::Result<&'static str> {
    Ok(match path.extension().and_then(OsStr::to_str) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("md") => "text/plain; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => bail!("{} has no media type in build.rs", path.display()),
    })
}

fn variable(name: &str) -> anyhow::Result<std::ffi::OsString> {
    std::env::var_os(name).with_context(|| format!("cargo sets {name}"))
}

/// What the console is built from.
const SOURCES: [&str; 6] =
    ["src", "index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts"];
const SWITCH: &str = "LONGWAVE_CONSOLE";
/// Nothing but what the build needs, no program of a package, and no long wait where there is no network.
const INSTALL: [&str; 9] = [
    "ci",
    "--omit=dev",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--prefer-offline",
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=1000",
    "--fetch-timeout=60000",
];
const AGAIN: &str = "run `cargo clean -p longwave-console` and build again";
