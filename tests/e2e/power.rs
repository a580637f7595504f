//! The same as [`crate::crash`], with the power cut instead of the process killed: only what was synced is left.
//!
//! Needs root, loop devices and Debian's `xfsprogs`, so it runs only when asked for: `cargo xtask test disk`.
//! `LONGWAVE_POWER_CUTS` says how often, `LONGWAVE_SEED` makes the same choices again.

use longwave_e2e::{CuttableDisk, LongwaveServer};

use crate::crash::{self, Outage, SETTINGS, number_from_environment};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root, loop devices and xfs_io; `cargo xtask test disk` runs it"]
async fn nothing_acknowledged_or_seen_is_lost_when_the_power_is_cut() {
    let cuts = number_from_environment("LONGWAVE_POWER_CUTS").unwrap_or(CUTS_DEFAULT);
    let seed = number_from_environment("LONGWAVE_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}, {cuts} power cuts");
    let disk = CuttableDisk::create(DISK_BYTES).unwrap();
    let mut server = LongwaveServer::start_on(disk.path().join("data"), SETTINGS).await.unwrap();
    let outcome = crash::run(&mut server, &Outage::PowerCut(disk), cuts, seed).await;
    if let Err(problem) = outcome {
        panic!("seed {seed}: {problem:#}\n{}", server.last_words());
    }
}

const CUTS_DEFAULT: u64 = 10;
const DISK_BYTES: u64 = 512 << 20;
