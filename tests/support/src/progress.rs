//! What `get` of stages 05 to 08 says about a transfer under way, where there is no terminal.

/// A line of progress: `received R of T bytes (P%) …`.
#[derive(Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many bytes have come.
    pub received: u64,
    /// How many are to come in all.
    pub total: u64,
    /// The percentage as it is written.
    pub percent: String,
}

impl Progress {
    fn parse(line: &str) -> Option<Self> {
        let (received, rest) = line.strip_prefix("received ")?.split_once(" of ")?;
        let (total, rest) = rest.split_once(" bytes (")?;
        let (percent, _) = rest.split_once("%)")?;
        let (received, total) = (received.parse().ok()?, total.parse().ok()?);
        Some(Self { received, total, percent: percent.to_owned() })
    }
}

/// The lines of progress on standard error. Anything else there has to be an error.
#[track_caller]
#[must_use]
pub fn lines(stderr: &str) -> Vec<Progress> {
    let lines = stderr.lines().filter(|line| !line.starts_with("error: "));
    lines
        .map(|line| Progress::parse(line).unwrap_or_else(|| panic!("not progress: {line:?}")))
        .collect()
}

/// Every line is right in itself, and they never go back.
#[track_caller]
pub fn assert_sound(lines: &[Progress], total: u64) {
    let mut before = 0;
    for line in lines {
        assert_eq!(line.total, total, "{lines:?}");
        assert!((before..=total).contains(&line.received), "{lines:?}");
        before = line.received;
        let (_, decimals) = line.percent.split_once('.').expect("a decimal point");
        assert_eq!(decimals.len(), 1, "{line:?}");
        let percent: f64 = line.percent.parse().expect("a number");
        let expected = match total {
            0 => 100.0,
            _ => line.received as f64 * 100.0 / total as f64,
        };
        assert!((percent - expected).abs() <= 0.1, "{line:?} is {expected}%");
    }
}

/// The last line says that all has come.
#[track_caller]
pub fn assert_complete(lines: &[Progress]) {
    let last = lines.last().expect("at least one line of progress");
    assert_eq!((last.received, last.percent.as_str()), (last.total, "100.0"), "{lines:?}");
}
