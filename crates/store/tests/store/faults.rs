//! A segment log on a disk that fails, and one whose process dies in the middle of something.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use longwave_core::{Config, Durability, LogRetention, Seq};
use longwave_store::{
    AppendError, CommitFeed, ConfigureError, DeleteError, Fault, Faults, Log, LogState, SegmentLog,
    Start, Step,
};
use tempfile::TempDir;

use crate::fixture::{
    ENDLESS, Fixture, TestClock, copy, name, options, publish, segments, show, sourced, text,
    within, written,
};

/// Steps that fail, each once, and what is to be done before.
#[derive(Clone, Default)]
struct Plan(Arc<Mutex<Vec<(Step, Fault)>>>);

impl Plan {
    fn fail(&self, step: Step, fault: Fault) {
        self.0.lock().unwrap().push((step, fault));
    }

    fn faults(&self) -> Faults {
        let plan = Arc::clone(&self.0);
        Faults::new(move |step| {
            let mut plan = plan.lock().unwrap();
            let i = plan.iter().position(|(at, _)| *at == step)?;
            Some(plan.remove(i).1)
        })
    }

    fn is_done(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

fn broken() -> io::Error {
    io::Error::other("the disk is broken")
}

fn open(plan: &Plan) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::default();
    let mut options = options(dir.path(), &clock, ENDLESS);
    options.faults = plan.faults();
    Fixture { dir: Some(dir), ..Fixture::open(options, clock) }
}

fn dir(fixture: &Fixture) -> &Path {
    fixture.dir.as_ref().unwrap().path()
}

async fn state(fixture: &Fixture) -> LogState {
    fixture.log.status().state
}

#[tokio::test]
async fn a_full_disk_refuses_and_takes_events_again_when_there_is_room() {
    for (step, fault) in [
        (Step::Append, Fault::Fail(full())),
        (Step::Append, Fault::After(30, full())),
        (Step::Append, Fault::After(usize::MAX, full())),
        (Step::Preallocate, Fault::Fail(full())),
    ] {
        let plan = Plan::default();
        let fixture = open(&plan);
        let shown = format!("{step:?} {fault:?}");
        fixture.publish("a", "1").await;
        let path = segments(dir(&fixture))[0].clone();
        let before = written(&path);
        plan.fail(step, fault);
        // More than what is set aside already.
        let large = "x".repeat(5 << 20);
        let refused = fixture.append(publish("a", [text("2"), text(&large)])).await;
        assert_eq!(refused, Err(AppendError::Full), "{shown}");
        assert!(plan.is_done());
        assert_eq!(state(&fixture).await, LogState::Full);
        assert_eq!(fixture.log.committed(), Seq(1));
        assert_eq!(written(&path), before, "{shown}");
        assert_eq!(fixture.read(&["a"], 0).await.1.len(), 1);

        assert_eq!(fixture.publish("a", "2").await, 2);
        assert_eq!(state(&fixture).await, LogState::Ready);
        let fixture = fixture.crash(ENDLESS).await;
        assert_eq!(fixture.read(&["a"], 0).await.1, ["a@1=1", "a@2=2"]);
        assert_eq!(fixture.log.status().corruptions, 0);
    }
}

#[tokio::test]
async fn a_full_disk_refuses_settings_and_deletions_too() {
    let plan = Plan::default();
    let fixture = open(&plan);
    fixture.publish("a", "1").await;
    plan.fail(Step::Append, Fault::Fail(full()));
    let refused = within(fixture.log.configure(name("a"), Config::default())).await;
    assert_eq!(refused, Err(ConfigureError::Full));
    plan.fail(Step::Append, Fault::Fail(full()));
    assert_eq!(within(fixture.log.delete(name("a"))).await, Err(DeleteError::Full));
    let info = within(fixture.log.topic(name("a"))).await.unwrap().unwrap();
    assert_eq!((info.config, info.events), (None, 1));
    assert_eq!(within(fixture.log.delete(name("a"))).await, Ok(()));
}

#[tokio::test]
async fn a_failed_write_or_sync_poisons_the_log_but_not_its_readers() {
    for (step, fault) in [
        (Step::Append, Fault::Fail(broken())),
        (Step::Append, Fault::After(30, broken())),
        (Step::Sync, Fault::Fail(broken())),
        // Whether a sync that found no room wrote anything, nobody can tell.
        (Step::Sync, Fault::Fail(full())),
        (Step::Preallocate, Fault::Fail(broken())),
    ] {
        let plan = Plan::default();
        let fixture = open(&plan);
        fixture.publish("a", "1").await;
        plan.fail(step, fault);
        let large = "x".repeat(5 << 20);
        let failed = fixture.append(publish("a", [text(&large)])).await;
        assert_eq!(failed, Err(AppendError::Failed), "{step:?}");
        assert!(plan.is_done());
        let LogState::Failed(reason) = state(&fixture).await else { panic!("{step:?}") };
        assert!(reason.contains(".seg"), "{reason}");
        assert_eq!(fixture.append(publish("a", [text("2")])).await, Err(AppendError::Failed));
        let refused = within(fixture.log.configure(name("a"), Config::default())).await;
        assert_eq!(refused, Err(ConfigureError::Failed));
        assert_eq!(within(fixture.log.delete(name("a"))).await, Err(DeleteError::Failed));
        assert_eq!(fixture.read(&["a"], 0).await.1, ["a@1=1"]);
        // After a restart, what was acknowledged is there, and new events go behind it.
        let fixture = fixture.reopen(ENDLESS).await;
        let page = fixture.page(&["a"], Start::After(Seq::ZERO)).await;
        assert_eq!(page.events.first().map(|event| show(event)).as_deref(), Some("a@1=1"));
        fixture.publish("a", "next").await;
    }
}

#[tokio::test]
async fn where_no_segment_can_be_begun_the_old_one_goes_on_or_the_log_fails() {
    for (step, error, expected) in [
        (Step::Create, full(), LogState::Ready),
        (Step::WriteHeader, full(), LogState::Ready),
        (Step::WriteHeader, broken(), LogState::Failed(String::new())),
        (Step::SyncDirectory, broken(), LogState::Failed(String::new())),
    ] {
        let plan = Plan::default();
        let fixture = open(&plan);
        let data = "x".repeat(70_000);
        fixture.publish("a", &data).await;
        plan.fail(step, Fault::Fail(error));
        let result = fixture.append(publish("a", [text(&data)])).await;
        assert!(plan.is_done());
        let got = match state(&fixture).await {
            LogState::Failed(_) => LogState::Failed(String::new()),
            state => state,
        };
        assert_eq!(got, expected, "{step:?}");
        assert_eq!(result.is_ok(), expected == LogState::Ready);
        assert_eq!(segments(dir(&fixture)).len(), 1);
        let acknowledged = 1 + usize::from(result.is_ok());
        let fixture = fixture.crash(ENDLESS).await;
        assert_eq!(fixture.read(&["a"], 0).await.1.len(), acknowledged);
        fixture.publish("a", &data).await;
        fixture.publish("a", &data).await;
        assert!(segments(dir(&fixture)).len() > 1);
    }
}

/// What a process leaves behind that dies at the last of these steps, having taken the others in turn before: the
/// directory as it is right before it.
fn snapshot_at(dir: &Path, steps: &'static [Step]) -> (Faults, Arc<Mutex<Option<TempDir>>>) {
    let taken = Arc::new(Mutex::new(None));
    let (path, slot, left) = (dir.to_owned(), Arc::clone(&taken), Mutex::new(steps));
    let faults = Faults::new(move |at| {
        let mut left = left.lock().unwrap();
        if left.first() == Some(&at) {
            *left = &left[1..];
            if left.is_empty() {
                *slot.lock().unwrap() = Some(copy(&path));
            }
        }
        None
    });
    (faults, taken)
}

/// Does the same to a log again and again, and each time looks at what a process leaves that dies at one of the steps.
async fn crash_at_each_step<F: Future<Output = ()>>(
    retention: LogRetention,
    steps: &[&'static [Step]],
    work: impl Fn(Fixture) -> F,
    check: impl AsyncFn(&Fixture),
) {
    for steps in steps {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::default();
        let (faults, taken) = snapshot_at(dir.path(), steps);
        let mut first = options(dir.path(), &clock, retention);
        first.faults = faults;
        work(Fixture::open(first, clock.clone())).await;
        let left = taken.lock().unwrap().take();
        let left = left.unwrap_or_else(|| panic!("{steps:?} was never reached"));
        let fixture = Fixture::open(options(left.path(), &clock, retention), clock);
        assert_eq!(fixture.log.status().corruptions, 0, "{steps:?}");
        check(&fixture).await;
        fixture.retain().await;
        check(&fixture).await;
        fixture.publish("new", "works").await;
        let fixture = Fixture { dir: Some(left), ..fixture }.reopen(retention).await;
        check(&fixture).await;
        let names = fs::read_dir(fixture.dir.as_ref().unwrap().path()).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        let leftovers = names.iter().filter(|name| name.to_string_lossy().ends_with(".tmp"));
        assert_eq!(leftovers.count(), 0, "{names:?}");
    }
}

#[tokio::test]
async fn a_crash_while_a_segment_is_begun_loses_nothing() {
    let steps: [&[Step]; 6] = [
        &[Step::Append, Step::Create],
        &[Step::Append, Step::WriteHeader],
        &[Step::Append, Step::WriteHeader, Step::SyncDirectory],
        &[Step::Append, Step::WriteHeader, Step::SyncDirectory, Step::Preallocate],
        &[Step::Append, Step::WriteHeader, Step::Append],
        &[Step::Append, Step::WriteHeader, Step::Append, Step::Sync],
    ];
    let data = "x".repeat(70_000);
    let work = async |fixture: Fixture| {
        for _ in 0..4 {
            fixture.publish("a", &data).await;
        }
        within(fixture.log.close()).await;
    };
    let check = async |fixture: &Fixture| {
        let (gap, events) = fixture.read(&["a"], 0).await;
        assert_eq!(gap, None);
        assert!(!events.is_empty() && events.iter().all(|event| event.len() > 70_000));
    };
    crash_at_each_step(ENDLESS, &steps, work, check).await;
}

#[tokio::test]
async fn a_crash_while_segments_are_rewritten_loses_nothing() {
    let steps: [&[Step]; 8] = [
        &[Step::Rewrite],
        &[Step::SyncRewritten],
        &[Step::Replace],
        &[Step::Replace, Step::SyncDirectory],
        &[Step::Remove],
        &[Step::Remove, Step::Remove],
        &[Step::Remove, Step::Remove, Step::Remove],
        &[Step::Remove, Step::SyncDirectory],
    ];
    let data = "x".repeat(20_000);
    let work = async |fixture: Fixture| {
        fixture.configure("few", Config { max_events: Some(2), ..Config::default() }).await;
        fixture.publish("deleted", "x").await;
        for _ in 0..10 {
            fixture.publish("few", &data).await;
            fixture.append(publish("all", [sourced("kept", "as it came")])).await.unwrap();
            fixture.publish("few", &data).await;
        }
        within(fixture.log.delete(name("deleted"))).await.unwrap();
        for _ in 0..10 {
            fixture.publish("few", &data).await;
        }
        let before = fixture.log.status().bytes;
        fixture.retain().await;
        let after = fixture.log.status().bytes;
        assert!(after < before / 3, "{before} {after}");
        within(fixture.log.close()).await;
    };
    let check = async |fixture: &Fixture| {
        let (gap, events) = fixture.read(&["all"], 0).await;
        assert_eq!((gap, events.len()), (None, 10));
        assert!(events.iter().all(|event| event.ends_with("=kept<as it came>")), "{events:?}");
        let page = fixture.page(&["few"], Start::After(Seq::ZERO)).await;
        let first = page.events.first().unwrap().seq;
        assert_eq!(page.events.len(), 2);
        let gap = page.gap.unwrap().through;
        assert!(gap < first && gap.0 > 40, "{gap}");
        assert_eq!(fixture.read(&["deleted"], 0).await.1.len(), 0);
        assert!(fixture.read(&["deleted"], 0).await.0 >= Some(33));
        let few = within(fixture.log.topic(name("few"))).await.unwrap().unwrap();
        assert_eq!(few.config.and_then(|config| config.max_events), Some(2));
    };
    crash_at_each_step(ENDLESS, &steps, work, check).await;
}

#[tokio::test]
async fn a_crash_while_the_oldest_segments_are_removed_loses_only_what_was_to_go() {
    let retention = LogRetention { max_age_ms: None, max_bytes: Some(600_000) };
    let steps: [&[Step]; 4] = [
        &[Step::Remove],
        &[Step::Remove, Step::SyncDirectory],
        &[Step::Remove, Step::Remove],
        &[Step::Remove, Step::Remove, Step::SyncDirectory],
    ];
    let data = "x".repeat(10_000);
    let work = async |fixture: Fixture| {
        fixture.configure("set", Config { max_events: Some(7), ..Config::default() }).await;
        fixture.publish("old", "x").await;
        for _ in 0..103 {
            fixture.publish("a", &data).await;
        }
        fixture.retain().await;
        assert!(fixture.log.status().bytes <= 600_000);
        within(fixture.log.close()).await;
    };
    let check = async |fixture: &Fixture| {
        let page = fixture.page(&["a"], Start::After(Seq::ZERO)).await;
        let first = page.events.first().unwrap().seq.0;
        assert_eq!(page.gap.map_or(0, |gap| gap.through.0), if first == 3 { 0 } else { first - 1 });
        assert_eq!(page.events.last().map(|event| event.seq), Some(Seq(105)));
        assert!(page.events.windows(2).all(|pair| pair[1].seq == pair[0].seq.next()));
        let set = within(fixture.log.topic(name("set"))).await.unwrap().unwrap();
        assert_eq!(set.config.and_then(|config| config.max_events), Some(7));
        let old = fixture.read(&["old"], 0).await;
        assert!(old.1.len() == 1 || old.0 >= Some(2), "{old:?}");
    };
    crash_at_each_step(retention, &steps, work, check).await;
}

#[tokio::test]
async fn a_rewrite_that_fails_leaves_the_log_as_it_was() {
    for step in [Step::Rewrite, Step::SyncRewritten, Step::Replace] {
        let plan = Plan::default();
        let fixture = open(&plan);
        fixture.configure("few", Config { max_events: Some(1), ..Config::default() }).await;
        for _ in 0..5 {
            fixture.publish("few", &"x".repeat(40_000)).await;
        }
        let before = fixture.read(&["*"], 0).await;
        plan.fail(step, Fault::Fail(full()));
        fixture.retain().await;
        assert!(plan.is_done());
        assert_eq!(fixture.read(&["*"], 0).await, before);
        assert_eq!(state(&fixture).await, LogState::Ready);
        let bytes = fixture.log.status().bytes;
        fixture.retain().await;
        assert!(fixture.log.status().bytes < bytes, "the next round succeeds");
        assert_eq!(fixture.read(&["*"], 0).await, before);
    }
}

#[tokio::test]
async fn only_what_asks_for_the_disk_waits_for_it() {
    let syncs = Arc::new(Mutex::new(0));
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::default();
    let mut options = options(dir.path(), &clock, ENDLESS);
    let counted = Arc::clone(&syncs);
    options.faults = Faults::new(move |step| {
        *counted.lock().unwrap() += u32::from(step == Step::Sync);
        None
    });
    let fixture = Fixture::open(options, clock);
    let count = || *syncs.lock().unwrap();
    let memory = Config { durability: Durability::Memory, ..Config::default() };
    fixture.configure("m", memory).await;
    assert_eq!(count(), 1);
    // The first one reserves positions.
    fixture.publish("m", "").await;
    assert_eq!(count(), 2);
    for _ in 0..20 {
        fixture.publish("m", "").await;
    }
    assert_eq!(count(), 2);
    fixture.publish("d", "").await;
    assert_eq!(count(), 3);
    // What is in memory only gets to the disk when there is time.
    fixture.publish("m", "").await;
    fixture.retain().await;
    assert_eq!(count(), 4);
}

#[tokio::test]
async fn damage_found_while_rewriting_is_told_and_nothing_else_is_lost() {
    let plan = Plan::default();
    let fixture = open(&plan);
    fixture.configure("few", Config { max_events: Some(1), ..Config::default() }).await;
    fixture.publish("kept", "one of two").await;
    fixture.publish("kept", "two of two").await;
    for _ in 0..4 {
        fixture.publish("few", &"x".repeat(40_000)).await;
    }
    let path = &segments(dir(&fixture))[0];
    let bytes = fs::read(path).unwrap();
    let at = bytes.windows(10).position(|window| window == b"one of two").unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"O", at as u64).unwrap();
    fixture.retain().await;
    assert_eq!(fixture.log.status().corruptions, 1);
    assert_eq!(fixture.read(&["kept"], 1).await, (Some(2), vec!["kept@3=two of two".to_owned()]));
    fixture.retain().await;
    assert_eq!(fixture.log.status().corruptions, 1, "it is found once");
    let fixture = fixture.reopen(ENDLESS).await;
    assert_eq!(fixture.read(&["kept"], 1).await, (Some(2), vec!["kept@3=two of two".to_owned()]));
    assert_eq!(fixture.log.status().corruptions, 1);
}

#[tokio::test]
async fn a_log_waits_for_whoever_reads_its_feed() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::default();
    let (log, mut feed) = SegmentLog::open(options(dir.path(), &clock, ENDLESS)).unwrap();
    let memory = Config { durability: Durability::Memory, ..Config::default() };
    within(log.configure(name("a"), memory)).await.unwrap();
    let count = CommitFeed::COMMITS_MAX as u64 + 10;
    let appended = Arc::clone(&log);
    let writer = tokio::spawn(async move {
        for _ in 0..count {
            appended.append(publish("a", [text("")])).await.unwrap();
        }
        appended.close().await;
    });
    // Settings, a reservation, and as many events as make the feed full, and the one that waits.
    while log.committed() < Seq(CommitFeed::COMMITS_MAX as u64 + 2) {
        tokio::task::yield_now().await;
    }
    assert!(!writer.is_finished());
    let mut told = Vec::new();
    while let Some(commit) = within(feed.next()).await {
        told.extend(commit.events.iter().map(|event| event.seq));
    }
    assert_eq!(told.len() as u64, count);
    assert!(told.is_sorted());
    within(writer).await.unwrap();
}

/// A real limit of the kernel, under which a write stops in the middle. It holds for a process, so it gets one of its
/// own, which runs this test again.
#[tokio::test]
async fn a_write_that_the_kernel_cuts_short_is_taken_back_whole() {
    const CHILD: &str = "LONGWAVE_TEST_FILE_SIZE_LIMIT";
    if std::env::var_os(CHILD).is_none() {
        let output = std::process::Command::new("sh")
            // Files of 256 KiB, in the shell's blocks of 512 bytes, and an error instead of a signal.
            .args(["-c", "trap '' XFSZ; ulimit -f 512 && exec \"$0\" --exact \"$1\""])
            .arg(std::env::current_exe().unwrap())
            .arg("faults::a_write_that_the_kernel_cuts_short_is_taken_back_whole")
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let fixture = Fixture::segment(ENDLESS);
    fixture.publish("a", "1").await;
    let path = segments(dir(&fixture))[0].clone();
    let before = written(&path);
    let large = "x".repeat(600_000);
    let refused = fixture.append(publish("a", [text(&large)])).await;
    assert_eq!(refused, Err(AppendError::Full));
    assert_eq!(state(&fixture).await, LogState::Full);
    assert_eq!(written(&path), before);
    assert_eq!(fixture.publish("a", "2").await, 2);
    assert_eq!(state(&fixture).await, LogState::Ready);
    let fixture = fixture.crash(ENDLESS).await;
    assert_eq!(fixture.read(&["a"], 0).await.1, ["a@1=1", "a@2=2"]);
}
