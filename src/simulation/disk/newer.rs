use std::path::Path;

use redb::{Builder, Error, TableDefinition};

use super::SimDisk;
use super::handles::OpenFile;
use super::locks::Handle;

impl SimDisk {
    /// A process of a later version of the crate leaves a file with nothing in it but its version.
    pub fn leave_newer_file(&self, path: &Path) -> Result<(), Error> {
        let process = self.process();
        let result = self.write_version(process.number(), path);
        process.kill();
        result
    }

    fn write_version(&self, process: u64, path: &Path) -> Result<(), Error> {
        let file = {
            let state = &mut *self.state();
            let file = state.find_or_create(process, path)?;
            let handle = Handle { process, number: state.number() };
            OpenFile { disk: self.clone(), file, handle }
        };
        let db = Builder::new().create_with_backend(file)?;
        let transaction = db.begin_write()?;
        let version: &[u8] = &u32::MAX.to_le_bytes();
        transaction.open_table(TableDefinition::<&str, &[u8]>::new("meta"))?.insert("version", version)?;
        Ok(transaction.commit()?)
    }
}
