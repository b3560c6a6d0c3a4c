//! Who is who: the processes of a play, and the lane in which each is drawn.
//!
//! A lane is a role: a client, the parent, a worker. Processes that live one after the other can
//! have the same lane: a client and the next one, a dead worker and the one that takes its place.

use std::collections::BTreeMap;

use super::play::Play;
use super::record::{Record, What};

/// The processes of a play, and their lanes from left to right.
#[derive(Debug, Default)]
pub struct Cast {
    pub lanes: Vec<String>,
    pub lives: Vec<Life>,
}

/// A process.
#[derive(Clone, Debug)]
pub struct Life {
    pub pid: i32,
    /// Its lane, by index.
    pub lane: usize,
    /// `worker 0`, or what a client was told to do.
    pub name: String,
    pub begin: u64,
    pub end: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Client,
    Parent,
    Worker,
    /// Forked by a worker, to look after a program (09).
    Keeper,
    /// Forked by any of those.
    Other,
}

impl Cast {
    /// Finds out by who forked whom.
    pub fn of(play: &Play) -> Self {
        let server = play.programs.first().map_or(0, |it| it.pid);
        let parents = parents(&play.records);
        let mut lives: Vec<(Role, Life)> = Vec::new();
        for (pid, first, end) in spans(&play.records) {
            let program = play.programs.iter().find(|it| it.pid == pid);
            let (role, name) = match (program, parents.get(&pid)) {
                _ if pid == server => (Role::Parent, String::new()),
                (Some(program), _) => (Role::Client, program.verb.clone()),
                (None, Some((parent, _))) if *parent == server => (Role::Worker, String::new()),
                (None, Some((parent, _))) if forked_by(&parents, *parent, server) => {
                    (Role::Keeper, String::new())
                }
                (None, Some((parent, _))) => (Role::Other, format!("child of {parent}")),
                (None, None) => continue,
            };
            let begin = parents.get(&pid).map_or(first, |(_, forked)| *forked);
            lives.push((role, Life { pid, lane: 0, name, begin, end }));
        }
        lives.sort_by_key(|(role, life)| (*role, life.begin));
        Self::seated(lives)
    }

    /// Gives each the first lane of its role that is free in its time.
    fn seated(lives: Vec<(Role, Life)>) -> Self {
        let mut lanes: Vec<(Role, u64)> = Vec::new();
        let mut seated: Vec<Life> = Vec::new();
        for (role, mut life) in lives {
            let free = |(of, until): &(Role, u64)| *of == role && *until <= life.begin;
            let lane = lanes.iter().position(free).unwrap_or_else(|| {
                lanes.push((role, 0));
                lanes.len() - 1
            });
            lanes[lane].1 = life.end;
            life.lane = lane;
            seated.push(life);
        }
        let names = names(&lanes.iter().map(|(role, _)| *role).collect::<Vec<_>>());
        for life in seated.iter_mut().filter(|life| life.name.is_empty()) {
            life.name.clone_from(&names[life.lane]);
        }
        seated.sort_by_key(|life| life.begin);
        Self { lanes: names, lives: seated }
    }

    /// The process of this pid, by index.
    pub fn find(&self, pid: i32) -> Option<usize> {
        self.lives.iter().position(|life| life.pid == pid)
    }
}

fn names(roles: &[Role]) -> Vec<String> {
    let count = |wanted| roles.iter().filter(|role| **role == wanted).count();
    let (clients, workers) = (count(Role::Client), count(Role::Worker));
    let name = |(index, role): (usize, &Role)| {
        let number = roles[..index].iter().filter(|it| *it == role).count();
        match role {
            Role::Client if clients == 1 => "client".to_owned(),
            Role::Client => format!("client {}", number + 1),
            Role::Parent if workers == 0 => "server".to_owned(), // nobody's parent
            Role::Parent => "parent".to_owned(),
            Role::Worker => format!("worker {number}"),
            Role::Keeper => format!("keeper {number}"),
            Role::Other => "program".to_owned(),
        }
    };
    roles.iter().enumerate().map(name).collect()
}

/// Who was forked by whom, and when.
fn parents(records: &[Record]) -> BTreeMap<i32, (i32, u64)> {
    let forks = records.iter().filter_map(|it| Some((forked(it)?, (it.pid, it.begin))));
    forks.collect()
}

/// Is this a child of `parent`?
fn forked_by(parents: &BTreeMap<i32, (i32, u64)>, pid: i32, parent: i32) -> bool {
    parents.get(&pid).is_some_and(|(forked_by, _)| *forked_by == parent)
}

/// The child that a call made.
pub fn forked(record: &Record) -> Option<i32> {
    let call = record.call()?;
    let is_fork = ["fork", "vfork", "clone", "clone3"].contains(&call.name.as_str());
    let child = i32::try_from(call.result()?).ok()?;
    (is_fork && child > 0 && !call.line.contains("CLONE_THREAD")).then_some(child)
}

/// The first and the last moment of every process, in order of the first.
fn spans(records: &[Record]) -> Vec<(i32, u64, u64)> {
    let mut spans: Vec<(i32, u64, u64)> = Vec::new();
    for record in records {
        // A signal that we sent is no sign of life.
        let sign_of_life = !matches!(record.what, What::Poke(_));
        let ended = matches!(record.what, What::End(_));
        match spans.iter_mut().find(|span| span.0 == record.pid) {
            Some(span) if ended => span.2 = record.begin,
            Some(_) => {}
            None if sign_of_life => spans.push((record.pid, record.begin, u64::MAX)),
            None => {}
        }
    }
    spans
}
