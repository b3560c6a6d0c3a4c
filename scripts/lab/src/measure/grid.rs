//! A table of text: the first column to the left, the others to the right.

/// Rows of cells under a heading.
pub struct Grid(Vec<Vec<String>>);

impl Grid {
    /// Begins with the heads of the columns.
    pub fn new<S: Into<String>>(heads: impl IntoIterator<Item = S>) -> Self {
        Self(vec![heads.into_iter().map(Into::into).collect()])
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }

    /// As Markdown has it.
    pub fn markdown(&self) -> String {
        let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
        let heads = self.0.first().map_or(0, Vec::len);
        let rule = std::iter::once("---").chain(std::iter::repeat_n("---:", heads.max(1) - 1));
        let rule = format!("| {} |\n", rule.collect::<Vec<_>>().join(" | "));
        let mut rows = self.0.iter().map(line);
        rows.next().into_iter().chain([rule]).chain(rows).collect()
    }

    /// Each row a line.
    pub fn text(&self) -> String {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let length = |cell: &String| cell.chars().count();
        let widths: Vec<usize> = (0..columns)
            .map(|at| self.0.iter().filter_map(|row| row.get(at).map(length)).max().unwrap_or(0))
            .collect();
        let line = |row: &Vec<String>| {
            let cell = |(at, cell): (usize, &String)| match (at, widths[at]) {
                (0, width) => format!("{cell:<width$}"),
                (_, width) => format!("  {cell:>width$}"),
            };
            let line: String = row.iter().enumerate().map(cell).collect();
            format!("{}\n", line.trim_end())
        };
        self.0.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Grid;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut grid = Grid::new(["who", "µs"]);
        grid.row(["a long name".to_owned(), "7".to_owned()]);
        grid.row(["×".to_owned(), "1000".to_owned()]);
        assert_eq!(grid.text(), "who            µs\na long name     7\n×            1000\n");
        let markdown = "| who | µs |\n| --- | ---: |\n| a long name | 7 |\n| × | 1000 |\n";
        assert_eq!(grid.markdown(), markdown);
    }
}
