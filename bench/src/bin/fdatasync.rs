//! The bare disk: one `write` and one `fdatasync` after the other, as long as it is told to.
//!
//! It prints how many there were a second. No log, no HTTP, no grouping: what one publisher at a time could get.
#![expect(clippy::print_stdout, reason = "the result is what it is run for")]

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, bytes, milliseconds] = arguments.as_slice() else {
        anyhow::bail!("usage: bench-fdatasync FILE BYTES MILLISECONDS");
    };
    let record = vec![b'x'; bytes.parse().context("BYTES")?];
    let duration = Duration::from_millis(milliseconds.parse().context("MILLISECONDS")?);
    let mut file = File::create(path).with_context(|| path.clone())?;
    let started = Instant::now();
    let mut syncs = 0_u32;
    while started.elapsed() < duration {
        file.write_all(&record)?;
        file.sync_data()?;
        syncs += 1;
    }
    println!("{:.0}", f64::from(syncs) / started.elapsed().as_secs_f64());
    Ok(())
}
