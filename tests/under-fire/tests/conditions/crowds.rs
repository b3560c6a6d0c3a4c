//! Many clients, few workers, few descriptors.

use std::io::{ErrorKind, Read};

use support::habits::all_sleep;
use support::line::LineClient;
use support::server::ServerCommand;
use support::wire::assert_stream;
use under_fire::scene::{Scene, at_once, plain, put_to};
use under_fire::{STAGES, Sample, Service};

use crate::FILES;

const FIVE: &[&str] = &["--workers", "5"];

/// With 16 descriptors the parent has its own ten or so and no room for a crowd. All wait, nobody
/// works meanwhile, and in the end everybody is served.
#[test]
fn sixteen_descriptors_are_enough_for_a_hundred_clients() {
    const FEW: &str = r#"ulimit -n 16 && exec "$0" "$@""#;
    at_once(STAGES, |stage| {
        let sample = Sample::of(100_000);
        let args = stage.serve_args(sample.file(), FIVE);
        let command = ServerCommand::new(stage.bin()).args(&args).under(&["sh", "-c", FEW]);
        let scene = Scene::of(stage, sample, command);
        let connect = |_| LineClient::connect(scene.server.addr());
        let clients: Vec<LineClient> = (0..100).map(connect).collect();
        all_sleep(|| scene.family());
        for client in clients {
            assert_served(&scene, client);
        }
        scene.assert_unharmed();
    });
}

/// This client gets all that the stage has to give.
#[track_caller]
fn assert_served(scene: &Scene, mut client: LineClient) {
    match scene.stage.service {
        Service::Table => assert!(client.read_to_end().starts_with(b"worker 0 pid ")),
        Service::Echo => drop(client.ask("one of many")),
        _ => assert_stream(&client.read_to_end(), &stream(scene), "one of many"),
    }
}

/// What a client gets from the first byte to the last.
fn stream(scene: &Scene) -> Vec<u8> {
    let name = scene.file().file_name().unwrap().as_encoded_bytes();
    scene.transfer().format.stream(name, &std::fs::read(scene.file()).unwrap())
}

#[test]
fn five_hundred_clients_that_read_a_little_at_a_time_are_all_served_by_five_workers() {
    const SIZE: usize = 200_000;
    for stage in FILES {
        put_to([stage], plain(SIZE), FIVE, |scene| {
            let stream = stream(scene);
            let connect = |_| (LineClient::connect(scene.server.addr()), 0);
            let mut clients: Vec<(LineClient, usize)> = (0..500).map(connect).collect();
            clients.iter().for_each(|(it, _)| it.stream().set_nonblocking(true).unwrap());
            while !clients.is_empty() {
                clients.retain_mut(|(client, taken)| takes_a_little(client, taken, &stream));
            }
        });
    }
}

/// Reads once, a little, and compares. False at the end, which has to be that of `stream`.
fn takes_a_little(client: &LineClient, taken: &mut usize, stream: &[u8]) -> bool {
    let mut buffer = [0; 16 << 10];
    match client.stream().read(&mut buffer) {
        Ok(0) => assert_eq!(*taken, stream.len(), "bytes that came before the end"),
        Ok(length) => {
            assert!(stream[*taken..].starts_with(&buffer[..length]), "wrong after {taken} bytes");
            *taken += length;
            return true;
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
        Err(error) => panic!("after {taken} bytes: {error}"),
    }
    false
}

#[test]
fn five_hundred_clients_that_talk_a_little_at_a_time_are_all_answered_by_five_workers() {
    put_to(crate::LINES, plain(0), FIVE, |scene| {
        let connect = |_| LineClient::connect(scene.server.addr());
        let mut clients: Vec<LineClient> = (0..500).map(connect).collect();
        for part in ["sl", "o", "w\nan", "d slow", "er\n"] {
            clients.iter_mut().for_each(|client| client.send(part));
        }
        for mut client in clients {
            client.expect("SLOW");
            client.expect("AND SLOWER");
            client.half_close();
            client.expect_end();
        }
    });
}

#[test]
fn three_hundred_clients_at_once_all_get_the_table() {
    put_to([STAGES[0]], plain(0), FIVE, |scene| {
        let connect = |_| LineClient::connect(scene.server.addr());
        let clients: Vec<LineClient> = (0..300).map(connect).collect();
        clients.into_iter().for_each(|client| assert_served(scene, client));
    });
}
