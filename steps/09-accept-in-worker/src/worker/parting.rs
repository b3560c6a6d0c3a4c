//! How a worker parts: with a client that is served, with one that is too slow, with its parent.

use std::io;
use std::time::Instant;

use shared::say;

use super::Worker;

impl Worker<'_> {
    /// Closes our copy of a connection. Removed first: as long as a program has a copy, epoll
    /// would go on to tell us of it.
    pub(super) fn forget(&mut self, id: u64) -> io::Result<()> {
        self.clients.remove(&id).map_or(Ok(()), |client| self.poller.remove(&client))
    }

    pub(super) fn give_up_the_slow(&mut self) -> io::Result<()> {
        while let Some(mut first) = self.clients.first_entry()
            && first.get().deadline <= Instant::now()
        {
            first.get_mut().give_up(self.job);
            let id = *first.key();
            say!(self.worker, "client {id} has had its time");
            self.forget(id)?;
        }
        Ok(())
    }

    /// No more clients. Who has been accepted is served to the end.
    pub(super) fn leave(&mut self) -> io::Result<()> {
        let Some(channel) = self.channel.take() else { return Ok(()) };
        say!(self.worker, "leaving when all clients are served ({})", self.clients.len());
        self.poller.remove(&channel)
    }
}
