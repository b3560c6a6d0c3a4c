//! What is to be typed, and what is expected then: a block, taken apart.

use anyhow::{Result, bail};

use crate::notes::console::expect::Expected;
use crate::notes::page::Block;

/// Something typed, and what comes of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// The line of the page.
    pub line: usize,
    pub action: Action,
    pub expected: Vec<Expected>,
    /// It begins a block, and so may be in another terminal than the one before.
    pub begins: bool,
    /// Another command follows in this block, or the prompt does: it has to end.
    pub has_to_end: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// This command, and Enter.
    Type(String),
    /// Ctrl-C.
    Interrupt,
    /// Nothing: more output of what runs already.
    Watch,
}

impl Step {
    pub fn is_command(&self) -> bool {
        matches!(self.action, Action::Type(_))
    }
}

/// The steps of a block.
pub fn steps(block: &Block) -> Result<Vec<Step>> {
    let mut steps = Vec::<Step>::new();
    let mut lines = (block.line + 1..).zip(&block.lines);
    let step = |line, action| {
        let (expected, begins, has_to_end) = (Vec::new(), false, false);
        Step { line, action, expected, begins, has_to_end }
    };
    while let Some((line, text)) = lines.next() {
        if text.trim_end() == "$" {
            match steps.last_mut() {
                Some(last) => last.has_to_end = true,
                None => bail!("a prompt without a command before it"),
            }
        } else if let Some(command) = text.strip_prefix("$ ") {
            let mut command = command.to_owned();
            while command.ends_with('\\') {
                let Some((_, more)) = lines.next() else { break };
                command += &format!("\n{}", more.strip_prefix("> ").unwrap_or(more));
            }
            if let Some(last) = steps.last_mut() {
                last.has_to_end = true;
            }
            steps.push(step(line, Action::Type(command)));
        } else if let Some(output) = text.strip_prefix("^C") {
            steps.push(step(line, Action::Interrupt));
            if let (Some(last), false) = (steps.last_mut(), output.trim().is_empty()) {
                last.expected.push(Expected::new(line, output));
            }
        } else {
            if steps.is_empty() {
                steps.push(step(line, Action::Watch));
            }
            if let Some(last) = steps.last_mut() {
                last.expected.push(Expected::new(line, text));
            }
        }
    }
    match steps.first_mut() {
        Some(first) => first.begins = true,
        None => bail!("an empty block"),
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::{Action, steps};
    use crate::notes::page::Block;

    fn block(text: &str) -> Block {
        let lines = text.lines().map(str::to_owned).collect();
        Block { line: 10, language: "console".to_owned(), lines }
    }

    #[test]
    fn commands_their_output_and_ctrl_c_are_told_apart() {
        let steps =
            steps(&block("$ server \\\n> --quiet\nlistening\n…\n^C[parent] bye\n$")).unwrap();
        assert_eq!(steps.len(), 2);
        assert_eq!(steps[0].action, Action::Type("server \\\n--quiet".to_owned()));
        assert_eq!(steps[0].line, 11);
        assert_eq!(steps[0].expected.len(), 2);
        assert!(steps[0].begins && !steps[0].has_to_end);
        assert_eq!(steps[1].action, Action::Interrupt);
        assert_eq!(steps[1].expected[0].line, 15);
        assert!(!steps[1].begins && steps[1].has_to_end);
    }

    #[test]
    fn a_block_may_go_on_with_what_runs_already() {
        let steps = steps(&block("more\n$ ls")).unwrap();
        assert_eq!(steps[0].action, Action::Watch);
        assert!(steps[0].has_to_end);
        assert!(super::steps(&block("$")).is_err());
        assert!(super::steps(&block("")).is_err());
    }
}
