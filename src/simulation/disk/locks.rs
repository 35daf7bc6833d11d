/// Who has locked which file, as `flock` does: the kernel releases a lock when its handle is closed or its process dies.
#[derive(Debug, Default)]
pub struct Locks(Vec<Lock>);

#[derive(Debug)]
struct Lock {
    file: u64,
    handle: Handle,
    is_shared: bool,
}

/// An open file of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    pub process: u64,
    pub number: u64,
}

impl Locks {
    /// Returns whether the handle has the lock now.
    pub fn try_lock(&mut self, file: u64, handle: Handle, is_shared: bool) -> bool {
        let in_the_way =
            |lock: &Lock| lock.file == file && lock.handle != handle && !(is_shared && lock.is_shared);
        if self.0.iter().any(in_the_way) {
            return false;
        }
        self.release(handle);
        self.0.push(Lock { file, handle, is_shared });
        true
    }

    pub fn release(&mut self, handle: Handle) {
        self.0.retain(|lock| lock.handle != handle);
    }

    pub fn release_all_of(&mut self, process: u64) {
        self.0.retain(|lock| lock.handle.process != process);
    }
}
