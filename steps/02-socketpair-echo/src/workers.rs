//! The workers, as the parent sees them: each with a channel and, while it is busy, a client.

use std::io;

use shared::channel::{self, Answer, ParentEnd};
use shared::cli::ServeArgs;
use shared::narrate::Narrator;
use shared::poller::Poller;
use shared::process::{self, Child};
use shared::say;

use crate::clients::Clients;
use crate::server::Token;
use crate::worker;

struct Worker {
    child: Child,
    channel: ParentEnd,
    /// The client whose line it is answering; `None`: it is idle.
    client: Option<u64>,
}

/// All workers, by number. The place of a dead one stays empty: replacing it is stage 03's.
pub struct Workers {
    seats: Vec<Option<Worker>>,
    parent: Narrator,
}

impl Workers {
    /// Forks the workers, each with a channel of its own.
    pub fn start(args: &ServeArgs, parent: Narrator) -> io::Result<Self> {
        let mut seats = Vec::new();
        for number in 0..usize::from(args.workers) {
            let (parent_end, worker_end) = channel::pair()?;
            // LAB 02.start_worker: fork a worker with its end, close our copy of it, fill the seat
            let child = process::spawn(|| worker::run(number, &worker_end, args.quiet))?;
            drop(worker_end); // the worker's; with this copy open, its death would go unnoticed
            seats.push(Some(Worker { child, channel: parent_end, client: None }));
            // END 02.start_worker
        }
        Ok(Self { seats, parent })
    }

    /// The channels of the living, with the number of each.
    pub fn channels(&self) -> impl Iterator<Item = (usize, &ParentEnd)> {
        let seats = self.seats.iter().enumerate();
        seats.filter_map(|(number, seat)| Some((number, &seat.as_ref()?.channel)))
    }

    /// Gives waiting lines to idle workers.
    pub fn hand_out(&mut self, clients: &mut Clients) {
        // LAB 02.hand_out: give each idle worker the next waiting line, and note whose it is
        for (number, seat) in self.seats.iter_mut().enumerate() {
            let Some(worker) = seat.as_mut().filter(|worker| worker.client.is_none()) else {
                continue;
            };
            let Some((id, line)) = clients.next_line() else {
                return;
            };
            say!(self.parent, "client {id}'s line goes to worker {number}");
            match worker.channel.send_line(line) {
                Ok(()) => worker.client = Some(id),
                // Most likely it is dead already. Either way another one gets the line, and we are
                // about to hear of its end.
                Err(_) => {
                    worker.child.kill();
                    clients.requeue(Some(id));
                }
            }
        }
        // END 02.hand_out
    }

    /// Takes what a worker says.
    pub fn receive(&self, number: usize) -> Answer {
        self.seats[number].as_ref().map_or(Answer::Nothing, |it| it.channel.recv_answer())
    }

    /// A worker has answered: returns the client it was for. The channel says whose answer it is;
    /// a pid in the message could be wrong.
    pub fn mark_idle(&mut self, number: usize) -> Option<u64> {
        self.seats[number].as_mut()?.client.take()
    }

    /// Reaps a dead worker and returns the client whose line it had.
    pub fn bury(&mut self, number: usize, poller: &mut Poller<Token>) -> io::Result<Option<u64>> {
        let Some(mut worker) = self.seats[number].take() else {
            return Ok(None);
        };
        poller.remove(&worker.channel)?;
        worker.child.kill(); // in case it only closed its channel
        let ending = worker.child.reap()?;
        say!(self.parent, "worker {number} pid {} ended: {ending}", worker.child.pid());
        Ok(worker.client)
    }
}
