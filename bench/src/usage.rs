//! What a server's processes have used, by `/proc`. Read [`Processes`].

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// A process and all its descendants: nginx's workers belong to nginx.
#[derive(Clone, Copy, Debug)]
pub struct Processes {
    root: u32,
}

impl Processes {
    /// Those of the process with this id.
    #[must_use]
    pub fn of(root: u32) -> Processes {
        Processes { root }
    }

    /// This very process.
    #[must_use]
    pub fn own() -> Processes {
        Processes { root: std::process::id() }
    }

    /// Their ids, the root's first.
    ///
    /// # Errors
    /// Where `/proc` can't be read.
    pub fn ids(self) -> anyhow::Result<Vec<u32>> {
        let mut all = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            // One that has ended meanwhile is nobody's child.
            if let Some(stat) = Stat::of(id) {
                all.push((id, stat.parent));
            }
        }
        let mut ids = vec![self.root];
        let mut next = 0;
        while let Some(&parent) = ids.get(next) {
            ids.extend(all.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
            next += 1;
        }
        Ok(ids)
    }

    /// CPU time so far, in user and kernel mode. It is counted in ticks of 10 ms, so only differences of some seconds
    /// mean something.
    ///
    /// # Errors
    /// Where a process has ended.
    pub fn cpu(self) -> anyhow::Result<Duration> {
        cpu(&self.ids()?)
    }

    /// CPU time of this very process so far.
    ///
    /// # Errors
    /// Where `/proc` can't be read.
    pub fn own_cpu() -> anyhow::Result<Duration> {
        cpu(&[std::process::id()])
    }

    /// Memory in RAM, each shared page divided by how many share it.
    ///
    /// # Errors
    /// Where a process has ended, or is not ours to look at.
    pub fn pss_kib(self) -> anyhow::Result<u64> {
        self.ids()?.into_iter().map(pss_kib).sum()
    }
}

/// CPU time of these processes. Servers here start all theirs at once, so whoever asks often keeps the ids.
///
/// # Errors
/// Where one has ended.
pub fn cpu(ids: &[u32]) -> anyhow::Result<Duration> {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let ticks = ids.iter().map(|id| {
        let stat = Stat::of(*id).with_context(|| format!("process {id} has ended"))?;
        Ok(stat.cpu_ticks)
    });
    let ticks: u64 = ticks.sum::<anyhow::Result<u64>>()?;
    Ok(Duration::from_millis(ticks.saturating_mul(1000) / per_second))
}

/// The same to the nanosecond, for what is too short for ticks. Threads that end in between are not counted, and where
/// the kernel keeps no such account (`CONFIG_SCHED_INFO`), it is [`cpu`].
///
/// # Errors
/// Where a process has ended.
pub fn cpu_exact(ids: &[u32]) -> anyhow::Result<Duration> {
    let mut nanoseconds = 0_u64;
    for id in ids {
        for task in fs::read_dir(format!("/proc/{id}/task"))? {
            // A thread may end while this looks.
            let schedstat = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            let ran = schedstat.split(' ').next().and_then(|ran| ran.parse::<u64>().ok());
            nanoseconds += ran.unwrap_or_default();
        }
    }
    if nanoseconds == 0 { cpu(ids) } else { Ok(Duration::from_nanos(nanoseconds)) }
}

struct Stat {
    parent: u32,
    cpu_ticks: u64,
}

impl Stat {
    fn of(id: u32) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
    }

    /// The name, the second field, may hold anything, so the others are counted from behind its last bracket.
    fn parse(stat: &str) -> Option<Stat> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let parent = u32::try_from(number(1)?).ok()?;
        Some(Stat { parent, cpu_ticks: number(11)? + number(12)? })
    }
}

fn pss_kib(id: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{id}/smaps_rollup");
    let rollup = fs::read_to_string(&path).with_context(|| path.clone())?;
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let pss = pss.with_context(|| format!("{path} has no Pss"))?;
    Ok(pss.trim_end_matches("kB").trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        let line = "12 (a ) b) S 7 1 1 0 -1 4194304 1 0 0 0 30 12 5 5 20 0 3 0 99 0 0";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.parent, stat.cpu_ticks), (7, 42));
        assert!(Stat::parse("12 (a").is_none());
    }

    #[test]
    fn a_process_has_memory_and_its_children_are_found() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let own = Processes::own();
        let ids = own.ids().unwrap();
        assert_eq!(ids[0], std::process::id());
        assert!(ids.contains(&child.id()));
        assert!(own.pss_kib().unwrap() > 0);
        own.cpu().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
