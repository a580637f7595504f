//! A disk whose power can be cut: what was synced stays, what was only written is gone.
//!
//! A file system in a file, mounted, and shut down without a flush. That needs root, loop devices and Debian's
//! `xfsprogs`. Read [`CuttableDisk`].

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use tempfile::TempDir;

/// A mounted file system of its own. Unmounted when dropped.
#[derive(Debug)]
pub struct CuttableDisk {
    folder: TempDir,
}

impl CuttableDisk {
    /// Makes an empty ext4 file system of this size and mounts it.
    ///
    /// # Errors
    /// When this process may not, or a program is missing.
    pub fn create(bytes: u64) -> anyhow::Result<CuttableDisk> {
        let folder = tempfile::Builder::new().prefix("longwave-disk-").tempdir()?;
        let disk = CuttableDisk { folder };
        File::create(disk.image())?.set_len(bytes)?;
        run(Command::new("mkfs.ext4").arg("-q").arg(disk.image()))?;
        std::fs::create_dir(disk.path())?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    /// Cuts the power: from now on every access fails, and what was not synced never was.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn cut_power(&self) -> anyhow::Result<()> {
        // `xfs_io` asks other file systems than its own, too, and without `-f` nothing is flushed.
        run(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(self.path()))
    }

    /// Gives it power again: mounts it anew, and thereby lets the file system recover. Nobody may have a file open.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn restore_power(&self) -> anyhow::Result<()> {
        run(Command::new("umount").arg(self.path()))?;
        self.mount()
    }

    fn mount(&self) -> anyhow::Result<()> {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(self.path()))
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("disk.img")
    }
}

impl Drop for CuttableDisk {
    fn drop(&mut self) {
        // Of a disk that was never mounted there is nothing to unmount.
        let _ = run(Command::new("umount").args(["--quiet", "--lazy"]).arg(self.path()));
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    // Debian keeps what only root uses where only root's PATH leads.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let program = Path::new(command.get_program()).display().to_string();
    let output = command.output().with_context(|| format!("{program} can't be started"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{program} failed ({}): {said}", output.status);
    Ok(())
}
