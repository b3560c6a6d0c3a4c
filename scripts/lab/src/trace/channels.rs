//! The channels between the processes of a play: which ends belong together, and whose they are.

use std::collections::BTreeMap;

use super::cast::Cast;
use super::descriptor::{Descriptor, Object};
use super::record::Record;

/// The channels of a play, by the inodes of their ends.
#[derive(Debug, Default)]
pub struct Channels {
    /// Which ends belong together.
    pub peers: BTreeMap<u64, u64>,
    /// Which life uses an end.
    pub users: BTreeMap<u64, usize>,
}

impl Channels {
    /// By who made them and who used them.
    pub fn of(records: &[Record], cast: &Cast) -> Self {
        let mut channels = Self::default();
        for record in records {
            let Some(call) = record.call() else { continue };
            let ends: Vec<u64> = Descriptor::list(call.arg(3)).iter().filter_map(end).collect();
            if let ("socketpair", &[a, b]) = (call.name.as_str(), &ends[..]) {
                channels.peers.extend([(a, b), (b, a)]);
            }
            let is_use =
                ["recv", "send", "read", "write"].iter().any(|it| call.name.starts_with(it));
            if let Some(end) = call.descriptor(0).as_ref().and_then(end)
                && is_use
                && let Some(life) = cast.find(record.pid)
            {
                channels.users.insert(end, life);
            }
        }
        channels
    }
}

fn end(descriptor: &Descriptor) -> Option<u64> {
    match descriptor.object {
        Object::Channel(inode) => Some(inode),
        _ => None,
    }
}
