//! Who can read and write the files that hold secrets.

use std::fs;
use std::path::{Path, PathBuf};

use super::check::{Finding, counted};

pub fn read(files: &[(&'static str, PathBuf)]) -> Finding {
    let moded = |(name, path): &(&'static str, PathBuf)| (*name, mode(path));
    permissions(&files.iter().map(moded).collect::<Vec<_>>())
}

fn permissions(files: &[(&'static str, Option<u32>)]) -> Finding {
    const REMEDY: &str =
        "chmod 0400 (0440 with a group of its own); in Kubernetes defaultMode: 0440 and an fsGroup";
    let whose = |bits: u32| {
        let named = files.iter().filter(move |(_, mode)| mode.is_some_and(|mode| mode & bits != 0));
        named
            .map(|(name, mode)| format!("{name} {:04o}", mode.unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let [all_write, group_writes, all_read] = [0o002, 0o020, 0o004].map(whose);
    if files.is_empty() {
        return Finding::skipped("no secret comes from a file");
    }
    if !all_write.is_empty() {
        return Finding::fail(format!("anybody can write it: {all_write}"), REMEDY);
    }
    if !group_writes.is_empty() {
        return Finding::warn(format!("its group can write it: {group_writes}"), REMEDY);
    }
    if !all_read.is_empty() {
        return Finding::warn(format!("anybody on the machine can read it: {all_read}"), REMEDY);
    }
    if files.iter().any(|(_, mode)| mode.is_none()) {
        return Finding::skipped("a file has no permissions to look at");
    }
    Finding::pass(format!("{} for its owner's eyes, or its group's", counted(files.len(), "file")))
}

#[cfg(unix)]
fn mode(path: &Path) -> Option<u32> {
    let metadata = fs::metadata(path).ok()?;
    Some(std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777)
}

#[cfg(not(unix))]
fn mode(_: &Path) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::CheckStatus::{self, Fail, Pass, Skipped, Warn};

    #[test]
    fn permissions_at_each_bit() {
        let judged = |mode: Option<u32>| permissions(&[("FILE", Some(0o400)), ("OTHER", mode)]).status;
        let rows: [(u32, CheckStatus); 8] = [
            (0o400, Pass),
            (0o440, Pass),
            (0o600, Pass),
            (0o640, Pass),
            (0o644, Warn),
            (0o660, Warn),
            (0o666, Fail),
            (0o602, Fail),
        ];
        for (mode, status) in rows {
            assert_eq!(judged(Some(mode)), status, "{mode:o}");
        }
        assert_eq!(judged(None), Skipped);
        assert_eq!(permissions(&[]).status, Skipped);
    }
}
