//! Standard output and standard error, as commands write to them.

use std::io::{self, IsTerminal as _, Write as _};

/// Writes to standard output at once: what follows a stream must see each line as it comes.
///
/// # Errors
/// That of the write. A closed pipe ends the command without a word, see [`Failure`](super::failure::Failure).
pub(crate) fn print(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    out.flush()
}

/// Tells the user something that is not the command's output.
pub(crate) fn note(text: impl std::fmt::Display) {
    // Notes are not worth failing for.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Tells the user about the state of a connection: dimmed on a terminal, so that it does not pass for output.
pub(crate) fn state(text: impl std::fmt::Display) {
    if io::stderr().is_terminal() {
        note(format_args!("\x1b[2m{text}\x1b[0m"));
    } else {
        note(text);
    }
}

/// A number of things, in words: `1 subscriber`, `2 subscribers`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_thing_is_not_several() {
        let told = [0, 1, 2].map(|count| counted(count, "event"));
        assert_eq!(told, ["0 events", "1 event", "2 events"]);
    }
}
