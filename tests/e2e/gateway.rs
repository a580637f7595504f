//! The official SDKs of LLM providers, unmodified, ask through the gateway, while a relay cuts their connections at every
//! event border and at random bytes. They get what upstream sent, upstream is asked once, and every other end is an error.
//!
//! The cases are in `tests/sdk/`. `LONGWAVE_SEED` cuts where an earlier run did.

use longwave_e2e::{SdkProgram, SdkStage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_sdks_get_every_answer_whole_or_an_error() {
    run(SdkProgram::Python).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn javascript_sdks_get_every_answer_whole_or_an_error() {
    run(SdkProgram::JavaScript).await;
}

async fn run(program: SdkProgram) {
    let seed = std::env::var("LONGWAVE_SEED")
        .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("seed {seed}: LONGWAVE_SEED={seed} cuts at the same places");
    let stage = SdkStage::start().await.unwrap();
    let report = program.run(&stage, seed).await.unwrap();
    println!("{} cases hold, {} connections were cut", report.passed, report.faults);
    let count = report.failures.len();
    assert_eq!(count, 0, "seed {seed}, {count} failed\n{}", report.failures.join("\n"));
    assert!(report.faults >= FAULTS_MIN, "only {} connections were cut", report.faults);
}

/// For each of the two; both make about half as many again.
const FAULTS_MIN: usize = 1_000;
