//! The commands that the screens of the browser application show: each program's tests have its own command line take them.

const COMMANDS: &str = include_str!("../../web-ui/web/src/lib/commands.ts");

/// The words of each command of `program`, without what a shell does around them. What a screen fills in is one of `filled_in`:
/// the hole, and what stands in it.
///
/// # Panics
/// When a hole is left.
pub fn commands(program: &str, filled_in: &[(&str, &str)]) -> Vec<Vec<String>> {
    let start = format!("{program} ");
    let lines = COMMANDS.lines().filter(|line| line.trim_start().contains(": '"));
    let commands = lines.flat_map(|line| {
        let starts = line.match_indices(&start).map(|(start, _)| &line[start..]);
        starts.map(|rest| rest.split(['|', ')', '\'']).next().unwrap_or(rest).trim())
    });
    commands
        .map(|command| {
            let filled = filled_in.iter().fold(command.to_owned(), |text, (hole, value)| text.replace(hole, value));
            assert!(!filled.contains('{'), "say what is filled in: {filled}");
            filled.split(' ').map(str::to_owned).collect()
        })
        .collect()
}
