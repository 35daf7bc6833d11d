use super::check::Finding;
use crate::delivery::SpoolInspection;

const MIB: u64 = 1 << 20;

pub fn judge(inspection: &SpoolInspection) -> Finding {
    if let Err(error) = &inspection.written {
        return Finding::fail(
            format!("a file cannot be written and synced there: {}", error.kind()),
            "make the directory the service's own (0700), on a local disk with room; in Kubernetes an fsGroup",
        );
    }
    let free = inspection.free.map_or("unknown".to_owned(), |free| format!("{} MiB", free / MIB));
    if let Some(free_bytes) = inspection.free.filter(|free| *free < inspection.min_free) {
        return Finding::fail(
            format!(
                "{} MiB are free, and {} MiB are to stay free: it counts as full",
                free_bytes / MIB,
                inspection.min_free / MIB
            ),
            "give it a larger disk, or lower min_free_disk",
        );
    }
    if inspection.free.is_some_and(|free| free < inspection.wanted) {
        return Finding::warn(
            format!("{free} are free, and it may come to take {} MiB", inspection.wanted / MIB),
            "give it a larger disk, or lower max_bytes: the file takes up to twice that",
        );
    }
    if let Some(mode) = inspection.mode.filter(|mode| mode & 0o077 != 0) {
        return Finding::warn(
            format!("others may look into it ({mode:04o})"),
            "chmod 0700: it holds events; an emptyDir with an fsGroup has 2777, so use a directory below it",
        );
    }
    Finding::pass(format!("written and synced, {free} free"))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::preflight::CheckStatus::{Fail, Pass, Warn};

    #[test]
    fn at_each_threshold() {
        let look = |free, mode| SpoolInspection {
            written: Ok(()),
            mode: Some(mode),
            free,
            wanted: 3_000,
            min_free: 1_000,
        };
        let judged = |look: SpoolInspection| judge(&look).status;
        assert_eq!(judged(look(Some(3_000), 0o700)), Pass);
        assert_eq!(judged(look(None, 0o700)), Pass);
        assert_eq!(judged(look(Some(2_999), 0o700)), Warn);
        assert_eq!(judged(look(Some(1_000), 0o700)), Warn);
        assert_eq!(judged(look(Some(999), 0o700)), Fail);
        assert_eq!(judged(look(Some(3_000), 0o710)), Warn);
        let refused =
            SpoolInspection { written: Err(io::ErrorKind::PermissionDenied.into()), ..look(None, 0o700) };
        assert_eq!(judged(refused), Fail);
    }
}
