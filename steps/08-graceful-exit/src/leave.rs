//! The end of the server: every worker leaves, or is made to.

use std::io;
use std::time::{Duration, Instant};

use shared::channel::Report;
use shared::narrate::Narrator;
use shared::poller::Poller;
use shared::pool::Pool;
use shared::say;
use shared::signal::Signals;

use crate::server::{Token, bury};

/// Waits until every worker has left. Kills the rest after the grace time or at a second signal.
pub fn leave(
    pool: &mut Pool<'_>,
    poller: &mut Poller<Token>,
    signals: &Signals,
    grace: Duration,
    parent: &Narrator,
) -> io::Result<()> {
    pool.dismiss();
    // What has come until now is one request: `timeout` and others signal both us and our group.
    while signals.next()?.is_some() {}
    let deadline = Instant::now() + grace;
    let mut killed: Option<String> = None;
    // LAB 08.leave: bury workers as they end; kill the rest at the deadline or a second signal
    while pool.alive() > 0 {
        let mut why = None;
        for event in poller.wait(killed.is_none().then_some(deadline))? {
            match event.token {
                Token::Listener => {} // closed
                Token::Signal => why = signals.next()?.map(|it| format!("{it}, the second signal")),
                Token::Worker(number) => {
                    if pool.receive(number) == Report::Gone {
                        bury(number, pool, poller, parent)?;
                    }
                }
            }
        }
        if Instant::now() >= deadline {
            why = Some(format!("the grace time of {} s is over", grace.as_secs()));
        }
        let left = pool.alive();
        if let Some(why) = why
            && killed.is_none()
            && left > 0
        {
            killed = Some(format!("{why}: killed workers that had not left yet: {left}"));
            pool.kill_all();
        }
    }
    // END 08.leave
    say!(parent, "all workers have left");
    killed.map_or(Ok(()), |why| Err(io::Error::other(why)))
}
