//! Puts paths of the workbench as a person would: `DIR/sample.bin` for a file in a temporary
//! directory, `target/debug/step06-…` for the copy of the program.

use std::path::Path;

/// The names given so far, for one test.
pub struct ShortPaths {
    workbench: String,
    program: String,
    shown_program: String,
    dirs: Vec<String>,
}

impl ShortPaths {
    /// For a workbench in `workbench` with a copy of the program `shown_program`.
    pub fn new(workbench: &Path, program: &Path, shown_program: &str) -> Self {
        let [workbench, program] = [workbench, program].map(|path| path.display().to_string());
        Self { workbench, program, shown_program: shown_program.to_owned(), dirs: Vec::new() }
    }

    /// Replaces them all.
    pub fn shorten(&mut self, text: &str) -> String {
        let text = text.replace(&self.program, &self.shown_program);
        let workbench = format!("{}/", self.workbench);
        let text =
            self.replace(&text, &workbench, |rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        self.replace(&text, "/dev/shm/", |rest| rest.starts_with(".tmp"))
    }

    /// Replaces the directories below `parent`: `1/.tmpAbCdEf`, `.tmpAbCdEf`, `1`.
    fn replace(&mut self, text: &str, parent: &str, is_one: fn(&str) -> bool) -> String {
        let (mut result, mut rest) = (String::new(), text);
        while let Some(at) = rest.find(parent) {
            let after = &rest[at + parent.len()..];
            result.push_str(&rest[..at]);
            if !is_one(after) {
                result.push_str(parent);
                rest = after;
                continue;
            }
            let number = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            let inner = after[number..].trim_start_matches('/');
            let temporary = after.len() - inner.len();
            let length = match inner.starts_with(".tmp") {
                true => {
                    temporary
                        + inner
                            .find(|c: char| c != '.' && !c.is_alphanumeric())
                            .unwrap_or(inner.len())
                }
                false => number,
            };
            result.push_str(&self.name(&format!("{parent}{}", &after[..length])));
            rest = &after[length..];
        }
        result + rest
    }

    fn name(&mut self, dir: &str) -> String {
        let known = self.dirs.iter().position(|it| it == dir);
        let place = known.unwrap_or_else(|| {
            self.dirs.push(dir.to_owned());
            self.dirs.len() - 1
        });
        match place {
            0 => "DIR".to_owned(),
            place => format!("DIR{}", place + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::ShortPaths;

    #[test]
    fn directories_are_told_apart_and_named_the_same_everywhere() {
        let mut paths = ShortPaths::new(
            Path::new("/tmp/lab-x"),
            Path::new("/tmp/lab-x/step06"),
            "target/debug/step06",
        );
        let command =
            "/tmp/lab-x/step06 --file /tmp/lab-x/3/.tmpAb/a.bin --out /tmp/lab-x/3/.tmpCd";
        assert_eq!(paths.shorten(command), "target/debug/step06 --file DIR/a.bin --out DIR2");
        assert_eq!(
            paths.shorten("/tmp/lab-x/3/.tmpCd/a: gone, /dev/shm/.tmpQ/b"),
            "DIR2/a: gone, DIR3/b"
        );
        assert_eq!(paths.shorten("/tmp/lab-x/tests"), "/tmp/lab-x/tests");
    }
}
