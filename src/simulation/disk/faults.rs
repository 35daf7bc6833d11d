use std::io;
use std::time::Duration;

/// The faults of the disk. The default is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// How long each operation takes.
    pub slow: Duration,
    /// No operation ends until this is taken away; then it goes on.
    pub hangs: bool,
    /// Writes and syncs fail with this error: all of them, or a share that is drawn when the fault begins.
    pub fails: Option<io::ErrorKind>,
    /// The kernel cannot write pages back. A sync of a changed file fails, and some or all of its changes are lost although
    /// reads may return them. The next sync has nothing to write, and succeeds. Linux does this. With [`fails`](Self::fails), the drawn share of syncs fails,
    /// and otherwise all.
    pub forgets: bool,
    /// Writes that make a file longer fail with [`io::ErrorKind::StorageFull`].
    pub is_full: bool,
    pub reads_fail: bool,
}
