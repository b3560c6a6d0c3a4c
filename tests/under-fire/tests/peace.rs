//! Without any trouble: each stage serves, with our client and with its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a check that fails panics")]

use under_fire::{STAGES, Sample};

#[test]
fn every_stage_serves() {
    for stage in STAGES {
        let sample = Sample::of(100_000);
        let server = stage.serve(sample.file(), &["--workers", "2"]);
        stage.assert_serves(&server, sample.file());
        let finished = stage.run_client(&server, &sample.out("here"));
        assert!(finished.status.success(), "{}: {finished:?}", stage.name);
        server.stop();
    }
}
