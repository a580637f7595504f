//! How far the run is: a bar on a terminal, and a line for each measurement anywhere. Read [`Progress`].
#![expect(clippy::print_stderr, reason = "results go to standard output, and this does not")]

use indicatif::{ProgressBar, ProgressStyle};

use longwave_bench::machine::load_average;

pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new(steps: usize) -> Progress {
        let bar = ProgressBar::new(steps as u64);
        if let Ok(style) = ProgressStyle::with_template("{pos}/{len} {bar:20} {elapsed} {msg}") {
            bar.set_style(style);
        }
        Progress { bar }
    }

    pub(crate) fn begin(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        self.bar.tick();
    }

    pub(crate) fn end(&self, said: &str) {
        let line = format!("{said} (load average {})", load_average());
        self.bar.suspend(|| eprintln!("{line}"));
        self.bar.inc(1);
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
