//! The control thread: builds the Snapshots that shards read, applies config.
