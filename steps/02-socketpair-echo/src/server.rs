//! The parent: takes lines from many clients and hands each to an idle worker.

use std::io;

use shared::channel::Answer;
use shared::cli::{self, ServeArgs};
use shared::narrate::Narrator;
use shared::poller::{Interest, Poller};
use shared::process;
use shared::tcp;

use crate::clients::Clients;
use crate::workers::Workers;

/// Whose descriptor is ready.
#[derive(Clone, Copy)]
pub enum Token {
    Listener,
    Client(u64),
    Worker(usize),
}

/// Runs the server until a signal kills it or no worker is left.
pub fn serve(args: &ServeArgs) -> io::Result<()> {
    let parent = Narrator::parent(args.quiet);
    process::raise_descriptor_limit();
    let mut workers = Workers::start(args, parent.clone())?;
    let mut listener = tcp::listen(&args.address.host, args.address.port)?;
    let mut poller = Poller::new()?;
    poller.add(&listener, Interest::Read, Token::Listener)?;
    for (number, channel) in workers.channels() {
        poller.add(channel, Interest::Read, Token::Worker(number))?;
    }
    let mut clients = Clients::new(parent);
    cli::announce(args, &listener, "echo hello")?;
    loop {
        let rest = listener.resume_at();
        poller.set_interest(&listener, Interest::read_if(rest.is_none()))?;
        for event in poller.wait(rest)? {
            match event.token {
                Token::Listener => clients.welcome(&mut listener, &mut poller),
                Token::Client(id) if event.hung_up => clients.dismiss(id, &mut poller),
                Token::Client(id) => clients.advance(id, &mut poller),
                Token::Worker(number) => match workers.receive(number) {
                    Answer::Bytes(answer) => {
                        if let Some(id) = workers.mark_idle(number) {
                            clients.deliver(id, answer, &mut poller);
                        }
                    }
                    Answer::Gone => {
                        let line_of = workers.bury(number, &mut poller)?;
                        clients.requeue(line_of); // not lost: another worker gets the line
                    }
                    Answer::Nothing => {}
                },
            }
        }
        workers.hand_out(&mut clients);
        if workers.channels().next().is_none() {
            return Err(io::Error::other("no worker is left"));
        }
    }
}
