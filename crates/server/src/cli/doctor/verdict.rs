//! One thing that was looked at, and what to do about it: [`Finding`].

use std::io::{IsTerminal as _, stdout};

use serde::Serialize;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) check: &'static str,
    pub(super) what: String,
    /// What to do about it.
    pub(super) fix: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Good,
    /// It depends on what is wanted.
    Doubtful,
    Bad,
}

impl Finding {
    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// Lines for people, coloured on a terminal.
    pub(super) fn to_text(&self) -> String {
        let (mark, colour) = match self.level {
            Level::Good => ("ok  ", "32"),
            Level::Doubtful => ("warn", "33"),
            Level::Bad => ("bad ", "31"),
        };
        let mark = if stdout().is_terminal() {
            format!("\x1b[{colour}m{mark}\x1b[0m")
        } else {
            mark.to_owned()
        };
        let fix = self.fix.as_ref().map(|fix| format!("      fix: {fix}\n")).unwrap_or_default();
        format!("{mark}  {}: {}\n{fix}", self.check, self.what)
    }
}
