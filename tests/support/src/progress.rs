//! What `get` of stages 05 to 08 says about a transfer under way, where there is no terminal.
//!
//! Only the lines of progress are judged, `received R of T bytes (P%) RATE/s, N s left`. Whatever
//! else a program says on standard error is its own affair.

/// A line of progress.
#[derive(Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many bytes have come.
    pub received: u64,
    /// How many are to come in all.
    pub total: u64,
    /// The percentage as it is written.
    pub percent: String,
    /// What follows: the rate and the time.
    pub rest: String,
}

impl Progress {
    fn parse(line: &str) -> Option<Self> {
        let (received, rest) = line.strip_prefix("received ")?.split_once(" of ")?;
        let (total, rest) = rest.split_once(" bytes (")?;
        let (percent, rest) = rest.split_once("%)")?;
        let (received, total) = (received.parse().ok()?, total.parse().ok()?);
        Some(Self { received, total, percent: percent.to_owned(), rest: rest.trim().to_owned() })
    }

    /// As it is written.
    fn text(&self) -> String {
        let Self { received, total, percent, rest } = self;
        format!("received {received} of {total} bytes ({percent}%) {rest}")
    }

    /// The rate in bytes a second: `299.59 MiB/s`.
    fn rate(&self) -> Option<f64> {
        const UNITS: [(&str, u64); 8] = [
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("kB", 1000),
            ("KB", 1000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
            ("B", 1),
        ];
        let (amount, _) = self.rest.split_once("/s")?;
        let unit = UNITS.iter().find_map(|(name, size)| Some((amount.strip_suffix(name)?, *size)));
        let (number, size) = unit.or_else(|| Some((amount.strip_suffix("bytes")?, 1)))?;
        let number = number.trim().rsplit(' ').next()?.replace(',', "");
        Some(number.parse::<f64>().ok()? * size as f64)
    }

    /// The time left in seconds: `20 s left`.
    fn seconds_left(&self) -> Option<f64> {
        let (before, _) = self.rest.split_once(" s left")?;
        before.rsplit(' ').next()?.parse().ok()
    }
}

/// The lines of progress on standard error.
#[track_caller]
#[must_use]
pub fn lines(stderr: &str) -> Vec<Progress> {
    let lines = stderr.lines().filter(|line| line.starts_with("received "));
    lines
        .map(|line| Progress::parse(line).unwrap_or_else(|| panic!("not progress: {line:?}")))
        .collect()
}

/// Every line is right in itself, and they never go back.
#[track_caller]
pub fn assert_sound(lines: &[Progress], total: u64) {
    let mut before = 0;
    for line in lines {
        let text = line.text();
        assert!(line.total == total, "{total} bytes are to come in all, and get says {text:?}");
        assert!(line.received <= total, "more than there is: {text:?}");
        assert!(line.received >= before, "back from {before} bytes: {text:?}");
        before = line.received;
        let expected = percent(line.received, total);
        assert!(line.percent == expected, "{expected}% (rounded down) was to come: {text:?}");
    }
}

/// Rounded down, so that 100.0 means all of it.
fn percent(received: u64, total: u64) -> String {
    let thousandths = match total {
        0 => 1000,
        _ => u128::from(received) * 1000 / u128::from(total),
    };
    format!("{}.{}", thousandths / 10, thousandths % 10)
}

/// The last line says that all has come.
#[track_caller]
pub fn assert_complete(lines: &[Progress]) {
    let Some(last) = lines.last() else {
        panic!("not a line of progress came, not even at the end");
    };
    let complete = (last.received, last.percent.as_str()) == (last.total, "100.0");
    assert!(complete, "the last line was to say that all has come: {:?}", last.text());
}

/// Rate and time left are about right, of a transfer that has a steady `rate`, in bytes a second.
/// The last line that came is judged: at the beginning nobody can know much.
#[track_caller]
pub fn assert_rate_and_time_left(lines: &[Progress], rate: f64) {
    let Some(line) = lines.iter().rfind(|line| line.received < line.total) else {
        panic!("not a line of progress came before the end");
    };
    let left = (line.total - line.received) as f64 / rate;
    let what = "rate (`299.59 MiB/s`), in bytes a second,";
    assert_about(what, line.rate(), rate, 0.0, &line.text());
    let what = "time left (`20 s left`), in seconds,";
    assert_about(what, line.seconds_left(), left, 1.0, &line.text());
}

#[track_caller]
fn assert_about(what: &str, shown: Option<f64>, expected: f64, slack: f64, text: &str) {
    const ABOUT: f64 = 3.0; // the clock of a busy machine isn't steady
    let allowed = expected / ABOUT - slack..=expected * ABOUT + slack;
    match shown {
        None => panic!("there is no {what} in {text:?}"),
        Some(shown) if allowed.contains(&shown) => {}
        Some(_) => panic!("the {what} was to be about {expected:.1}: {text:?}"),
    }
}
