use redb::TableDefinition;

/// Events and dead letters, each a [`Record`](super::record::Record) under its `seq`.
pub const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
pub const DEAD: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("dead_letters");
/// How often an event was tried since it was written.
pub const ATTEMPTS: TableDefinition<'_, u64, u32> = TableDefinition::new("attempts");
/// [`VERSION_KEY`] and [`STATE_KEY`].
pub const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// Little endian.
pub const VERSION_KEY: &str = "version";
/// A record of the counts of all others.
pub const STATE_KEY: &str = "state";

/// The version of this format. A file of a later version is left alone.
pub const VERSION: u32 = 1;
