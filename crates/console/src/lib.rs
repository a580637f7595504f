//! The console of a Longwave server as bytes: [`console`].
//!
//! `build.rs` builds it from `web/console`, in a crate of its own so that no change of Rust code builds it again.
//! Serving it is the server's business.

/// The files of the console, with the page that loads the others.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Console {
    /// All files.
    pub files: &'static [File],
}

/// One of its files.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct File {
    /// Where it is below the console's folder: `assets/index-B388mENv.css`.
    pub path: &'static str,
    /// Its `Content-Type`.
    pub media_type: &'static str,
    /// What it holds.
    pub plain: &'static [u8],
    /// The same, compressed by gzip.
    pub gzip: &'static [u8],
}

/// The console; or, where it could not be built, why: a sentence for people without its full stop.
///
/// # Errors
/// The reason.
pub fn console() -> Result<Console, &'static str> {
    BUILT.map(|files| Console { files })
}

impl Console {
    /// The file at a path.
    ///
    /// ```
    /// if let Ok(console) = longwave_console::console() {
    ///     let page = console.file("index.html").expect("a console has a page");
    ///     assert_eq!(page.media_type, "text/html; charset=utf-8");
    /// }
    /// ```
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&'static File> {
        self.files.iter().find(|file| file.path == path)
    }
}

include!(concat!(env!("OUT_DIR"), "/built.rs"));
